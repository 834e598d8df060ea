"""The end of a Movement, when indexes and constraints are made, may take long: it is work like any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import anyio

from pipeline.domain.ids import StreamName
from pipeline.domain.lifecycle.status import Reason, Status
from pipeline.ports.destination import Violation
from tests.engine.fleet import LIMITS, Fleet, WorkerProcess, numbered
from tests.engine.lifecycle.slow import latest, moving, state
from tests.engine.mover_world import World
from tests.fakes.destination import MemoryDestination, MemorySession
from tests.loops import on_trio

SHORT = replace(LIMITS, importers=1, idle_timeout_seconds=20.0)
FINISH_SECONDS = 60.0


@dataclass
class SlowToFinish(MemorySession):
    """Makes indexes for `FINISH_SECONDS`."""

    async def finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        await anyio.sleep(FINISH_SECONDS)
        return await super().finish(streams)


@on_trio
async def test_a_movement_is_under_way_while_its_destination_is_finished_and_that_time_counts() -> None:
    world = World(numbered(20), destination=MemoryDestination(session=SlowToFinish), limits=SHORT)
    async with moving(world) as run:
        for _ in range(8):
            await anyio.sleep(FINISH_SECONDS / 8)
            assert ((await state(world)).status, (await state(world)).reason) == (Status.IN_PROGRESS, Reason.WORKING)
    (movement,) = run.result
    assert (movement.status, movement.totals.seconds >= FINISH_SECONDS) == (Status.SUCCESS, True)


@on_trio
async def test_a_fleet_has_the_time_that_its_destination_takes_to_be_finished() -> None:
    fleet = Fleet(numbered(20), destination=MemoryDestination(session=SlowToFinish), limits=SHORT)
    async with fleet.workers(WorkerProcess(fleet, "one"), WorkerProcess(fleet, "two")):
        settled = await fleet.settled((await fleet.start()).number, within_seconds=FINISH_SECONDS + 600)
    assert (settled.status, (await latest(fleet)).status) == (Status.SUCCESS, Status.SUCCESS)
