"""Workers obey pause, resume and stop; a stop ends even if they are dead or frozen; time-outs go by the store's clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from pipeline.assembly.commands.history import read_history
from pipeline.assembly.commands.status import read_status
from pipeline.codec.documents.message import MovementStarted, encode_message
from pipeline.domain.errors import TransientError
from pipeline.domain.flows.declaration import Declaration, Windows
from pipeline.domain.ids import EventFileId, Phase, StreamName
from pipeline.domain.lifecycle.status import Reason, Status
from pipeline.domain.lifecycle.table import Verb
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import Flow, Movement, Totals
from pipeline.domain.outbox.event import OutboxEvent
from pipeline.domain.outbox.transitions import file_failed
from pipeline.engine.control.early_end import Fenced, fence_by
from pipeline.engine.control.judge import Judge
from pipeline.engine.control.reruns import create_rerun
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.lifecycle import end_movement, start_movement
from pipeline.engine.movements.progress import ProgressKeeper, Ran
from pipeline.engine.movements.settlement import Settlement
from pipeline.ports.destination import FileToLoad, LoadOutcome, Violation
from pipeline.ports.reporter import Busy
from pipeline.testing.simulated.clock import ManualClock
from tests.engine.fleet import LIMITS, Fleet, WorkerProcess, numbered
from tests.engine.lifecycle.slow import LOAD_SECONDS, cancel, latest, slow_destination, state, wish
from tests.engine.mover_world import FLOW
from tests.engine.test_history import runtime
from tests.fakes.destination import MemoryDestination, MemorySession
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
        await anyio.sleep(3600)
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
    until = await fleet.flows.store_clock.now(FLOW) + timedelta(hours=1)
    await wish(fleet, Verb.PAUSE, until=until)
    async with fleet.workers(WorkerProcess(fleet, "one")):
        await anyio.sleep(3600 - 60)
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
        await wish(fleet, Verb.PAUSE, "b", until=await fleet.flows.store_clock.now(FLOW) + timedelta(hours=1))
        await anyio.sleep(3600 - 60)
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
    async with alive.keeper.kept_written():
        await anyio.sleep(3590)
        assert (await cancel(fleet)).status is Status.CANCELLATION_REQUESTED
        await anyio.sleep(20)
        assert (await cancel(fleet)).status is Status.CANCELLED


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
    async with fleet.workers(WorkerProcess(fleet, "one", roles=("sweep", "import"))):
        settled = await fleet.settled(movement.number, within_seconds=60)
    assert (settled.status, settled.because) == (Status.TIMED_OUT, Reason.NO_PROGRESS)


@dataclass
class FreezingSession(MemorySession):
    """Stands still for hours before it commits the third Event File or a later one, as a process that is stopped does."""

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        if file.entry.id.chunk >= 2:
            await anyio.sleep(FROZEN_SECONDS)
        return await super().load(file, after=after)


FROZEN_SECONDS = 7200.0


def frozen_fleet() -> Fleet:
    """Return a fleet whose first worker sees nothing of what others do while it stands still."""
    limits = replace(LIMITS, importers=1, shard_files=0, progress_seconds=FROZEN_SECONDS)
    return Fleet(numbered(20), destination=MemoryDestination(session=FreezingSession), limits=limits)


async def events(fleet: Fleet) -> Sequence[OutboxEvent]:
    return (await read_history(runtime(fleet.store), FLOW)).events


@pytest.mark.parametrize("verb", [None, Verb.STOP])
@on_trio
async def test_a_worker_that_wakes_up_after_the_end_commits_and_notes_nothing(verb: Verb | None) -> None:
    fleet = frozen_fleet()
    async with fleet.workers(WorkerProcess(fleet, "one", roles=("export", "import"))):
        number = (await fleet.start()).number
        await fleet.exported(number)
        await anyio.sleep(fleet.limits.idle_timeout_seconds + 60)
        if verb is not None:
            await wish(fleet, verb)
            await anyio.sleep(3600)
        signs = await fleet.flows.read_signs(FLOW, number)
        assert [sign.progress.working for sign in signs if ":export" not in sign.progress.worker] == [True]
        judge = Judge(fleet.flows, fleet.limits, fence_by(lambda flow: fleet.destination))
        assert await judge.judge(await latest(fleet), signs) is None
        movement, told = await latest(fleet), await events(fleet)
        assert movement.status is (Status.TIMED_OUT if verb is None else Status.CANCELLED)
        assert len(fleet.destination.loads) == 2
        await anyio.sleep(2 * FROZEN_SECONDS)
    assert len(fleet.destination.loads) == 2
    assert await latest(fleet) == movement
    assert await events(fleet) == told
    assert await fleet.flows.read_failures(FLOW, number) == []


@dataclass
class SlowToFinish(FreezingSession):
    """Takes so long to finish that what was frozen commits meanwhile."""

    async def finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        await anyio.sleep(FROZEN_SECONDS)
        return await super().finish(streams)


@pytest.mark.parametrize(("session", "wakes", "imported"), [(FreezingSession, "after", 2), (SlowToFinish, "before", 3)])
@on_trio
async def test_nothing_is_added_to_an_incomplete_movement(
    session: type[MemorySession], wakes: str, imported: int
) -> None:
    fleet = frozen_fleet()
    fleet.destination.session = session
    async with fleet.workers(WorkerProcess(fleet, "one", roles=("export", "import"))):
        movement = await fleet.exported((await fleet.start()).number)
        await anyio.sleep(60)
        context = EngineContext(fleet.store, fleet.queue, fleet.clock, fleet.reporter, fleet.flows, fleet.limits)
        late, last = (EventFileId(1, StreamName("a"), Phase.FULL, chunk) for chunk in (2, 3))
        async with fleet.destination.open((await fleet.flows.read_flow(FLOW)).marks_namespace) as open_session:
            settled = await Settlement(context, open_session).settle(
                movement,
                list(movement.file_lists.values()),
                await open_session.marks(),
                {late: "the disk was full", last: "the disk was full"},
                lambda: Ran(Totals()),
            )
        told = await events(fleet)
        await anyio.sleep(2 * FROZEN_SECONDS)
        assert len(fleet.destination.loads) == imported
        assert await latest(fleet) == settled
        assert await events(fleet) == told
    assert settled.status is Status.INCOMPLETE
    assert (settled.totals.files_imported, settled.totals.files_failed) == (imported, 4 - imported)
    assert any(str(late) in problem for problem in settled.problems) == (wakes == "after")
    fleet.destination.session = MemorySession
    rerun = await create_rerun(fleet.flows, settled, settled)
    await fleet.exports.send([encode_message(MovementStarted(FLOW, rerun.number))])
    async with fleet.workers(WorkerProcess(fleet, "two")):
        assert (await fleet.settled(rerun.number)).status is Status.SUCCESS
    assert fleet.destination.tables == fleet.tables
    assert set(fleet.destination.loads.values()) == {1}


@on_trio
async def test_a_movement_settles_though_its_destination_has_lost_a_mark() -> None:
    fleet = frozen_fleet()
    async with fleet.workers(WorkerProcess(fleet, "one", roles=("export", "import"))):
        movement = await fleet.exported((await fleet.start()).number)
        await anyio.sleep(60)
        context = EngineContext(fleet.store, fleet.queue, fleet.clock, fleet.reporter, fleet.flows, fleet.limits)
        async with fleet.destination.open((await fleet.flows.read_flow(FLOW)).marks_namespace) as session:
            marks = dict(await session.marks())
            lost = EventFileId(1, StreamName("a"), Phase.FULL, 9)
            settling = Settlement(context, session)
            settled = await settling.settle(
                movement,
                list(movement.file_lists.values()),
                marks | {lost: marks.popitem()[1]},
                {},
                lambda: Ran(Totals()),
            )
    assert settled.status is Status.INCOMPLETE


@pytest.mark.parametrize("fences", [True, False])
@on_trio
async def test_what_was_done_until_a_time_out_is_counted(fences: bool) -> None:
    fleet = frozen_fleet()
    if not fences:  # then what the workers say counts
        fleet.limits = replace(fleet.limits, progress_seconds=2.0)
    async with fleet.workers(WorkerProcess(fleet, "one", roles=("export", "import"))):
        movement = await fleet.start()
        await fleet.exported(movement.number)
        await anyio.sleep(fleet.limits.idle_timeout_seconds + 60 + (0 if fences else 3600))
        fence = fence_by(lambda flow: fleet.destination) if fences else None
        signs = await fleet.flows.read_signs(FLOW, movement.number)
        assert await Judge(fleet.flows, fleet.limits, fence).judge(await latest(fleet), signs) is None
        settled = await latest(fleet)
        told = (await events(fleet))[-1].data
        await anyio.sleep(2 * FROZEN_SECONDS)
    totals = settled.totals
    assert (totals.files_exported, totals.files_imported, totals.files_failed) == (4, 2, 0)
    assert (totals.upserts, totals.deletes, totals.rejected) == (12, 0, 0)
    assert totals.seconds > fleet.limits.idle_timeout_seconds
    assert told["files"] == {"exported": 4, "imported": 2, "skipped": 0, "failed": 0}
    assert told["records"] == {"upserts": 12, "deletes": 0, "rejected": 0}


@on_trio
async def test_the_status_of_a_movement_under_way_has_its_totals_until_now() -> None:
    fleet = fleet_of()
    async with fleet.workers(WorkerProcess(fleet, "one")):
        await fleet.exported((await fleet.start()).number)
        await anyio.sleep(4 * LOAD_SECONDS)
        files = len(fleet.destination.loads)
        await wish(fleet, Verb.PAUSE)
        await anyio.sleep(2 * LOAD_SECONDS)
        shown = (await read_status(runtime(fleet.store), await fleet.flows.read_flow(FLOW))).movements[-1]
    assert shown.totals.files_imported == len(fleet.destination.loads) >= files > 0
    assert shown.totals.files_exported == 20
    assert shown.totals.upserts == 6 * shown.totals.files_imported


@on_trio
async def test_a_time_out_waits_for_a_destination_that_cannot_be_fenced_until_the_grace_is_over() -> None:
    fleet = frozen_fleet()
    movement = await fleet.start()
    await Frozen(fleet).claim(await fleet.flows.update(FLOW, movement.number, lambda now: replace(now, attempts=1)))
    tried: list[int] = []

    async def fence(flow: Flow, number: int) -> Fenced:
        tried.append(number)
        raise TransientError("the destination is locked")

    async def judged() -> Movement | None:
        signs = await fleet.flows.read_signs(FLOW, movement.number)
        return await Judge(fleet.flows, fleet.limits, fence).judge(await latest(fleet), signs)

    await anyio.sleep(fleet.limits.idle_timeout_seconds + 1)
    assert await judged() == await latest(fleet)
    await anyio.sleep(3600)
    assert await judged() is None
    assert (await latest(fleet)).status is Status.TIMED_OUT
    assert tried == [1, 1]


@on_trio
async def test_a_settlement_that_comes_too_late_changes_nothing_and_notes_nothing() -> None:
    fleet = fleet_of(4)
    async with fleet.workers(WorkerProcess(fleet, "one", roles=("export",))):
        movement = await fleet.exported((await fleet.start()).number)
    ended = await end_movement(fleet.flows, movement, Status.TIMED_OUT, Reason.TOO_OLD)
    context = EngineContext(fleet.store, fleet.queue, fleet.clock, fleet.reporter, fleet.flows, fleet.limits)
    failed, told = {EventFileId(1, StreamName("a"), Phase.FULL, 0): "late"}, await events(fleet)
    async with fleet.destination.open(FLOW) as session:
        settled = await Settlement(context, session).settle(
            movement, list(movement.file_lists.values()), {}, failed, lambda: Ran(Totals())
        )
    assert settled == ended
    await fleet.flows.note_unsettled(movement, [file_failed(movement, *failed.popitem(), fleet.clock.now())])
    assert await events(fleet) == told


@on_trio
async def test_a_worker_that_is_busy_with_one_thing_is_not_timed_out() -> None:
    fleet = fleet_of(20)
    movement = await fleet.start()
    busy = Frozen(fleet)
    await busy.claim(await fleet.flows.update(FLOW, movement.number, lambda now: replace(now, attempts=1)))
    async with (
        fleet.workers(WorkerProcess(fleet, "one", roles=("sweep", "import"))),
        busy.keeper.kept_written(),
    ):
        for is_over in (False, True):
            busy.keeper.report(Busy("an index", is_over))
            if not is_over:
                await anyio.sleep(4 * fleet.limits.idle_timeout_seconds)
                assert not (await latest(fleet)).settled
        settled = await fleet.settled(movement.number, within_seconds=fleet.limits.idle_timeout_seconds + 60)
    assert settled.because is Reason.NO_PROGRESS


@on_trio
async def test_a_pause_stops_the_clock_of_inactivity_and_not_that_of_life() -> None:
    fleet = fleet_of(20)
    fleet.limits = replace(fleet.limits, lifetime_seconds=4 * fleet.limits.idle_timeout_seconds)
    movement = await fleet.start()
    await fleet.flows.update(FLOW, movement.number, lambda now: replace(now, attempts=1))
    await wish(fleet, Verb.PAUSE)
    async with fleet.workers(WorkerProcess(fleet, "one", roles=("sweep", "import"))):
        await anyio.sleep(3 * fleet.limits.idle_timeout_seconds)
        ends = movement.created + timedelta(seconds=fleet.limits.lifetime_seconds)
        assert f"Its life ends at {ends:%Y-%m-%d %H:%M} UTC" in (await state(fleet)).sentence
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
    async with fleet.workers(WorkerProcess(fleet, "one", roles=("sweep", "import"))):
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
