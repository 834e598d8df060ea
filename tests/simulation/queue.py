"""The event queue as one process sees it: messages are lost, doubled, late and out of order, by seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from anyio import current_time
from anyio.lowlevel import checkpoint

from pipeline.ports.event_queue import Message, QueueDepth, Receipt, check_bodies
from tests.fakes.event_queue import MemoryEventQueue
from tests.simulation.faults import Fault, Kind
from tests.simulation.process import Process
from tests.simulation.store import READING

ASKING = (*READING, Kind.FAIL_AFTER)
SENDING = (*READING, Kind.FAIL_AFTER, Kind.FAIL_LATE, Kind.DIE_LATE, Kind.DIE_HALFWAY, Kind.FULL)
LOSING = (Kind.LOSE, Kind.DOUBLE, Kind.DELAY, Kind.EMPTY)

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
        """Send what is none of ours."""
        self.foreign |= set(bodies)
        await super().send(bodies)

    def bodies(self) -> list[bytes]:
        """Return what all messages of ours say that wait or are with a worker."""
        return [message.body for message in self._messages if message.body not in self.foreign]

    def delay(self, bodies: Sequence[bytes], seconds: float) -> None:
        """Let waiting messages with these bodies come later."""
        for message in self._messages:
            if message.body in bodies and message.receipt is None:
                message.visible_at = current_time() + seconds

    def in_flight(self) -> int:
        """How many messages are with a worker."""
        return sum(message.visible_at > current_time() for message in self._messages if message.receipt is not None)

    def empty(self) -> None:
        """Lose all messages."""
        self._messages.clear()
        self.has_lost = True


@dataclass
class SimulatedQueue:
    """An EventQueue in the hands of one process."""

    ring: Ring
    process: Process
    name: str = "queue"

    async def send(self, bodies: Sequence[bytes]) -> None:
        async def work() -> None:
            self.process.disks.check_room(f"{self.name}.send")
            await self.ring.send(bodies)

        async def half() -> None:
            await self.ring.send(bodies[: len(bodies) // 2])

        await self.process.call(f"{self.name}.send", work, SENDING, halfway=half)
        fault = self.process.point(f"{self.name}.keep", LOSING) if bodies else None
        if fault is not None:
            await self._misbehave(fault, bodies)

    async def _misbehave(self, fault: Fault, bodies: Sequence[bytes]) -> None:
        match fault.kind:
            case Kind.EMPTY | Kind.LOSE:
                self.ring.empty()
            case Kind.DOUBLE:
                await self.ring.send(bodies)
            case Kind.DELAY:
                self.ring.delay(bodies, fault.seconds)
            case _:
                pass

    async def receive(self, *, max_messages: int = 1, wait_seconds: float = 0.0) -> Sequence[Message]:
        await self.process.gate()
        messages = await self.ring.receive(max_messages=max_messages, wait_seconds=wait_seconds)
        await self.process.gate()
        if not messages:
            return messages
        return await self.process.call(f"{self.name}.receive", lambda: _soon(messages), ASKING)

    async def extend(self, receipt: Receipt, seconds: float) -> None:
        await self.process.call(f"{self.name}.extend {receipt}", lambda: self.ring.extend(receipt, seconds), SENDING)

    async def acknowledge(self, receipts: Sequence[Receipt]) -> None:
        name = f"{self.name}.acknowledge {', '.join(receipts)}"
        await self.process.call(name, lambda: self.ring.acknowledge(receipts), SENDING)

    async def reject(self, message: Message, reason: str) -> None:
        name = f"{self.name}.reject {message.receipt}"
        await self.process.call(name, lambda: self.ring.reject(message, reason), SENDING)

    async def depth(self) -> QueueDepth:
        return await self.process.call(f"{self.name}.depth", self.ring.depth, READING)


async def _soon(messages: Sequence[Message]) -> Sequence[Message]:
    await checkpoint()
    return messages
