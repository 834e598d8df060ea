"""The event queue as one process sees it: messages are lost, doubled, late and out of order, by seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from anyio import current_time

from pipeline.ports.event_queue import Message, Receipt, check_bodies
from pipeline.testing.simulated.calling import CallingQueue
from pipeline.testing.simulated.calls import value
from pipeline.testing.simulated.event_queue import MemoryEventQueue
from pipeline.testing.simulated.faults import Kind
from pipeline.testing.simulated.process import Process

OnMessage = Callable[[bytes], None]
OnAcknowledge = Callable[[bytes, int], None]


class Ring(MemoryEventQueue):
    """The queue that outlives processes. Delivers in an order of its own; `on_send` sees each body that is sent."""

    def __init__(
        self,
        *,
        visibility_seconds: float,
        max_receives: int = 5,
        random: Random | None = None,
        on_send: OnMessage = lambda body: None,
        on_acknowledge: OnAcknowledge = lambda body, receive_count: None,
    ) -> None:
        super().__init__(visibility_seconds=visibility_seconds, max_receives=max_receives)
        self._random = random
        self._on_send, self._on_acknowledge = on_send, on_acknowledge
        self.has_lost = False
        self.foreign: set[bytes] = set()

    async def send(self, bodies: Sequence[bytes]) -> None:
        check_bodies(bodies)
        for body in bodies:
            if body not in self.foreign:
                self._on_send(body)
        await super().send(bodies)
        if self._random is not None:
            self._random.shuffle(self._messages)

    async def acknowledge(self, receipts: Sequence[Receipt]) -> None:
        before = list(self._messages)
        await super().acknowledge(receipts)
        for message in before:
            known = message.receipt in receipts and message.body not in self.foreign
            if known and message not in self._messages:
                self._on_acknowledge(message.body, message.receive_count)

    async def plant(self, bodies: Sequence[bytes]) -> None:
        """Put messages of another program into the queue."""
        self.foreign |= set(bodies)
        await super().send(bodies)

    def bodies(self) -> list[bytes]:
        """Return the bodies of our messages that wait or that a worker holds."""
        return [message.body for message in self._messages if message.body not in self.foreign]

    def delay(self, bodies: Sequence[bytes], seconds: float) -> None:
        """Delay the waiting messages with these bodies."""
        for message in self._messages:
            if message.body in bodies and message.receipt is None:
                message.visible_at = current_time() + seconds

    def in_flight(self) -> int:
        """The number of messages that a worker holds."""
        return sum(message.visible_at > current_time() for message in self._messages if message.receipt is not None)

    def empty(self) -> None:
        """Lose all messages."""
        self._messages.clear()
        self.has_lost = True


@dataclass
class SimulatedQueue(CallingQueue):
    """The EventQueue of one process. Messages that it sends may be lost, doubled or delayed."""

    inner: Ring
    calls: Process

    async def send(self, bodies: Sequence[bytes]) -> None:
        await super().send(bodies)
        fault = self.calls.point(f"{self.name}.keep") if bodies else None
        match fault and fault.kind:
            case Kind.EMPTY | Kind.LOSE:
                self.inner.empty()
            case Kind.DOUBLE:
                await self.inner.send(bodies)
            case Kind.DELAY if fault is not None:
                self.inner.delay(bodies, fault.seconds)
            case _:
                pass

    async def receive(self, *, max_messages: int = 1, wait_seconds: float = 0.0) -> Sequence[Message]:
        await self.calls.gate()
        messages = await self.inner.receive(max_messages=max_messages, wait_seconds=wait_seconds)
        await self.calls.gate()
        return await self.calls.call(f"{self.name}.receive", value(messages)) if messages else messages
