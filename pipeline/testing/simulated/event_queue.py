"""A fake event queue in memory, for tests. It uses anyio's clock, so a virtual clock can drive it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

import anyio
from anyio.lowlevel import checkpoint

from pipeline.domain.errors import LeaseLostError
from pipeline.ports.event_queue import Message, QueueDepth, Receipt, check_bodies

MAX_MESSAGES = 10


@dataclass(slots=True)
class _Waiting:
    body: bytes
    visible_at: float
    receive_count: int = 0
    receipt: Receipt | None = None


class MemoryEventQueue:
    """Implements `pipeline.ports.event_queue.EventQueue`. `dead` holds the dead letters, each body with its reason."""

    def __init__(self, *, visibility_seconds: float = 30.0, max_receives: int = 5) -> None:
        self._visibility_seconds = visibility_seconds
        self._max_receives = max_receives
        self._messages: list[_Waiting] = []
        self._receipts = count(1)
        self._bell: anyio.Event | None = None
        self.dead: list[tuple[bytes, str]] = []

    async def send(self, bodies: Sequence[bytes]) -> None:
        check_bodies(bodies)
        await checkpoint()
        now = anyio.current_time()
        self._messages.extend(_Waiting(body, now) for body in bodies)
        self._ring()

    async def receive(self, *, max_messages: int = 1, wait_seconds: float = 0.0) -> Sequence[Message]:
        await checkpoint()
        deadline = anyio.current_time() + wait_seconds
        while True:
            messages = self._receive(min(max_messages, MAX_MESSAGES))
            if messages or anyio.current_time() >= deadline:
                return messages
            await self._wait_for_bell(until=min(deadline, self._next_visible_at()))

    def _receive(self, max_messages: int) -> list[Message]:
        now = anyio.current_time()
        self._bury_worn_out(now)
        visible = [message for message in self._messages if message.visible_at <= now][:max_messages]
        return [self._deliver(message, now) for message in visible]

    def _deliver(self, message: _Waiting, now: float) -> Message:
        message.receipt = Receipt(str(next(self._receipts)))
        message.receive_count += 1
        message.visible_at = now + self._visibility_seconds
        return Message(
            message.body, message.receipt, message.receive_count, message.receive_count >= self._max_receives
        )

    def _bury_worn_out(self, now: float) -> None:
        for message in list(self._messages):
            if message.visible_at <= now and message.receive_count >= self._max_receives:
                self._bury(message, f"delivered {message.receive_count} times and never acknowledged")

    def _bury(self, message: _Waiting, reason: str) -> None:
        self._messages.remove(message)
        self.dead.append((message.body, reason))

    def _next_visible_at(self) -> float:
        return min((message.visible_at for message in self._messages), default=math.inf)

    async def _wait_for_bell(self, *, until: float) -> None:
        if self._bell is None:
            self._bell = anyio.Event()
        with anyio.move_on_after(until - anyio.current_time()):
            await self._bell.wait()

    def _ring(self) -> None:
        if self._bell is not None:
            self._bell.set()
            self._bell = None

    async def extend(self, receipt: Receipt, seconds: float) -> None:
        await checkpoint()
        message = self._find(receipt)
        if message is None:
            raise LeaseLostError("the message has been delivered to another worker, or acknowledged")
        message.visible_at = anyio.current_time() + seconds
        self._ring()

    async def acknowledge(self, receipts: Sequence[Receipt]) -> None:
        await checkpoint()
        self._messages = [message for message in self._messages if message.receipt not in receipts]

    async def reject(self, message: Message, reason: str) -> None:
        await checkpoint()
        found = self._find(message.receipt)
        if found is not None:
            self._bury(found, reason)

    async def depth(self) -> QueueDepth:
        await checkpoint()
        now = anyio.current_time()
        in_flight = sum(message.visible_at > now for message in self._messages)
        return QueueDepth(len(self._messages) - in_flight, in_flight, len(self.dead))

    def _find(self, receipt: Receipt) -> _Waiting | None:
        return next((message for message in self._messages if message.receipt == receipt), None)
