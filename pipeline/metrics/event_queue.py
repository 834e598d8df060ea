"""An event queue whose messages are counted."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pipeline.domain.errors import LeaseLostError
from pipeline.metrics.registry import Metrics
from pipeline.ports.event_queue import EventQueue, Message, QueueDepth, Receipt


class MeteredEventQueue:
    """Passes everything on to a queue, and counts. `name` is `exports` or `imports`, whatever the queue is called.

    A lease is renewed for `visibility_seconds`; a message that is given back comes again earlier.
    """

    def __init__(self, queue: EventQueue, name: str, visibility_seconds: float, metrics: Metrics) -> None:
        self._queue, self._name, self._metrics = queue, name, metrics
        self._visibility_seconds = visibility_seconds
        self._held: dict[Receipt, float] = {}
        for action in ("received", "deleted", "returned", "extended"):
            self._count(action, 0)
        metrics.set_by("pipeline_leases", self._leases, queue=name)

    async def send(self, bodies: Sequence[bytes]) -> None:
        await self._queue.send(bodies)

    async def receive(self, *, max_messages: int = 1, wait_seconds: float = 0.0) -> Sequence[Message]:
        messages = await self._queue.receive(max_messages=max_messages, wait_seconds=wait_seconds)
        if messages:
            self._held.update((message.receipt, self._deadline()) for message in messages)
            self._count("received", len(messages))
        return messages

    async def extend(self, receipt: Receipt, seconds: float) -> None:
        try:
            await self._queue.extend(receipt, seconds)
        except LeaseLostError:
            self._let_go([receipt])
            raise
        if seconds < self._visibility_seconds:
            self._count("returned")
            self._let_go([receipt])
        else:
            self._count("extended")
            self._held[receipt] = self._deadline()

    async def acknowledge(self, receipts: Sequence[Receipt]) -> None:
        await self._queue.acknowledge(receipts)
        self._count("deleted", len(receipts))
        self._let_go(receipts)

    async def reject(self, message: Message, reason: str) -> None:
        await self._queue.reject(message, reason)
        self._count("deleted")
        self._let_go([message.receipt])

    async def depth(self) -> QueueDepth:
        return await self._queue.depth()

    def _count(self, action: str, amount: int = 1) -> None:
        self._metrics.count(f"pipeline_queue_{action}_total", amount, queue=self._name)

    def _let_go(self, receipts: Sequence[Receipt]) -> None:
        for receipt in receipts:
            self._held.pop(receipt, None)

    def _deadline(self) -> float:
        return time.monotonic() + self._visibility_seconds

    def _leases(self) -> float:
        now = time.monotonic()
        return sum(deadline > now for deadline in list(self._held.values()))
