"""The port to receivers of notifications."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.domain.notifications.delivery import Answer
from pipeline.domain.notifications.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class Notification:
    """An event as it is sent. `id` is the same at every try. `headers` are sent beside those of every event."""

    id: str
    type: str
    flow: str
    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Sender(Protocol):
    """Sends notifications. It MUST NOT raise a PipelineError: what goes wrong is an answer, and the event is tried again."""

    async def send(self, endpoint: Endpoint, notification: Notification) -> Answer:
        """Send one notification within the time of the endpoint's profile, and return what became of it."""
        ...
