"""How many Event Files are loaded at the same time: no more than the Flow declares, and than the process has room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import anyio
import pytest

from pipeline.domain.flows.declaration import Declaration, FlowLimits
from pipeline.domain.ids import EventFileId
from pipeline.engine.imports.room import Room
from pipeline.ports.destination import FileToLoad, LoadOutcome
from tests.engine.fleet import LIMITS, Fleet, WorkerProcess, numbered
from tests.engine.mover_world import FLOW, SMALL, World
from tests.fakes.destination import MemoryDestination, MemorySession
from tests.fakes.source import MemorySource
from tests.loops import on_trio


@dataclass
class CountingSession(MemorySession):
    """Counts how many Event Files are loaded at the same time."""

    now: ClassVar[int] = 0
    most: ClassVar[int] = 0

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        CountingSession.now += 1
        CountingSession.most = max(CountingSession.most, CountingSession.now)
        try:
            await anyio.sleep(1)
            return await super().load(file, after=after)
        finally:
            CountingSession.now -= 1


@pytest.fixture(autouse=True)
def nothing_loaded() -> None:
    CountingSession.now = CountingSession.most = 0


async def declare(world: World, importers: int | None) -> None:
    """Create the Flow with this limit."""
    flow = await world.flows.connect(FLOW, MemorySource.location, world.destination.location)
    declared = Declaration(limits=FlowLimits(importers=importers))
    await world.flows.update_flow(flow.name, lambda now: replace(now, declared=declared))


@pytest.mark.parametrize(("declared", "setting", "most"), [(1, 4, 1), (2, 4, 2), (None, 3, 3), (4, 2, 4)])
@on_trio
async def test_a_mover_loads_as_many_event_files_as_the_flow_declares(declared: int, setting: int, most: int) -> None:
    world = World(numbered(60), destination=MemoryDestination(session=CountingSession))
    world.limits = replace(SMALL, importers=setting)
    await declare(world, declared)
    await world.move()
    assert CountingSession.most == most
    assert world.destination.tables == world.tables


@pytest.mark.parametrize(("declared", "setting", "most"), [(1, 4, 1), (3, 4, 3), (None, 4, 4), (4, 2, 2)])
@on_trio
async def test_a_worker_loads_no_more_than_its_own_setting(declared: int, setting: int, most: int) -> None:
    limits = replace(LIMITS, importers=setting)
    fleet = Fleet(numbered(60), destination=MemoryDestination(session=CountingSession), limits=limits)
    await declare(fleet, declared)
    async with fleet.workers(WorkerProcess(fleet, "one")):
        await fleet.settled((await fleet.start()).number)
    assert CountingSession.most == most


@on_trio
async def test_who_waits_for_room_and_is_cancelled_takes_none() -> None:
    shared = anyio.Semaphore(1)
    room, other = Room(2, shared), Room(1, shared)
    await other.acquire()
    with anyio.move_on_after(1):
        await room.acquire()
    other.release()
    for _ in range(3):
        with anyio.fail_after(1):
            await room.acquire()
        room.release()
    assert shared.value == 1
