"""The senders of notifications, each opened with the first one that needs it: their libraries are extras."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import ModuleType

import anyio

from pipeline.assembly.backends import aws_options
from pipeline.domain.errors import ConfigurationError, PipelineError
from pipeline.domain.notifications.delivery import Answer, NotDelivered
from pipeline.domain.notifications.endpoint import Endpoint
from pipeline.kit.configuration.secret import Secret
from pipeline.kit.webhooks import Key, signer
from pipeline.ports.sender import Notification, Sender
from pipeline.settings import Settings


class AnySender:
    """Sends to endpoints of every kind."""

    def __init__(self, settings: Settings, opened: AsyncExitStack) -> None:
        self._settings, self._opened = settings, opened
        self._senders: dict[str, Sender] = {}
        self._lock = anyio.Lock()

    async def send(self, endpoint: Endpoint, notification: Notification) -> Answer:
        """Send a notification, as the endpoint's URL says."""
        try:
            sender = await self._sender("webhook" if endpoint.url.startswith("http") else "queues")
        except PipelineError as error:
            return NotDelivered(str(error))
        return await sender.send(endpoint, notification)

    async def _sender(self, kind: str) -> Sender:
        async with self._lock:
            if kind not in self._senders:
                if kind == "webhook":
                    opening = _import("webhook", "notify").open_webhook_sender(signer_of)
                else:
                    opening = _import("queues", "s3").open_queue_sender(
                        aws_options(self._settings, self._settings.sqs_endpoint_url)
                    )
                self._senders[kind] = await self._opened.enter_async_context(opening)
            return self._senders[kind]


@asynccontextmanager
async def open_sender(settings: Settings) -> AsyncIterator[AnySender]:
    """Open a sender, and close what it has opened at the end."""
    async with AsyncExitStack() as opened:
        yield AnySender(settings, opened)


def signer_of(reference: str) -> Key:
    """Return what signs with the secret that a reference leads to."""
    return signer(Secret(reference).reveal())


def _import(module: str, extra: str) -> ModuleType:
    try:
        return importlib.import_module(f"pipeline.senders.{module}")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"This endpoint needs {error.name}. Install it with: pip install 'app-data-pipeline[{extra}]'"
        ) from error
