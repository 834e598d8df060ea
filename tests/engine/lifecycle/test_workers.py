"""Workers obey pause, resume and stop; a stop ends even if they are dead or frozen; time-outs go by the store's clock."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import anyio

from pipeline.domain.flows.declaration import Declaration, Windows
from pipeline.domain.lifecycle.status import Reason, Status
from pipeline.domain.lifecycle.table import Verb
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import Movement
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.lifecycle import start_movement
from pipeline.engine.movements.progress import ProgressKeeper
from pipeline.ports.reporter import Busy
from pipeline.testing.simulated.clock import ManualClock
from tests.engine.fleet import LIMITS, Fleet, WorkerProcess, numbered
from tests.engine.lifecycle.slow import LOAD_SECONDS, cancel, latest, slow_destination, state, wish
from tests.engine.mover_world import FLOW
from tests.loops import on_trio


def fleet_of(rows: int = 120) -> Fleet:
    return Fleet(numbered(rows), destination=slow_destination(), limits=replace(LIMITS, importers=1))


@on_trio
async def test_workers_end_what_is_in_hand_and_go_on_after_a_resume() -> None:
    fleet = fleet_of()
    async with fleet.workers(WorkerProcess(fleet, "one"), WorkerProcess(fleet, "two")):
        number = (await fleet.start()).number
        await anyio.sleep(3 * LOAD_SECONDS)
        await wish(fleet, Verb.PAUSE)
        await anyio.sleep(3 * LOAD_SECONDS)
        paused = len(fleet.destination.loads)
        shown = await state(fleet)
        assert 0 < paused < 30
        assert (shown.status, shown.reason) == (Status.PAUSED, Reason.PAUSED)
        depth = await fleet.queue.depth()
        assert (depth.waiting, depth.in_flight) == (0, 0)
        await anyio.sleep(5 * 3600)
        assert len(fleet.destination.loads) == paused
        await wish(fleet, Verb.RESUME)
        movement = await fleet.settled(number)
    assert movement.status is Status.SUCCESS
    assert fleet.destination.tables == fleet.tables
    assert set(fleet.destination.loads.values()) == {1}


@on_trio
async def test_a_pause_with_an_end_is_taken_back_by_any_worker() -> None:
    fleet = fleet_of()
    started = await fleet.start()
    until = await fleet.flows.store_clock.now(FLOW) + timedelta(hours=6)
    await wish(fleet, Verb.PAUSE, until=until)
    async with fleet.workers(WorkerProcess(fleet, "one")):
        await anyio.sleep(6 * 3600 - 60)
        assert fleet.destination.loads == {}
        movement = await fleet.settled(started.number, within_seconds=1200)
    assert (movement.status, movement.wish.want) == (Status.SUCCESS, Want.RUN)


@on_trio
async def test_the_pause_of_a_group_ends_by_itself_too() -> None:
    fleet = Fleet({"a": {1: "x"}, "b": {1: "x"}})
    async with fleet.workers(WorkerProcess(fleet, "one")):
        await fleet.settled((await fleet.start()).number)
        fleet.tables["a"][2] = fleet.tables["b"][2] = "y"
        started = await fleet.start_unannounced()
        await wish(fleet, Verb.PAUSE, "b", until=await fleet.flows.store_clock.now(FLOW) + timedelta(hours=6))
        await anyio.sleep(6 * 3600 - 60)
        assert fleet.destination.tables == {"a": {1: "x", 2: "y"}, "b": {1: "x"}}
        movement = await fleet.settled(started.number, within_seconds=1200)
    assert (movement.status, movement.group_wishes) == (Status.SUCCESS, {})
    assert fleet.destination.tables == fleet.tables


@on_trio
async def test_a_stopped_movement_is_cancelled_once_nothing_is_in_hand() -> None:
    fleet = fleet_of()
    async with fleet.workers(WorkerProcess(fleet, "one"), WorkerProcess(fleet, "two")):
        number = (await fleet.start()).number
        await anyio.sleep(3 * LOAD_SECONDS)
        await wish(fleet, Verb.STOP)
        movement = await fleet.settled(number, within_seconds=30)
        imported = dict(fleet.destination.loads)
        await anyio.sleep(3600)
    assert (movement.status, movement.because) == (Status.CANCELLED, Reason.STOPPED)
    assert (await fleet.flows.read_movement(FLOW, number)) == movement
    assert fleet.destination.loads == imported
    assert 0 < len(imported) < 30


@on_trio
async def test_a_stop_with_nothing_in_hand_takes_no_worker_and_no_time() -> None:
    fleet = fleet_of()
    await fleet.start()
    before = anyio.current_time()
    await wish(fleet, Verb.STOP)
    assert (await cancel(fleet, fenced=False)).status is Status.CANCELLED
    assert anyio.current_time() - before < 2


@on_trio
async def test_a_frozen_worker_does_not_hold_up_a_stop_and_commits_nothing_afterwards() -> None:
    fleet = fleet_of()
    movement = await fleet.start()
    frozen = Frozen(fleet)
    await frozen.claim(movement)
    await wish(fleet, Verb.STOP)
    assert (await cancel(fleet)).status is Status.CANCELLATION_REQUESTED
    assert "is ending" in (await state(fleet)).sentence
    await anyio.sleep(10)
    assert "worker:frozen held work, and shows no sign of life" in (await state(fleet)).sentence
    assert (await cancel(fleet, fenced=False)).status is Status.CANCELLATION_REQUESTED
    assert (await cancel(fleet)).status is Status.CANCELLED
    assert fleet.destination.fences == {(await fleet.flows.read_flow(FLOW)).marks_namespace: 1}


@on_trio
async def test_workers_cancel_what_a_dead_worker_held() -> None:
    fleet = fleet_of()
    movement = await fleet.start()
    await Frozen(fleet).claim(movement)
    await wish(fleet, Verb.STOP)
    async with fleet.workers(WorkerProcess(fleet, "one")):
        settled = await fleet.settled(movement.number, within_seconds=60)
    assert settled.status is Status.CANCELLED


@on_trio
async def test_a_worker_that_goes_on_working_is_fenced_when_the_grace_is_over() -> None:
    fleet = fleet_of()
    movement = await fleet.start()
    alive = Frozen(fleet)
    await alive.claim(movement)
    await wish(fleet, Verb.STOP)
    async with anyio.create_task_group() as group:
        group.start_soon(alive.keeper.keep_written)
        await anyio.sleep(3590)
        assert (await cancel(fleet)).status is Status.CANCELLATION_REQUESTED
        await anyio.sleep(20)
        assert (await cancel(fleet)).status is Status.CANCELLED
        group.cancel_scope.cancel()


@dataclass
class Frozen:
    """A process that has claimed a Movement, and does nothing more."""

    fleet: Fleet
    keeper: ProgressKeeper = field(init=False)

    async def claim(self, movement: Movement) -> Movement:
        """Claim it."""
        fleet = self.fleet
        context = EngineContext(fleet.store, fleet.queue, fleet.clock, fleet.reporter, fleet.flows, fleet.limits)
        self.keeper = ProgressKeeper(context, movement, "worker:frozen")
        return await self.keeper.claim()


@on_trio
async def test_who_claims_after_a_stop_sees_the_stop() -> None:
    fleet = fleet_of()
    movement = await fleet.start()
    await wish(fleet, Verb.STOP)
    assert (await Frozen(fleet).claim(movement)).wish.want is Want.STOP


@on_trio
async def test_no_machines_own_clock_times_a_movement_out() -> None:
    fleet = fleet_of(20)
    fleet.clock = ManualClock(datetime(2046, 7, 1, tzinfo=UTC))
    async with fleet.workers(WorkerProcess(fleet, "one")):
        movement = await fleet.start()
        assert abs((await latest(fleet)).created - datetime(2026, 1, 1, tzinfo=UTC)) < timedelta(minutes=5)
        assert (await fleet.settled(movement.number)).status is Status.SUCCESS


@on_trio
async def test_a_movement_in_which_nothing_moves_is_timed_out_by_any_worker() -> None:
    fleet = fleet_of(20)
    movement = await fleet.start()
    await Frozen(fleet).claim(await fleet.flows.update(FLOW, movement.number, lambda now: replace(now, attempts=1)))
    await anyio.sleep(fleet.limits.idle_timeout_seconds + 1)
    async with fleet.workers(WorkerProcess(fleet, "one", roles=("sweep",))):
        settled = await fleet.settled(movement.number, within_seconds=60)
    assert (settled.status, settled.because) == (Status.TIMED_OUT, Reason.NO_PROGRESS)


@on_trio
async def test_a_worker_that_is_busy_with_one_thing_is_not_timed_out() -> None:
    fleet = fleet_of(20)
    movement = await fleet.start()
    busy = Frozen(fleet)
    await busy.claim(await fleet.flows.update(FLOW, movement.number, lambda now: replace(now, attempts=1)))
    async with fleet.workers(WorkerProcess(fleet, "one", roles=("sweep",))), anyio.create_task_group() as group:
        group.start_soon(busy.keeper.keep_written)
        for is_over in (False, True):
            busy.keeper.report(Busy("an index", is_over))
            if not is_over:
                await anyio.sleep(4 * fleet.limits.idle_timeout_seconds)
                assert not (await latest(fleet)).settled
        settled = await fleet.settled(movement.number, within_seconds=fleet.limits.idle_timeout_seconds + 60)
        group.cancel_scope.cancel()
    assert settled.because is Reason.NO_PROGRESS


@on_trio
async def test_a_pause_stops_the_clock_of_inactivity_and_not_that_of_life() -> None:
    fleet = fleet_of(20)
    fleet.limits = replace(fleet.limits, lifetime_seconds=4 * fleet.limits.idle_timeout_seconds)
    movement = await fleet.start()
    await fleet.flows.update(FLOW, movement.number, lambda now: replace(now, attempts=1))
    await wish(fleet, Verb.PAUSE)
    async with fleet.workers(WorkerProcess(fleet, "one", roles=("sweep",))):
        await anyio.sleep(3 * fleet.limits.idle_timeout_seconds)
        assert not (await latest(fleet)).settled
        settled = await fleet.settled(movement.number, within_seconds=2 * fleet.limits.idle_timeout_seconds)
    assert (settled.status, settled.because) == (Status.TIMED_OUT, Reason.TOO_OLD)


@on_trio
async def test_the_windows_of_a_flow_count_as_they_were_when_the_movement_was_created() -> None:
    fleet = fleet_of(20)
    await fleet.flows.connect(FLOW, "memory:source", "memory:destination")
    declared = Declaration(windows=Windows(inactivity_seconds=30))
    flow = await fleet.flows.update_flow(FLOW, lambda now: replace(now, declared=declared))
    movement = await start_movement(fleet.flows, flow)
    await fleet.flows.update(FLOW, movement.number, lambda now: replace(now, attempts=1))
    await fleet.flows.update_flow(FLOW, lambda now: replace(now, declared=Declaration()))
    async with fleet.workers(WorkerProcess(fleet, "one", roles=("sweep",))):
        settled = await fleet.settled(movement.number, within_seconds=60)
    assert settled.because is Reason.NO_PROGRESS


@on_trio
async def test_a_group_can_be_stopped_while_workers_import_the_others() -> None:
    fleet = Fleet({"a": {1: "x"}, "b": {1: "x"}})
    async with fleet.workers(WorkerProcess(fleet, "one")):
        await fleet.settled((await fleet.start()).number)
        fleet.tables["a"][2] = fleet.tables["b"][2] = "y"
        started = await fleet.start_unannounced()
        await wish(fleet, Verb.STOP, "b")
        movement = await fleet.settled(started.number, within_seconds=300)
    assert (movement.status, movement.because) == (Status.INCOMPLETE, Reason.GROUPS_STOPPED)
    assert fleet.destination.tables == {"a": {1: "x", 2: "y"}, "b": {1: "x"}}


@on_trio
async def test_nobody_works_on_it_is_shown_when_the_last_worker_died() -> None:
    fleet = fleet_of()
    worker = WorkerProcess(fleet, "one", roles=("export", "import"))
    async with fleet.workers(worker):
        await fleet.start()
        await anyio.sleep(2 * LOAD_SECONDS)
        assert (await state(fleet)).reason is Reason.WORKING
    await Frozen(fleet).claim(await latest(fleet))
    await anyio.sleep(30)
    shown = await state(fleet)
    assert (shown.status, shown.reason) == (Status.IN_PROGRESS, Reason.NOBODY_WORKS)
    assert "`pipeline worker all`" in shown.sentence
