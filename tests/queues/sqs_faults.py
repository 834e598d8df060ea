"""A proxy to a real SQS that loses, alters or invents answers, as a script says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from tests.servers.addresses import LOOPBACK, SqsServer

Payload = dict[str, Any]
Answer = tuple[int, Payload]
Forward = Callable[[Payload], Awaitable[Answer]]
Fault = Callable[[Payload, Forward], Awaitable[Answer]]

_DROPPED = ("host", "content-length", "transfer-encoding")


@dataclass
class SqsProxy:
    """Every request passes, except that the first request of an action in `script` meets the fault there."""

    server: SqsServer
    script: list[tuple[str, Fault]] = field(default_factory=list)
    seen: list[tuple[str, Payload]] = field(default_factory=list)
    """Each request as its action and its payload."""
    _session: aiohttp.ClientSession | None = None

    def payloads(self, action: str) -> list[Payload]:
        """The payloads of this action's requests, in order."""
        return [payload for name, payload in self.seen if name == action]

    async def handle(self, request: web.Request) -> web.Response:
        action = request.headers["X-Amz-Target"].rpartition(".")[2]
        payload = orjson.loads(await request.read())
        self.seen.append((action, payload))

        async def forward(changed: Payload) -> Answer:
            assert self._session is not None
            headers = {name: value for name, value in request.headers.items() if name.lower() not in _DROPPED}
            url = self.server.endpoint_url + request.path
            async with self._session.post(url, data=orjson.dumps(changed), headers=headers) as answer:
                return answer.status, orjson.loads(await answer.read() or b"{}")

        status, answer = await self._fault_for(action)(payload, forward)
        return web.Response(status=status, body=orjson.dumps(answer), content_type="application/x-amz-json-1.0")

    def _fault_for(self, action: str) -> Fault:
        for place, (name, fault) in enumerate(self.script):
            if name == action:
                del self.script[place]
                return fault
        return passing


@asynccontextmanager
async def sqs_proxy(server: SqsServer) -> AsyncIterator[tuple[SqsProxy, SqsServer]]:
    """Start a proxy; yield it and the server's address through it."""
    proxy = SqsProxy(server)
    application = web.Application(client_max_size=8 * 1024 * 1024)
    application.router.add_post("/{path:.*}", proxy.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    async with aiohttp.ClientSession() as session:
        proxy._session = session
        await runner.setup()
        try:
            site = web.TCPSite(runner, LOOPBACK, 0)
            await site.start()
            port = runner.addresses[0][1]
            yield proxy, replace(server, endpoint_url=f"http://{LOOPBACK}:{port}")
        finally:
            await runner.cleanup()


async def passing(payload: Payload, forward: Forward) -> Answer:
    """No fault."""
    return await forward(payload)


async def lost_answer(payload: Payload, forward: Forward) -> Answer:
    """The server does it, and the answer is lost."""
    await forward(payload)
    return 500, {}


def refusing(status: int, code: str, message: str = "") -> Fault:
    """The server refuses the request."""

    async def fault(payload: Payload, forward: Forward) -> Answer:
        return status, {"__type": code, "message": message}

    return fault


def failing_entries(*names: str, code: str, sender: bool) -> Fault:
    """The server fails the entries with these ids, and does the rest."""

    async def fault(payload: Payload, forward: Forward) -> Answer:
        kept = [entry for entry in payload["Entries"] if entry["Id"] not in names]
        status, answer = await forward(payload | {"Entries": kept}) if kept else (200, {})
        failed = [{"Id": name, "SenderFault": sender, "Code": code, "Message": "not now"} for name in names]
        return status, answer | {"Failed": failed}

    return fault
