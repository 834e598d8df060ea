"""The port to the queue: a doorbell, nothing more. Losing, doubling, delaying or reordering its messages does no harm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NewType, Protocol

from pipeline.domain.errors import DefectError

Receipt = NewType("Receipt", str)
"""The right to extend, give back or acknowledge one delivery of one message. A new delivery has a new receipt."""

MAX_BODY_BYTES = 256 * 1024
"""The largest body a queue must take (SQS: 256 KiB, https://docs.aws.amazon.com/AWSSimpleQueueService/)."""


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
    """One delivery. `receive_count` counts this delivery: 1 at the first."""

    body: bytes
    receipt: Receipt
    receive_count: int


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How many messages wait, are with a worker, and lie in the dead-letter queue. An SQS gives estimates."""

    waiting: int
    in_flight: int
    dead: int


class EventQueue(Protocol):
    """At-least-once delivery, unordered. Every method raises TransientError or RefusedError as the store does.

    A received message is invisible to others for the queue's visibility time-out; unless acknowledged by then it is
    delivered again. After the queue's maximum of deliveries it goes to the dead-letter queue instead.
    """

    async def send(self, bodies: Sequence[bytes]) -> None:
        """Enqueue each body (UTF-8 text of at most `MAX_BODY_BYTES`) as a message; on return all are durable.

        Not atomic: an error may leave some of them sent.
        """
        ...

    async def receive(self, *, max_messages: int = 1, wait_seconds: float = 0.0) -> Sequence[Message]:
        """Return one to `max_messages` (at most 10) messages, or none after `wait_seconds` (at most 20) without any.

        Cancelled while waiting, it has received nothing, or what it received becomes visible again by itself.
        """
        ...

    async def extend(self, receipt: Receipt, seconds: float) -> None:
        """Keep the message invisible for `seconds` from now; 0 gives it back at once.

        LeaseLostError when the message has been delivered anew or acknowledged.
        """
        ...

    async def acknowledge(self, receipts: Sequence[Receipt]) -> None:
        """Remove the messages for good. Idempotent; a receipt that has expired or been used is passed over."""
        ...

    async def reject(self, message: Message, reason: str) -> None:
        """Move a message that can never be handled to the dead-letter queue at once, with the reason."""
        ...

    async def depth(self) -> QueueDepth:
        """Return how many messages there are."""
        ...
