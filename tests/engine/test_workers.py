"""Long-running workers: which facts hold when any of them dies or any message is lost."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import anyio.abc
import pytest

from pipeline.codec.documents.message import GroupCompleted, MovementExported, MovementStarted, encode_message
from pipeline.domain.errors import TransientError
from pipeline.domain.ids import FlowName, Label, ObjectKey
from pipeline.domain.movement import Flow, Status
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.lifecycle import claim_movement
from pipeline.engine.movements.work_errors import read_errors
from pipeline.engine.workers.movement_pool import MovementPool
from pipeline.ports.object_store import PutCondition
from pipeline.ports.source import Source
from pipeline.testing.simulated.calls import Faults
from pipeline.testing.simulated.event_queue import MemoryEventQueue
from tests.engine.fleet import Fleet, WorkerProcess, numbered
from tests.engine.mover_world import FLOW
from tests.loops import on_trio


@on_trio
async def test_a_started_movement_is_exported_imported_and_settled() -> None:
    fleet = Fleet({"a": {1: "x", 2: "y"}, "b": {7: "z"}})
    async with fleet.workers(WorkerProcess(fleet, "one")):
        movement = await fleet.settled((await fleet.start()).number)
        assert (movement.status, movement.totals.upserts, movement.problems) == (Status.SUCCESS, 3, ())
        fleet.tables["a"] = {1: "x", 2: "changed"}
        second = await fleet.settled((await fleet.start()).number)
        assert (second.number, second.status, second.totals.upserts) == (2, Status.SUCCESS, 1)
        third = await fleet.settled((await fleet.start()).number)
        assert (third.status, third.totals.files_exported, third.totals.files_skipped) == (Status.SUCCESS, 0, 3)
    assert fleet.destination.tables == fleet.tables
    assert set(fleet.destination.loads.values()) == {1}


@on_trio
async def test_a_worker_that_is_cancelled_opens_no_destination_any_more() -> None:
    fleet, ended, used = Fleet({}), anyio.Event(), list[bool]()
    movement = await fleet.start()
    context = EngineContext(fleet.store, fleet.queue, fleet.clock, fleet.reporter, fleet.flows, fleet.limits)
    pool = MovementPool(context, lambda flow: fleet.destination, "one", lambda: False)

    async def run(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        try:
            await pool.run(task_status=task_status)
        finally:
            ended.set()

    async with anyio.create_task_group() as group:
        await group.start(run)
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await ended.wait()
        async with pool.use(movement):
            used.append(True)
    assert not used


@on_trio
async def test_a_source_without_tables_settles_at_once() -> None:
    fleet = Fleet({})
    async with fleet.workers(WorkerProcess(fleet, "one")):
        assert (await fleet.settled((await fleet.start()).number)).status is Status.SUCCESS


@on_trio
async def test_a_large_group_is_imported_by_several_workers_and_in_order() -> None:
    fleet = Fleet(numbered(200))
    importers = [WorkerProcess(fleet, f"importer {number}", ("import",)) for number in range(4)]
    async with fleet.workers(WorkerProcess(fleet, "exporter", ("export", "sweep")), *importers):
        assert (await fleet.settled((await fleet.start()).number)).status is Status.SUCCESS
        for row in range(0, 200, 2):
            fleet.tables["a"][row] = "new"
        assert (await fleet.settled((await fleet.start()).number)).status is Status.SUCCESS
    assert fleet.destination.tables == fleet.tables
    assert set(fleet.destination.loads.values()) == {1}
    assert all(importer.imported for importer in importers)


@on_trio
async def test_later_steps_are_announced_without_the_sweep() -> None:
    """A new destination has many Movements to catch up with; the snapshot chunks among them are split into shards each time."""
    fleet = Fleet(numbered(20))
    async with fleet.workers(WorkerProcess(fleet, "exporter", ("export",))):
        for number in range(1, 6):
            await fleet.start()
            await fleet.exported(number)
            if number < 5:
                moment = fleet.clock.now()
                await fleet.flows.update(FLOW, number, lambda now, at=moment: now.to(Status.TIMED_OUT, at))  # type: ignore[misc]
            fleet.tables["a"] |= {number * 100 + row: "more" for row in range(12)} | {number: "changed"}
        for row in range(12):
            del fleet.tables["a"][500 + row]
        fleet.tables["a"][5] = "x"
    async with fleet.workers(*(WorkerProcess(fleet, str(n), ("import",)) for n in range(3))):
        movement = await fleet.settled(5, within_seconds=60.0)
    assert movement.status is Status.SUCCESS
    assert fleet.destination.tables == fleet.tables
    assert set(fleet.destination.loads.values()) == {1}


@pytest.mark.parametrize("call", ["before destination.load 1/a/full/7", "after destination.load 1/a/full/7"])
@on_trio
async def test_an_importer_that_dies_is_replaced_within_the_visibility_time_out(call: str) -> None:
    fleet = Fleet(numbered(60))
    dying = WorkerProcess(fleet, "dying", ("import",), Faults(crash_on=call))
    async with fleet.workers(WorkerProcess(fleet, "exporter", ("export",)), dying):
        number = (await fleet.start()).number
        await dying.death.wait()
        async with fleet.workers(WorkerProcess(fleet, "other", ("import",))):
            movement = await fleet.settled(number, within_seconds=35.0)
    assert movement.status is Status.SUCCESS
    assert fleet.destination.tables == fleet.tables
    assert set(fleet.destination.loads.values()) == {1}


@on_trio
async def test_an_exporter_that_dies_is_replaced_and_its_event_files_are_kept() -> None:
    fleet = Fleet(numbered(40))
    call = "after store.put flows/crm/events/1/a/full/5.jsonl.zst"
    dying = WorkerProcess(fleet, "dying", ("export",), Faults(crash_on=call))
    async with fleet.workers(dying):
        await fleet.start()
        await dying.death.wait()
    async with fleet.workers(WorkerProcess(fleet, "other")):
        movement = await fleet.settled(1, within_seconds=120.0)
    assert (movement.status, movement.attempts) == (Status.SUCCESS, 2)
    assert fleet.destination.tables == fleet.tables
    assert movement.totals.files_exported == 7


@on_trio
async def test_an_exporter_that_was_presumed_dead_changes_nothing() -> None:
    fleet = Fleet(numbered(4))
    zombie = WorkerProcess(fleet, "zombie", ("export",))
    claimed = await claim_movement(fleet.flows, await fleet.start(), "zombie")
    async with fleet.workers(WorkerProcess(fleet, "other")):
        assert (await fleet.settled(1)).status is Status.SUCCESS
    after = await fleet.flows.read_movement(FLOW, 1)
    assert (claimed.attempts, after.attempts, after.exporter) == (1, 2, "other:export")
    await fleet.exports.send([encode_message(MovementStarted(FLOW, 1))])
    async with fleet.workers(zombie):
        await anyio.sleep(60)
    assert await fleet.flows.read_movement(FLOW, 1) == after


@on_trio
async def test_a_movement_announced_twice_is_left_to_the_exporter_that_has_it() -> None:
    fleet = Fleet(numbered(40))
    slow = fleet.exports
    async with fleet.workers(*(WorkerProcess(fleet, str(number)) for number in range(3))):
        await fleet.start()
        await slow.send([encode_message(MovementStarted(FLOW, 1))] * 5)
        movement = await fleet.settled(1)
    assert (movement.status, movement.attempts) == (Status.SUCCESS, 1)


class LosingQueue(MemoryEventQueue):
    """Loses the first messages that are sent."""

    def __init__(self, lost: int) -> None:
        super().__init__(visibility_seconds=30.0)
        self._lost = lost

    async def send(self, bodies: Sequence[bytes]) -> None:
        lost = min(self._lost, len(bodies))
        self._lost -= lost
        await super().send(bodies[lost:])


@pytest.mark.parametrize("lost", [1, 2, 5, 30])
@on_trio
async def test_lost_messages_are_sent_again(lost: int) -> None:
    fleet = Fleet(numbered(40) | {"b": {1: "x"}}, queue=LosingQueue(lost), exports=LosingQueue(1))
    async with fleet.workers(WorkerProcess(fleet, "one"), WorkerProcess(fleet, "two")):
        movement = await fleet.settled((await fleet.start()).number)
    assert movement.status is Status.SUCCESS
    assert fleet.destination.tables == fleet.tables
    assert set(fleet.destination.loads.values()) == {1}


@on_trio
async def test_the_sweep_leaves_alone_what_a_live_worker_holds() -> None:
    fleet = Fleet(numbered(40))
    async with fleet.workers(WorkerProcess(fleet, "one")):
        await fleet.settled((await fleet.start()).number)
        depth = await fleet.queue.depth()
        await anyio.sleep(600)
        assert (await fleet.queue.depth(), await fleet.exports.depth()) == (depth, depth)


@on_trio
async def test_a_movement_whose_export_never_ends_is_timed_out() -> None:
    fleet = Fleet(numbered(4))
    await claim_movement(fleet.flows, await fleet.start(), "dead")
    async with fleet.workers(WorkerProcess(fleet, "one", ("sweep",))):
        movement = await fleet.settled(1, within_seconds=fleet.limits.idle_timeout_seconds + 60)
    assert movement.status is Status.TIMED_OUT


@on_trio
async def test_a_foreign_message_goes_to_the_dead_letter_queue_with_the_reason() -> None:
    fleet = Fleet(numbered(4))
    bodies = [b"hello", b"{}", b'{"formatVersion":99}', encode_message(MovementStarted(FLOW, 1))]
    await fleet.queue.send(bodies)
    await fleet.exports.send([b"hello", encode_message(MovementExported(FLOW, 1))])
    async with fleet.workers(WorkerProcess(fleet, "one")):
        assert (await fleet.settled((await fleet.start()).number)).status is Status.SUCCESS
    assert isinstance(fleet.queue, MemoryEventQueue)
    assert isinstance(fleet.exports, MemoryEventQueue)
    assert [body for body, _ in fleet.queue.dead] == bodies
    assert [reason for _, reason in fleet.queue.dead if not reason] == []
    assert "does not belong in this queue" in fleet.exports.dead[1][1]


@on_trio
async def test_an_announcement_of_an_absent_group_ends_in_the_dead_letter_queue() -> None:
    fleet = Fleet(numbered(4))
    async with fleet.workers(WorkerProcess(fleet, "one")):
        await fleet.settled((await fleet.start()).number)
        foreign = FlowName("nobody's")
        await fleet.queue.send([encode_message(GroupCompleted(foreign, 1, Label("a"), ObjectKey("k")))])
        await anyio.sleep(600)
        assert (await fleet.queue.depth()).dead == 1
        assert await fleet.flows.list_names() == [FLOW]
        assert (await fleet.settled((await fleet.start()).number)).status is Status.SUCCESS
    assert [flow.name for flow in await fleet.flows.list_flows()] == [FLOW]


@on_trio
async def test_why_work_fails_is_kept_beside_the_movement_and_with_the_dead_letter() -> None:
    fleet = Fleet(numbered(4))
    await fleet.start()
    broken = ConnectingWorker(fleet, "one", ("export",))
    async with fleet.workers(broken):
        await anyio.sleep(600)
    assert isinstance(fleet.exports, MemoryEventQueue)
    (error,) = await read_errors(fleet.store, FLOW, 1)
    assert (error.work, error.reason, error.worker, error.count) == ("export", "no such host", "one:export", 5)
    assert error.first < error.last
    assert [reason for _, reason in fleet.exports.dead] == ["failed 5 times, the last time because: no such host"]


class ConnectingWorker(WorkerProcess):
    """A worker that cannot reach the source."""

    def _source(self, flow: Flow) -> Source:
        raise TransientError("no such host")


@on_trio
async def test_an_altered_event_file_stops_its_lane_and_the_movement_ends_incomplete() -> None:
    fleet = Fleet(numbered(40) | {"b": {1: "x"}})
    async with fleet.workers(WorkerProcess(fleet, "exporter", ("export",))):
        await fleet.start()
        await fleet.exported(1)
    key = ObjectKey("flows/crm/events/1/a/full/3.jsonl.zst")
    whole = (await fleet.store.get(key)).data
    await fleet.store.put(key, whole[:-1] + b"?", PutCondition.NONE)
    async with fleet.workers(WorkerProcess(fleet, "one"), WorkerProcess(fleet, "two")):
        movement = await fleet.settled(1)
        assert movement.status is Status.INCOMPLETE
        assert "1/a/full/3" in movement.problems[0]
        assert len(fleet.destination.loads) == 7  # of 8
        await fleet.store.put(key, whole, PutCondition.NONE)
        assert (await fleet.settled((await fleet.start()).number)).status is Status.SUCCESS
    assert fleet.destination.tables == fleet.tables


@on_trio
async def test_a_worker_that_is_stopped_ends_its_transaction_and_gives_the_rest_back() -> None:
    fleet = Fleet(numbered(200))
    async with fleet.workers(WorkerProcess(fleet, "exporter", ("export",))):
        await fleet.start()
        await fleet.exported(1)
    worker, stop = WorkerProcess(fleet, "stopped", ("import",)), anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(worker.run, stop)
        while len(fleet.destination.loads) < 3:
            await anyio.lowlevel.checkpoint()
        stop.set()
    assert 3 <= len(fleet.destination.loads) < 50
    depth = await fleet.queue.depth()
    assert depth.in_flight == 0
    assert depth.waiting > 0


@on_trio
async def test_a_worker_for_one_flow_leaves_all_others_alone() -> None:
    fleet = Fleet(numbered(4))
    other = FlowName("other")
    await fleet.flows.connect(other, "memory:source", "memory:destination")
    await fleet.exports.send([encode_message(MovementStarted(other, 1))])
    await fleet.queue.send([encode_message(MovementExported(other, 1))])
    async with fleet.workers(WorkerProcess(fleet, "one", only_flows=frozenset({FLOW}))):
        movement = await fleet.settled((await fleet.start()).number)
        await anyio.sleep(60)
    assert movement.status is Status.SUCCESS
    assert ((await fleet.exports.depth()).dead, (await fleet.queue.depth()).dead) == (1, 1)


@on_trio
async def test_an_announcement_before_its_file_list_is_handled_once_the_list_exists() -> None:
    fleet = Fleet(numbered(8))
    movement = await fleet.start()
    early = GroupCompleted(FLOW, movement.number, Label("a"), ObjectKey("not there yet"))
    await fleet.queue.send([encode_message(early)])
    async with fleet.workers(WorkerProcess(fleet, "importer", ("import",))):
        await anyio.sleep(3)
        assert not fleet.destination.loads
        async with fleet.workers(WorkerProcess(fleet, "exporter", ("export",))):
            settled = await fleet.settled(movement.number, within_seconds=60.0)
    assert settled.status is Status.SUCCESS
    assert fleet.destination.tables == fleet.tables
    assert (await fleet.queue.depth()).dead == 0
