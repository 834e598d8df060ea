"""A destination that refuses everything is left alone: what is not tried is named, and moved once the cause is corrected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import anyio
import pytest

from pipeline.domain.errors import RefusedError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import EventFileId
from pipeline.domain.lifecycle.status import Reason, Status
from pipeline.domain.lifecycle.table import Verb
from pipeline.domain.outbox.event import EventType
from pipeline.domain.planning.refusals import STREAMS
from pipeline.engine.imports import lane_runner
from pipeline.engine.outbox.history import History
from pipeline.ports.destination import FileToLoad, LoadOutcome
from pipeline.testing.simulated.calls import CrashError, Faults
from tests.engine.fleet import LIMITS, Fleet, WorkerProcess
from tests.engine.lifecycle.slow import state, wish
from tests.engine.mover_world import FLOW, SMALL, World
from tests.fakes.destination import MemoryDestination, MemorySession
from tests.fakes.rows import Tables
from tests.loops import on_trio

TABLES = 12


@dataclass
class FullSession(MemorySession):
    """Refuses every Event File once it has taken `takes`, as a full disk does."""

    takes: ClassVar[int] = 0
    is_full: ClassVar[bool] = True
    refuses: ClassVar[frozenset[str]] = frozenset()
    slow: ClassVar[str] = ""
    tried: ClassVar[list[str]] = []

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        stream = file.entry.id.stream
        await anyio.sleep(5 if stream == FullSession.slow else 0.01)
        FullSession.tried.append(stream)
        is_full = FullSession.is_full and len(FullSession.tried) > FullSession.takes
        if is_full and (not FullSession.refuses or stream in FullSession.refuses):
            raise RefusedError(f"memory:, table {stream}: the disk is full; free some space")
        return await super().load(file, after=after)


@pytest.fixture(autouse=True)
def full() -> None:
    """Let the disk be full from the beginning."""
    FullSession.takes, FullSession.is_full, FullSession.refuses = 0, True, frozenset()
    FullSession.slow, FullSession.tried = "", []


def tables() -> Tables:
    return {f"t{number:02}": {1: "x", 2: "y"} for number in range(TABLES)}


def destination() -> MemoryDestination:
    return MemoryDestination(session=FullSession)


@pytest.mark.parametrize(("takes", "status"), [(0, Status.FAILED), (2, Status.INCOMPLETE)])
@on_trio
async def test_a_mover_tries_three_streams_and_says_why_it_leaves_the_rest(takes: int, status: Status) -> None:
    FullSession.takes = takes
    world = World(tables(), destination=destination(), limits=replace(SMALL, importers=1))
    movement = await world.move()
    assert (movement.status, movement.because) == (status, Reason.DESTINATION_REFUSES)
    assert len(FullSession.tried) == takes + STREAMS
    assert movement.totals.files_failed == TABLES - takes
    assert any("so the rest was not tried: memory:, table" in problem for problem in movement.problems)
    FullSession.is_full = False
    assert (await world.move()).status is Status.SUCCESS
    assert world.destination.tables == world.tables


@on_trio
async def test_while_others_are_taken_no_stream_is_left() -> None:
    FullSession.refuses = frozenset({"t01", "t04", "t07", "t10"})
    world = World(tables(), destination=destination(), limits=replace(SMALL, importers=1))
    movement = await world.move()
    assert (movement.status, movement.because) == (Status.INCOMPLETE, Reason.FILES_FAILED)
    assert set(FullSession.tried) == set(world.tables)
    assert movement.totals.files_imported == TABLES - len(FullSession.refuses)


@on_trio
async def test_what_is_in_hand_is_waited_for_before_the_rest_is_left() -> None:
    FullSession.refuses, FullSession.slow = frozenset({"t01", "t02", "t03"}), "t00"
    world = World(tables(), destination=destination(), limits=replace(SMALL, importers=4))
    movement = await world.move()
    assert (movement.status, movement.because) == (Status.INCOMPLETE, Reason.FILES_FAILED)
    assert set(FullSession.tried) == set(world.tables)


@on_trio
async def test_with_several_at_a_time_few_streams_are_tried() -> None:
    world = World(tables(), destination=destination(), limits=replace(SMALL, importers=4))
    movement = await world.move()
    assert movement.because is Reason.DESTINATION_REFUSES
    assert len(FullSession.tried) <= 4 + STREAMS


@on_trio
async def test_workers_leave_it_alone_and_a_rerun_moves_the_rest() -> None:
    FullSession.takes = 2
    fleet = Fleet(tables(), destination=destination(), limits=replace(LIMITS, importers=1))
    async with fleet.workers(WorkerProcess(fleet, "one"), WorkerProcess(fleet, "two")):
        movement = await fleet.settled((await fleet.start()).number)
        assert (movement.status, movement.because) == (Status.INCOMPLETE, Reason.DESTINATION_REFUSES)
        assert len(FullSession.tried) <= 2 + 2 * STREAMS
        assert movement.refused
        FullSession.is_full = False
        again = await fleet.settled((await fleet.start()).number)
    assert (again.status, again.refused) == (Status.SUCCESS, "")
    assert fleet.destination.tables == fleet.tables


@on_trio
async def test_resumed_before_its_end_it_goes_on() -> None:
    FullSession.is_full = False
    fleet = Fleet(tables(), destination=destination(), limits=replace(LIMITS, importers=1))
    async with fleet.workers(WorkerProcess(fleet, "one")):
        await fleet.settled((await fleet.start()).number)
        FullSession.is_full = True
        for table in fleet.tables.values():
            table[3] = "z"
        started = await fleet.start_unannounced()
        await wish(fleet, Verb.PAUSE, "t11")  # so that it does not settle
        await anyio.sleep(600)
        shown = await state(fleet)
        assert (shown.status, shown.reason) == (Status.IN_PROGRESS, Reason.DESTINATION_REFUSES)
        assert "the disk is full" in shown.sentence
        assert "`pipeline resume crm`" in shown.sentence
        tried = len(FullSession.tried)
        await anyio.sleep(600)
        assert len(FullSession.tried) == tried, "nothing is tried meanwhile"
        FullSession.is_full = False
        await wish(fleet, Verb.RESUME)
        movement = await fleet.settled(started.number)
        assert movement.status is Status.SUCCESS
    assert fleet.destination.tables == fleet.tables
    told = (await History(fleet.store, FLOW).read_movement(started.number)).events
    refuses = [event for event in told if event.type is EventType.DESTINATION_REFUSES]
    assert len(refuses) == 1
    assert "the disk is full" in refuses[0].reasons[0]
    resumed = next(event for event in told if event.type is EventType.MOVEMENT_RESUMED)
    assert (resumed.subject, resumed.time > refuses[0].time) == (refuses[0].subject, True)


@on_trio
async def test_a_process_that_dies_between_fence_and_end_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeps, sleep = list[float](), anyio.sleep

    async def counting(seconds: float) -> None:
        sleeps.append(seconds)
        await sleep(seconds)

    monkeypatch.setattr(lane_runner, "END_LOOK_SECONDS", 0.0123)
    monkeypatch.setattr(anyio, "sleep", counting)
    FullSession.takes = 2
    world = World(tables(), destination=destination(), limits=replace(SMALL, importers=1))
    with pytest.raises(CrashError), unwrap_exception_group():
        await world.move(Faults(crash_on="after destination.fence"))
    FullSession.is_full = False
    carried_on = await world.move()
    assert (carried_on.number, carried_on.status) == (1, Status.INCOMPLETE)
    assert sleeps.count(0.0123) == lane_runner.END_LOOKS - 1  # once, whatever the number of tables
    assert any("has ended, and imports nothing any more" in problem for problem in carried_on.problems)
    assert (await world.move()).status is Status.SUCCESS
    assert world.destination.tables == world.tables
    assert set(world.destination.loads.values()) == {1}
