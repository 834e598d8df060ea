"""The port to the queue. Its messages are hints: losing, duplicating, delaying or reordering them loses no data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NewType, Protocol

from pipeline.domain.errors import DefectError

Receipt = NewType("Receipt", str)
"""The right to extend, return or acknowledge one delivery of one message. Each delivery has a new receipt."""

MAX_BODY_BYTES = 256 * 1024
"""The largest body that a queue must accept (SQS: 256 KiB, https://docs.aws.amazon.com/AWSSimpleQueueService/)."""


def check_bodies(bodies: Sequence[bytes]) -> None:
    """Raise DefectError for a body that a queue MAY refuse: only our own code makes bodies."""
    for body in bodies:
        if not 1 <= len(body) <= MAX_BODY_BYTES:
            raise DefectError(f"a message of {len(body)} bytes; a queue takes 1 to {MAX_BODY_BYTES}")
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise DefectError(f"a message that is not UTF-8 text: {body[:80]!r}") from error


@dataclass(frozen=True, slots=True)
class Message:
    """One delivery. `receive_count` counts this delivery: 1 at the first.

    `is_last`: the queue does not deliver it again, but moves it to the dead-letter queue, without a reason.
    """

    body: bytes
    receipt: Receipt
    receive_count: int
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """The number of messages that wait, are held by a worker, and are in the dead-letter queue. SQS estimates them.

    `oldest_seconds` is how long ago the oldest of those that wait was sent: 0 if none waits, None if the queue cannot say.
    """

    waiting: int
    in_flight: int
    dead: int
    oldest_seconds: float | None = field(default=None, compare=False)


class EventQueue(Protocol):
    """A queue with at-least-once, unordered delivery. Every method may raise TransientError or RefusedError.

    A received message is invisible to others for the visibility timeout of the queue. Unless it is acknowledged within
    that time it is delivered again. After the maximum number of deliveries it moves to the dead-letter queue.
    """

    async def send(self, bodies: Sequence[bytes]) -> None:
        """Send each body (UTF-8 text of at most `MAX_BODY_BYTES`) as a message; on return all are durable.

        Not atomic: after an error some of them may have been sent.
        """
        ...

    async def receive(self, *, max_messages: int = 1, wait_seconds: float = 0.0) -> Sequence[Message]:
        """Return up to `max_messages` (at most 10) messages, or none after waiting `wait_seconds` (at most 20).

        Cancellation loses nothing: a message that was received meanwhile becomes visible again by itself.
        """
        ...

    async def extend(self, receipt: Receipt, seconds: float) -> None:
        """Keep the message invisible for `seconds` from now; 0 makes it visible at once.

        LeaseLostError when the message was delivered again or acknowledged.
        """
        ...

    async def acknowledge(self, receipts: Sequence[Receipt]) -> None:
        """Delete the messages. Idempotent: an expired or used receipt is ignored."""
        ...

    async def reject(self, message: Message, reason: str) -> None:
        """Move a message that cannot be handled to the dead-letter queue, with the reason."""
        ...

    async def depth(self) -> QueueDepth:
        """Return the number of messages in each state."""
        ...
