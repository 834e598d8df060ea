"""Runs the application on one socket, in a task group of its own, until it is to stop."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import AbstractContextManager, nullcontext, suppress
from ipaddress import ip_address
from typing import Any

import anyio
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipeline.domain.errors import ConfigurationError, RefusedError
from pipeline.http.application import create_application
from pipeline.http.site import Site

DRAIN_SECONDS = 0.8
"""How long requests may take to end when the server stops; streams end at once."""
KEEP_ALIVE_SECONDS = 10
BACKLOG = 2048
"""Connections that may wait to be taken."""


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens. Port 0: a free one. RefusedError when it is taken or the address is not ours."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)  # from now on connections wait: what says that it serves is true
    except OSError as error:
        raise RefusedError(
            f"{host} port {port} cannot be listened on: {error.strerror}. Choose others with --host and --port."
        ) from error
    return listening


def allow_connections() -> None:
    """Let this process have as many files and connections open as the system allows it at all, if it allows more."""
    with suppress(
        ImportError, ValueError, OSError
    ):  # no such limit (not Unix), or one above that of the kernel (macOS)
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address. ConfigurationError when there is none of that name."""
    try:
        addresses = {str(one[4][0]) for one in socket.getaddrinfo(host, None)}
    except OSError as error:
        raise ConfigurationError(f"There is no address {host!r} here: {error.strerror}.") from error
    return all(ip_address(address.partition("%")[0]).is_loopback for address in addresses)


async def serve(site: Site, listening: socket.socket, stop: anyio.Event) -> None:
    """Serve until `stop` is set. Then streams end, requests in hand have `DRAIN_SECONDS`, and all is closed."""
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # the application logs what goes wrong
    server = _Server(_config(site), site, stop)
    async with anyio.create_task_group() as group:
        if site.platform is not None:
            group.start_soon(_send_webhooks, site)
        await server.serve([listening])
        group.cancel_scope.cancel()


def _config(site: Site) -> uvicorn.Config:
    return uvicorn.Config(
        create_application(site),
        http=_protocol(site.limits.header_seconds),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        limit_concurrency=site.limits.connections,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )


async def _send_webhooks(site: Site) -> None:
    from pipeline.http.platform.webhooks import run_webhooks
    from pipeline.senders.webhook import open_webhook_sender  # it needs the extra `notify`

    async with open_webhook_sender(_no_signer) as sender:
        await run_webhooks(site, sender)


def _no_signer(reference: str) -> Any:
    raise ConfigurationError(f"The endpoints of apps have no secret, so {reference} signs nothing.")


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, since the command has its own, and without its pauses when it stops."""

    def __init__(self, config: uvicorn.Config, site: Site, stop: anyio.Event) -> None:
        super().__init__(config)
        self._site, self._stop = site, stop

    async def main_loop(self) -> None:
        """Wait for the end."""
        await self.on_tick(0)  # it sets the headers of answers
        await self._stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, end the streams, and give requests in hand their time."""
        self._site.stopping.set()
        for server in self.servers:
            server.close()
        for one in sockets or ():
            one.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if tasks := set(self.server_state.tasks):
            _, late = await asyncio.wait(tasks, timeout=DRAIN_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.wait(tasks, timeout=DRAIN_SECONDS)

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Leave the signals alone."""
        return nullcontext()


def _protocol(header_seconds: float) -> type[asyncio.Protocol]:
    """Return the protocol of a connection, which is closed when a header takes longer than this."""

    class TimedProtocol(H11Protocol):
        _timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._wait_for_header()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._serves():
                self._end_wait()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._wait_for_header()

        def connection_lost(self, exc: Exception | None) -> None:
            self._end_wait()
            super().connection_lost(exc)

        def _wait_for_header(self) -> None:
            self._end_wait()
            self._timer = self.loop.call_later(header_seconds, self._close_silent)

        def _end_wait(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _close_silent(self) -> None:
            if not self._serves():
                self.transport.close()

        def _serves(self) -> bool:
            cycle: Any = self.cycle  # None before the first request, whatever its type says
            return cycle is not None and not cycle.response_complete

    return TimedProtocol
