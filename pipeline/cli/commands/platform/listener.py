"""A receiver of notifications that prints them."""

from __future__ import annotations

import anyio
import click
from aiohttp import web

from pipeline.cli.output.text import printable
from pipeline.domain.errors import ConfigurationError
from pipeline.kit.configuration.secret import Secret
from pipeline.kit.webhooks import InvalidWebhook, RepeatedWebhook, verifier, verify_webhook

MAX_BODY_BYTES = 1 << 20


class Listener:
    """Receives, verifies and prints notifications. `secret` is a reference."""

    def __init__(self, secret: str, *, as_json: bool) -> None:
        self._secret = Secret(secret).reveal()
        verifier(self._secret)
        self._as_json = as_json
        self._seen: set[str] = set()
        self._received = anyio.Event()

    async def run(self, host: str, port: int, most: int | None) -> None:
        """Listen until cancelled, or until `most` events have come."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_route("POST", "/{path:.*}", self._receive)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            try:
                await web.TCPSite(runner, host, port).start()
            except OSError as error:
                raise ConfigurationError(f"Cannot listen at {host}, port {port}: {error.strerror}.") from error
            at = runner.addresses[0]
            click.echo(f"Listening at http://{at[0]}:{at[1]}/", err=True)
            while most is None or len(self._seen) < most:
                await self._received.wait()
                self._received = anyio.Event()
        finally:
            await runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            event = verify_webhook(request.headers, body, self._secret, self._seen)
        except RepeatedWebhook:
            return web.Response(text="received before")
        except InvalidWebhook as error:
            click.echo(f"refused: {error}", err=True)
            return web.Response(status=400, text=str(error))
        if self._as_json:
            click.echo(body.decode())
        else:
            shown = (
                event.get("time"),
                event.get("type") or event.get("eventType"),
                event.get("source"),
                event.get("data"),
            )
            click.echo(printable("  ".join(str(one) for one in shown if one is not None)))
        self._received.set()
        return web.Response()
