"""The contract of `pipeline.ports.event_queue`: one function a clause, which gets an open queue and its terms.

A clause demands nothing that SQS cannot keep: no order, no exact counts at once, and a message may arrive twice. It
uses whole seconds, as SQS does; its waits depend on the terms of the queue.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from secrets import token_hex

import anyio
import pytest

from pipeline.domain.errors import DefectError, LeaseLostError
from pipeline.ports.event_queue import MAX_BODY_BYTES, EventQueue, Message, QueueDepth


@dataclass(frozen=True, slots=True)
class Terms:
    """The settings of the queue under test, and how long it may take to show an effect.

    `visibility_seconds` is the shortest time-out the queue can keep; only clauses about expiry use it.
    """

    visibility_seconds: float
    max_receives: int
    patience_seconds: float = 5.0

    @property
    def past_visibility_seconds(self) -> float:
        """A wait after which unacknowledged messages are visible again."""
        return self.visibility_seconds * 1.25 + 0.02


OpenQueue = Callable[[float], AbstractAsyncContextManager[EventQueue]]
"""Opens a queue with this visibility timeout in seconds."""

Clause = Callable[[EventQueue, Terms], Awaitable[None]]

CLAUSES: list[Clause] = []
_WAITING_FOR_EXPIRY: set[Clause] = set()

_LONG_SECONDS = 300.0
"""The visibility timeout for clauses that do not wait for it: it does not expire on a slow machine."""


async def check(clause: Clause, open_queue: OpenQueue, terms: Terms) -> None:
    """Run one clause against an empty queue that no other process uses."""
    waits = clause in _WAITING_FOR_EXPIRY
    async with open_queue(terms.visibility_seconds if waits else _LONG_SECONDS) as queue:
        with anyio.fail_after(terms.patience_seconds * 10):
            await clause(queue, terms)


def clause(function: Clause) -> Clause:
    """Make a function a clause of the contract."""
    CLAUSES.append(function)
    return function


def clause_on_expiry(function: Clause) -> Clause:
    """Make a function a clause that waits for the visibility timeout."""
    _WAITING_FOR_EXPIRY.add(function)
    return clause(function)


def fresh(count: int = 1) -> list[bytes]:
    """Return bodies that no other test sends."""
    return [f"body é {number} {token_hex(8)}".encode() for number in range(count)]


async def take(queue: EventQueue, terms: Terms, count: int = 1) -> list[Message]:
    """Receive until there are `count` messages."""
    messages: list[Message] = []
    with anyio.fail_after(terms.patience_seconds):
        while len(messages) < count:
            messages += await queue.receive(max_messages=min(10, count - len(messages)), wait_seconds=0.2)
    return messages


async def take_one(queue: EventQueue, terms: Terms) -> Message:
    """Receive one message."""
    return (await take(queue, terms))[0]


async def nothing_comes(queue: EventQueue, seconds: float = 0.0) -> None:
    """Check that no message arrives within `seconds`."""
    assert list(await queue.receive(max_messages=10, wait_seconds=seconds)) == []


async def becomes(queue: EventQueue, terms: Terms, depth: QueueDepth) -> None:
    """Wait until the queue reports this depth."""
    with anyio.move_on_after(terms.patience_seconds):
        while await queue.depth() != depth:  # noqa: ASYNC110  a queue in the cloud has no event to wait for
            await anyio.sleep(0.02)
    assert depth == await queue.depth()


def bodies(messages: Iterable[Message]) -> set[bytes]:
    """Return the bodies of messages."""
    return {message.body for message in messages}


@clause
async def what_was_sent_comes(queue: EventQueue, terms: Terms) -> None:
    sent = fresh(25)
    await queue.send(sent)
    received = await take(queue, terms, 25)
    assert set(sent) == bodies(received)
    assert {message.receive_count for message in received} == {1}
    assert len({message.receipt for message in received}) == 25


@clause
async def the_largest_body_comes_unchanged(queue: EventQueue, terms: Terms) -> None:
    body = (fresh()[0] + b'\n{"a":"\xc3\xa9\xf0\x9f\x98\x80"}').ljust(MAX_BODY_BYTES, b"x")
    await queue.send([body])
    assert body == (await take_one(queue, terms)).body


@clause
async def a_body_that_no_queue_takes_is_a_defect(queue: EventQueue, terms: Terms) -> None:
    for body in (b"", b"\xff", b"x" * (MAX_BODY_BYTES + 1)):
        with pytest.raises(DefectError):
            await queue.send([body])
    await nothing_comes(queue)


@clause
async def sending_nothing_sends_nothing(queue: EventQueue, terms: Terms) -> None:
    await queue.send([])
    await queue.acknowledge([])
    await nothing_comes(queue)


@clause
async def no_more_come_than_were_asked_for(queue: EventQueue, terms: Terms) -> None:
    await queue.send(fresh(12))
    assert len(await queue.receive()) <= 1
    assert len(await queue.receive(max_messages=3)) <= 3
    assert len(await queue.receive(max_messages=10)) <= 10


@clause
async def an_empty_queue_is_waited_for(queue: EventQueue, terms: Terms) -> None:
    started = anyio.current_time()
    await nothing_comes(queue, 0.2)
    assert 0.19 <= anyio.current_time() - started < terms.patience_seconds


@clause
async def a_message_ends_the_wait(queue: EventQueue, terms: Terms) -> None:
    sent = fresh()
    received: list[Message] = []

    async def wait() -> None:
        received.extend(await queue.receive(wait_seconds=20))

    with anyio.fail_after(terms.patience_seconds):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(0.05)
            await queue.send(sent)
    assert set(sent) == bodies(received)


@clause
async def a_cancelled_wait_loses_nothing(queue: EventQueue, terms: Terms) -> None:
    with anyio.move_on_after(0.05):
        await queue.receive(wait_seconds=20)
    sent = fresh()
    await queue.send(sent)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await queue.receive(wait_seconds=20)
    assert set(sent) == bodies(await take(queue, terms))


@clause
async def a_received_message_is_invisible(queue: EventQueue, terms: Terms) -> None:
    await queue.send(fresh())
    await take_one(queue, terms)
    await nothing_comes(queue)


@clause_on_expiry
async def an_unacknowledged_message_comes_again(queue: EventQueue, terms: Terms) -> None:
    await queue.send(fresh())
    first = await take_one(queue, terms)
    second = await take_one(queue, terms)
    assert (first.body, 2) == (second.body, second.receive_count)
    assert first.receipt != second.receipt


@clause_on_expiry
async def an_acknowledged_message_never_comes_again(queue: EventQueue, terms: Terms) -> None:
    await queue.send(fresh(2))
    messages = await take(queue, terms, 2)
    for _ in range(2):
        await queue.acknowledge([message.receipt for message in messages])
    await nothing_comes(queue, terms.past_visibility_seconds)
    await becomes(queue, terms, QueueDepth(0, 0, 0))


@clause
async def acknowledging_one_leaves_the_others(queue: EventQueue, terms: Terms) -> None:
    await queue.send(fresh(3))
    first, *others = await take(queue, terms, 3)
    await queue.acknowledge([first.receipt])
    for message in others:
        await queue.extend(message.receipt, 0)
    assert bodies(others) == bodies(await take(queue, terms, 2))


@clause
async def an_old_receipt_acknowledges_nothing_new(queue: EventQueue, terms: Terms) -> None:
    await queue.send(fresh())
    old = await take_one(queue, terms)
    await queue.extend(old.receipt, 0)
    new = await take_one(queue, terms)
    await queue.acknowledge([old.receipt])
    await queue.extend(new.receipt, 0)
    assert old.body == (await take_one(queue, terms)).body


@clause_on_expiry
async def an_extended_message_stays_invisible(queue: EventQueue, terms: Terms) -> None:
    await queue.send(fresh())
    message = await take_one(queue, terms)
    await queue.extend(message.receipt, 600)
    await nothing_comes(queue, terms.past_visibility_seconds)
    await queue.acknowledge([message.receipt])
    await becomes(queue, terms, QueueDepth(0, 0, 0))


@clause
async def a_message_given_back_comes_at_once(queue: EventQueue, terms: Terms) -> None:
    await queue.send(fresh())
    message = await take_one(queue, terms)
    await queue.extend(message.receipt, 600)
    await queue.extend(message.receipt, 0)
    assert message.body == (await take_one(queue, terms)).body


@clause
async def a_lost_lease_cannot_be_extended(queue: EventQueue, terms: Terms) -> None:
    await queue.send(fresh())
    old = await take_one(queue, terms)
    await queue.extend(old.receipt, 0)
    new = await take_one(queue, terms)
    with pytest.raises(LeaseLostError):
        await queue.extend(old.receipt, 60)
    await queue.acknowledge([new.receipt])
    with pytest.raises(LeaseLostError):
        await queue.extend(new.receipt, 60)


@clause_on_expiry
async def a_worn_out_message_is_dead(queue: EventQueue, terms: Terms) -> None:
    await queue.send(fresh())
    for count in range(1, terms.max_receives + 1):
        message = await take_one(queue, terms)
        assert count == message.receive_count
        assert message.is_last is (count == terms.max_receives)
        await queue.extend(message.receipt, 0)
    await nothing_comes(queue, terms.past_visibility_seconds)
    await becomes(queue, terms, QueueDepth(0, 0, 1))


@clause_on_expiry
async def a_rejected_message_is_dead_at_once(queue: EventQueue, terms: Terms) -> None:
    await queue.send(fresh(2))
    poison, other = await take(queue, terms, 2)
    await queue.reject(poison, "names a Movement that does not exist")
    await queue.acknowledge([other.receipt])
    await nothing_comes(queue, terms.past_visibility_seconds)
    await becomes(queue, terms, QueueDepth(0, 0, 1))


@clause
async def the_depth_tells_where_messages_are(queue: EventQueue, terms: Terms) -> None:
    assert await queue.depth() == QueueDepth(0, 0, 0)
    await queue.send(fresh(3))
    await becomes(queue, terms, QueueDepth(3, 0, 0))
    message = await take_one(queue, terms)
    await queue.extend(message.receipt, 600)
    await becomes(queue, terms, QueueDepth(2, 1, 0))


@clause
async def each_message_goes_to_one_worker(queue: EventQueue, terms: Terms) -> None:
    sent = fresh(30)
    await queue.send(sent)
    received: list[bytes] = []

    async def work() -> None:
        while messages := await queue.receive(max_messages=2, wait_seconds=0.1):
            await queue.acknowledge([message.receipt for message in messages])
            received.extend(message.body for message in messages)

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(work)
    assert set(sent) == set(received)
    assert len(received) <= len(sent) * 1.2  # a message MAY arrive twice, but not often
