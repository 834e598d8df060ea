"""An app that is written for the public platform, with a server that serves its paths."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
from aiohttp import web

from pipeline.http.site import PlatformProfile
from pipeline.http.tokens import Role, Side
from pipeline.settings import Settings
from tests.http.conftest import Server
from tests.http.flows import working

FORGE, CONNECT = "/app/migration/forge/v1", "/rest/atlassian-connect/1/migration"


@dataclass
class PlatformApp:
    """An app that gets events, and calls what the platform has."""

    server: Server
    token: str
    url: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    refuses: int = 0
    at_other: list[dict[str, Any]] = field(default_factory=list)
    other_refuses: bool = True

    async def receive(self, request: web.Request) -> web.Response:
        """Take an event; refuse the first ones."""
        if self.refuses:
            self.refuses -= 1
            return web.Response(status=500)
        self.events.append(await request.json())
        self.headers.append(dict(request.headers))
        return web.Response()

    async def receive_at_other(self, request: web.Request) -> web.Response:
        """Take an event at another endpoint, which refuses all for a time."""
        if self.other_refuses:
            return web.Response(status=500)
        self.at_other.append(await request.json())
        return web.Response()

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Return the status and the JSON of an answer; None where it has none."""
        headers = {"Authorization": f"Bearer {self.token}"}
        url = path if path.startswith("http") else f"{self.server.url}{path}"
        async with self.server.client.request(method, url, headers=headers, **options) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if text and answer.content_type.endswith("json") else text

    async def end(self, transfer: str, **body: object) -> None:
        """Report the end as soon as all is exported."""
        with anyio.fail_after(60):
            while (await self.call("POST", f"{CONNECT}/progress/{transfer}", json=body))[0] == 409:  # noqa: ASYNC110
                await anyio.sleep(0.1)

    async def event(self, type_: str, number: int = 1) -> dict[str, Any]:
        """Return the event of this type with this number, counted from 1, as soon as it has come."""
        with anyio.fail_after(40):
            while len(found := [one for one in self.events if one["eventType"] == type_]) < number:  # noqa: ASYNC110
                await anyio.sleep(0.05)
        return found[number - 1]


@asynccontextmanager
async def platform(
    directory: Path, profile: PlatformProfile | None = None
) -> AsyncIterator[tuple[PlatformApp, Settings]]:
    """Run a server with the profile, and an app with an endpoint."""
    profile = profile or PlatformProfile()
    async with working(directory, "app.db", "app://cloud", platform=profile) as (server, settings):
        app = PlatformApp(server, await server.token(Role.APP, "crm", Side.DESTINATION))
        receiver = web.Application()
        receiver.router.add_post("/events", app.receive)
        receiver.router.add_post("/events/other", app.receive_at_other)
        runner = web.AppRunner(receiver)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            app.url = f"http://127.0.0.1:{runner.addresses[0][1]}/events"
            yield app, settings
        finally:
            await runner.cleanup()
