"""Faults planted in the queue of announcements."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import replace

from pipeline.domain.errors import RefusedError
from pipeline.ports.event_queue import Message, Receipt
from tests.fakes.passing import PassingQueue
from tests.simulation.planted_faults.worlds import FLEETS, REFUSING, busy_fleet
from tests.simulation.scenarios.planting import Ports, in_ports


class _Acknowledging(PassingQueue):
    async def receive(self, *, max_messages: int = 1, wait_seconds: float = 0.0) -> Sequence[Message]:
        messages = await self.inner.receive(max_messages=max_messages, wait_seconds=wait_seconds)
        await self.inner.acknowledge([message.receipt for message in messages])
        return messages

    async def extend(self, receipt: Receipt, seconds: float) -> None:
        """There is no lease any more."""

    async def acknowledge(self, receipts: Sequence[Receipt]) -> None:
        """It has been done."""


@in_ports(range(50))
def acknowledges_first(ports: Ports) -> Ports:
    return replace(ports, queue=_Acknowledging(ports.queue))


class _Mute(PassingQueue):
    async def send(self, bodies: Sequence[bytes]) -> None:
        """Nothing is sent."""


@in_ports(FLEETS)
def the_sweep_never_rings(ports: Ports) -> Ports:
    return replace(ports, queue=_Mute(ports.queue)) if ports.process.name.startswith("sweep") else ports


class _Untranslated(PassingQueue):
    async def extend(self, receipt: Receipt, seconds: float) -> None:
        try:
            await self.inner.extend(receipt, seconds)
        except RefusedError as error:
            raise OSError(errno.ENOSPC, "the disk is full") from error


@in_ports(FLEETS, world=busy_fleet, kinds=REFUSING)
def a_full_disk_under_the_queue_ends_a_worker(ports: Ports) -> Ports:
    return replace(ports, queue=_Untranslated(ports.queue))
