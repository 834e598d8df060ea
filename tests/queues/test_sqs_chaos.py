"""Movements over SQS with messages doubled, reordered, given back and purged: the destination equals the source."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random

import anyio
import pytest

from pipeline.domain.errors import LeaseLostError
from pipeline.domain.movement import Status
from pipeline.ports.event_queue import Message, QueueDepth, Receipt
from pipeline.queues.sqs.event_queue import SqsEventQueue, open_sqs_queue
from tests.engine.mover_world import SMALL, World
from tests.fakes.rows import Tables
from tests.queues.sqs_queues import NewQueue, new_queue
from tests.servers.addresses import S3AndSqs

HASTY = replace(SMALL, sweep_seconds=0.3)


@dataclass
class MischievousQueue:
    """A queue that doubles, reorders, delays and loses messages."""

    queue: SqsEventQueue
    new: NewQueue
    random: Random
    purges: int = 2
    sent: list[bytes] = field(default_factory=list)

    async def send(self, bodies: Sequence[bytes]) -> None:
        """Send each body one to three times, with old ones, in any order; sometimes purge the queue."""
        self.sent += bodies
        many = [
            body for body in [*bodies, *self.random.choices(self.sent, k=2)] for _ in range(self.random.randint(1, 3))
        ]
        self.random.shuffle(many)
        await self.queue.send(many)
        if self.purges and self.random.random() < 0.5:
            self.purges -= 1
            await self.new.client.purge_queue(QueueUrl=self.new.url)

    async def receive(self, *, max_messages: int = 1, wait_seconds: float = 0.0) -> Sequence[Message]:
        """Sometimes lose the messages to another receiver, which gives them back."""
        messages = await self.queue.receive(max_messages=max_messages, wait_seconds=wait_seconds)
        if messages and self.random.random() < 0.2:
            await self._give_back([message.receipt for message in messages])
            return []
        return messages

    async def extend(self, receipt: Receipt, seconds: float) -> None:
        await self.queue.extend(receipt, seconds)

    async def acknowledge(self, receipts: Sequence[Receipt]) -> None:
        """Sometimes forget to acknowledge, so that the message is delivered again at once."""
        if self.random.random() < 0.2:
            await self._give_back(receipts)
            return
        await self.queue.acknowledge(receipts)

    async def _give_back(self, receipts: Sequence[Receipt]) -> None:
        for receipt in receipts:
            with suppress(LeaseLostError):  # on a slow machine the time-out may have passed
                await self.queue.extend(receipt, 0)

    async def reject(self, message: Message, reason: str) -> None:
        await self.queue.reject(message, reason)

    async def depth(self) -> QueueDepth:
        return await self.queue.depth()


def tables(random: Random) -> Tables:
    return {
        name: {number: f"{name} {random.random()}" for number in random.sample(range(100), k=random.randint(0, 20))}
        for name in ("album", "artist", "invoice", "track")
    }


@pytest.mark.parametrize("seed", range(3))
async def test_movements_over_a_mischievous_sqs_end_equal(ministack: S3AndSqs, seed: int) -> None:
    random = Random(seed)
    async with (
        new_queue(ministack.sqs, max_receives=100) as new,
        open_sqs_queue(new.name, visibility_seconds=HASTY.visibility_seconds, aws=new.aws) as queue,
    ):
        world = World(tables(random), queue=MischievousQueue(queue, new, random), limits=HASTY)
        for _ in range(3):
            with anyio.fail_after(30):
                movement = await world.move()
            assert movement.status is Status.SUCCESS
            assert world.destination.tables == world.tables
            assert set(world.destination.loads.values()) == {1}
            await new.client.send_message(QueueUrl=new.url, MessageBody="not ours")
            world.tables = tables(random)
