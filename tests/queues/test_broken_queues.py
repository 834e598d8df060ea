"""Queues that each break one rule of the contract, and the clause that must fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest

from pipeline.domain.errors import LeaseLostError
from pipeline.ports.event_queue import EventQueue, Message, QueueDepth, Receipt
from pipeline.testing.simulated.event_queue import MemoryEventQueue
from tests.contracts import event_queue as contract
from tests.contracts.event_queue import Clause, Terms, check

TERMS = Terms(visibility_seconds=0.05, max_receives=3, patience_seconds=0.6)


class ForgettingUnacknowledged(MemoryEventQueue):
    async def receive(self, *, max_messages: int = 1, wait_seconds: float = 0.0) -> Sequence[Message]:
        messages = await super().receive(max_messages=max_messages, wait_seconds=wait_seconds)
        await self.acknowledge([message.receipt for message in messages])
        return messages


class RedeliveringAcknowledged(MemoryEventQueue):
    async def acknowledge(self, receipts: Sequence[Receipt]) -> None:
        for receipt in receipts:
            await self._give_back(receipt)

    async def _give_back(self, receipt: Receipt) -> None:
        try:
            await self.extend(receipt, 0)
        except LeaseLostError:
            return


class IgnoringVisibility(MemoryEventQueue):
    async def receive(self, *, max_messages: int = 1, wait_seconds: float = 0.0) -> Sequence[Message]:
        messages = await super().receive(max_messages=max_messages, wait_seconds=wait_seconds)
        for message in messages:
            await self.extend(message.receipt, 0)
        return messages


class NeverBurying(MemoryEventQueue):
    def __init__(self, *, visibility_seconds: float, max_receives: int) -> None:
        super().__init__(visibility_seconds=visibility_seconds, max_receives=1_000_000)


class Dropping(MemoryEventQueue):
    async def send(self, bodies: Sequence[bytes]) -> None:
        await super().send(bodies[:10])


class AcknowledgingAll(MemoryEventQueue):
    async def acknowledge(self, receipts: Sequence[Receipt]) -> None:
        self._messages.clear()


class IgnoringExtensions(MemoryEventQueue):
    async def extend(self, receipt: Receipt, seconds: float) -> None:
        await super().extend(receipt, 0 if seconds == 0 else self._visibility_seconds / 10)


class KeepingOldReceipts(MemoryEventQueue):
    """Gives every delivery of a message the same receipt."""

    async def receive(self, *, max_messages: int = 1, wait_seconds: float = 0.0) -> Sequence[Message]:
        messages = await super().receive(max_messages=max_messages, wait_seconds=wait_seconds)
        for message in self._messages:
            message.receipt = Receipt(message.body.decode())
        return [replace(message, receipt=Receipt(message.body.decode())) for message in messages]


class NeverWaiting(MemoryEventQueue):
    async def receive(self, *, max_messages: int = 1, wait_seconds: float = 0.0) -> Sequence[Message]:
        return await super().receive(max_messages=max_messages)


class Deaf(MemoryEventQueue):
    """Waits to the end, whatever arrives."""

    async def receive(self, *, max_messages: int = 1, wait_seconds: float = 0.0) -> Sequence[Message]:
        await anyio.sleep(wait_seconds)
        return await super().receive(max_messages=max_messages)


class RejectingGently(MemoryEventQueue):
    async def reject(self, message: Message, reason: str) -> None:
        await self.extend(message.receipt, 0)


class CountingNothing(MemoryEventQueue):
    async def depth(self) -> QueueDepth:
        return QueueDepth(0, 0, 0)


class Greedy(MemoryEventQueue):
    async def receive(self, *, max_messages: int = 1, wait_seconds: float = 0.0) -> Sequence[Message]:
        return await super().receive(max_messages=10, wait_seconds=wait_seconds)


class NeverCounting(MemoryEventQueue):
    async def receive(self, *, max_messages: int = 1, wait_seconds: float = 0.0) -> Sequence[Message]:
        messages = await super().receive(max_messages=max_messages, wait_seconds=wait_seconds)
        return [replace(message, receive_count=1) for message in messages]


BROKEN: list[tuple[type[MemoryEventQueue], Clause]] = [
    (ForgettingUnacknowledged, contract.an_unacknowledged_message_comes_again),
    (RedeliveringAcknowledged, contract.an_acknowledged_message_never_comes_again),
    (IgnoringVisibility, contract.a_received_message_is_invisible),
    (NeverBurying, contract.a_worn_out_message_is_dead),
    (Dropping, contract.what_was_sent_comes),
    (AcknowledgingAll, contract.acknowledging_one_leaves_the_others),
    (IgnoringExtensions, contract.an_extended_message_stays_invisible),
    (KeepingOldReceipts, contract.an_old_receipt_acknowledges_nothing_new),
    (KeepingOldReceipts, contract.a_lost_lease_cannot_be_extended),
    (NeverWaiting, contract.an_empty_queue_is_waited_for),
    (Deaf, contract.a_message_ends_the_wait),
    (RejectingGently, contract.a_rejected_message_is_dead_at_once),
    (CountingNothing, contract.the_depth_tells_where_messages_are),
    (Greedy, contract.no_more_come_than_were_asked_for),
    (NeverCounting, contract.a_worn_out_message_is_dead),
]


@pytest.mark.parametrize(("broken", "clause"), BROKEN)
def test_a_broken_queue_fails_its_clause(broken: type[MemoryEventQueue], clause: Clause) -> None:
    @asynccontextmanager
    async def open_queue(seconds: float) -> AsyncIterator[EventQueue]:
        yield broken(visibility_seconds=seconds, max_receives=TERMS.max_receives)

    with pytest.raises((AssertionError, TimeoutError, LeaseLostError, pytest.fail.Exception)):
        anyio.run(check, clause, open_queue, TERMS, backend="trio")
