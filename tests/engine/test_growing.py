"""Groups that are imported while they are exported, and exports that never ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import pytest
from structlog.testing import capture_logs

from pipeline.codec.documents.message import GroupCompleted, encode_message
from pipeline.domain.errors import TransientError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey
from pipeline.domain.movement import Movement, Status
from pipeline.engine.imports.import_helper import HelperEvent, HelperProvider, run_helper
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movers.mover import Mover
from pipeline.ports.destination import DestinationSession, FileToLoad, Loaded, LoadOutcome
from pipeline.ports.reporter import EventFileImported
from pipeline.testing.simulated.calls import Faults
from tests.engine.mover_world import FLOW
from tests.engine.wider_world import WiderWorld, abandon, may_crash, numbered
from tests.fakes.destination import MemoryDestination
from tests.fakes.source import MemorySource
from tests.loops import on_trio


@on_trio
async def test_files_of_a_large_stream_are_imported_before_its_export_ends() -> None:
    world = WiderWorld({"a": numbered(*range(60))})
    faults = Faults()
    movement = await world.move(faults)
    first = faults.trace.index("after destination.load 1/a/full/0")
    last = max(at for at, name in enumerate(faults.trace) if name.startswith("before source.rows"))
    assert first < last
    assert (movement.status, movement.totals.files_imported, movement.unfinished) == (Status.SUCCESS, 10, {})
    assert max(world.destination.loads.values()) == 1
    assert world.destination.tables == world.tables


@on_trio
async def test_the_lists_of_a_growing_group_are_not_much_larger_than_the_last_one() -> None:
    world = WiderWorld({"a": numbered(*range(2000))})
    await world.move()
    page = await world.store.list_page(f"flows/{FLOW}/movements/1/groups/", limit=10_000)
    complete = max(info.size for info in page)
    assert 40 < len(page) < 150
    assert sum(info.size for info in page) < 34 * complete


@on_trio
async def test_what_is_imported_of_an_export_that_never_ended_is_not_exported_again() -> None:
    world = WiderWorld({"a": numbered(*range(40))})
    await abandon(world)
    assert world.destination.tables["a"]
    movement = await world.move()
    assert (movement.number, movement.status, movement.unfinished) == (2, Status.SUCCESS, {})
    assert world.destination.tables == world.tables
    assert {entry.id.movement for entry in await world.listed()} == {1, 2}
    assert movement.totals.upserts < 40
    assert (await world.move()).totals.files_exported == 0


@on_trio
async def test_a_grown_list_names_no_incremental_file_that_a_snapshot_file_may_still_precede() -> None:
    world = WiderWorld({"a": numbered(*range(4)), "b": numbered(*range(60))}, labels={"a": "all", "b": "all"})
    for chunk in (3, 7):  # the stream `a` has come to its end, `b` is in hand
        with may_crash():
            await world.move(Faults(crash_on=f"after store.put flows/crm/events/1/b/full/{chunk}.jsonl.zst"))
        assert all(entry.is_snapshot for entry in await world.listed())
        assert {entry.id.stream for entry in await world.listed()} == {"a", "b"}
        world.tables["a"].clear()
    world.tables["a"][10] = "comes after all that was stored of this stream"
    assert (await world.move()).status is Status.SUCCESS
    assert world.destination.tables == world.tables
    stored = [entry.id for entry in await world.listed() if entry.id.stream == "a"]
    assert [str(file) for file in stored] == ["1/a/full/0", "1/a/full/1", "1/a/incremental/0"]


@pytest.mark.parametrize("what", ["deleted", "changed", "dropped", "cleared"])
@on_trio
async def test_what_changed_since_an_export_that_never_ended_is_moved(what: str) -> None:
    world = WiderWorld({"a": numbered(*range(40)), "b": numbered(1)})
    await abandon(world)
    match what:
        case "deleted":
            del world.tables["a"][1], world.tables["a"][39]
        case "changed":
            world.tables["a"] |= {2: "changed", 38: "changed"}
        case "dropped":
            del world.tables["a"]
        case _:
            world.tables["a"].clear()
    movement = await world.move()
    assert (movement.status, movement.unfinished) == (Status.SUCCESS, {})
    assert world.destination.tables == {"a": {}} | world.tables
    new = await world.add_destination("new")
    await world.bring(new)
    assert world.further[new].tables == world.destination.tables


@on_trio
async def test_an_unfinished_stream_is_resumed_when_it_is_selected_again() -> None:
    world = WiderWorld({"a": numbered(*range(40)), "b": numbered(1)})
    await abandon(world)
    world.only = ("b",)
    del world.tables["a"][0]
    assert (await world.move()).unfinished == {"a": 1}
    world.only = ()
    assert (await world.move()).unfinished == {}
    assert world.destination.tables == world.tables


@on_trio
async def test_pruning_and_compacting_leave_an_export_that_never_ended_alone() -> None:
    world = WiderWorld({"a": numbered(*range(40)), "b": numbered(1)})
    await abandon(world)
    await world.prune()
    await world.compact()
    await world.prune()
    del world.tables["a"][0]
    movement = await world.move()
    assert (movement.status, movement.unfinished) == (Status.SUCCESS, {})
    assert world.destination.tables == world.tables


@on_trio
async def test_an_exporter_that_was_presumed_dead_announces_nothing() -> None:
    world = WiderWorld({"a": numbered(*range(40))})
    await abandon(world)
    before = await world.flows.read_movement(FLOW, 1)
    listed = await world.flows.read_file_list(before.file_lists[next(iter(before.file_lists))])
    stored = [info.key for info in await world.store.list_page(f"flows/{FLOW}/events/1/a/")]
    assert {entry.key for entry in listed} < set(stored)  # the last one was stored and not announced
    await world.move()
    entries: list[FileEntry] = await world.listed()
    assert set(stored) - {entry.key for entry in entries} == set(stored) - {entry.key for entry in listed}


@dataclass
class TaskHelper(HelperProvider):
    """A helper that is a task of this process. It dies after some events, or cannot be started."""

    context: EngineContext
    world: WiderWorld
    dies_after: int | None = None
    absent: bool = False
    silent: bool = False
    events: int = 0

    @asynccontextmanager
    async def open(self, movement: Movement) -> AsyncIterator[AsyncIterator[HelperEvent]]:
        """Import at the same time as the mover."""
        if self.absent:
            raise TransientError("no helper can be started")
        send, receive = anyio.create_memory_object_stream[HelperEvent](10_000)
        flow = await self.context.flows.read_flow(FLOW)
        async with (
            self.world.destination.open(flow.marks_namespace) as session,
            receive,
            send,
            anyio.create_task_group() as group,
            aclosing(self._events(receive)) as passed,
        ):
            await group.start(run_helper, self.context, movement, session, send.send_nowait, anyio.Event())
            yield passed
            group.cancel_scope.cancel()

    async def _events(self, received: AsyncIterator[HelperEvent]) -> AsyncGenerator[HelperEvent, None]:
        async for event in received:
            if self.events == self.dies_after:
                return
            self.events += 1
            if not (self.silent and isinstance(event, EventFileImported)):
                yield event


async def move_with_helper(
    world: WiderWorld, *, dies_after: int | None = None, absent: bool = False, silent: bool = False
) -> tuple[Movement, TaskHelper]:
    """Move once with a helper."""
    flows = FlowStore(world.store, world.clock)
    context = EngineContext(world.store, world.queue, world.clock, world.reporter, flows, world.limits)
    helper = TaskHelper(replace(context), world, dies_after, absent, silent)
    mover = Mover(context, FLOW, MemorySource(world.tables), world.destination, "worker", helper)
    return await mover.run(), helper


@on_trio
async def test_a_helper_imports_what_is_announced() -> None:
    world = WiderWorld({"a": numbered(*range(200)), "b": numbered(1)})
    world.destination.rejects = lambda number, text: "CHECK failed" if number == 150 else None
    movement, helper = await move_with_helper(world)
    assert helper.events > 20
    assert (movement.status, movement.totals.rejected, movement.totals.upserts) == (Status.INCOMPLETE, 1, 200)
    assert max(world.destination.loads.values()) == 1
    del world.tables["a"][150]
    assert world.destination.tables == world.tables


@pytest.mark.parametrize("dies_after", [0, 1, 2, 5, 20])
@on_trio
async def test_without_its_helper_a_movement_goes_on_alone(dies_after: int) -> None:
    world = WiderWorld({"a": numbered(*range(200))})
    movement, _ = await move_with_helper(world, dies_after=dies_after)
    assert movement.status is Status.SUCCESS
    assert world.destination.tables == world.tables


@dataclass
class LoadedBy(MemoryDestination):
    """Records which process loads each file: the mover, which opens it first, or the helper. Each load calls `before`."""

    opened: int = 0
    order: dict[str, list[int]] = field(default_factory=lambda: {"mover": [], "helper": []})
    before: Callable[[str], Awaitable[None]] = lambda who: anyio.lowlevel.checkpoint()

    @asynccontextmanager
    async def open(self, flow: FlowName) -> AsyncIterator[DestinationSession]:
        self.opened += 1
        who = "mover" if self.opened == 1 else "helper"
        async with super().open(flow) as session:
            yield _Noting(session, self, who)


@dataclass
class _Noting:
    session: DestinationSession
    at: LoadedBy
    who: str

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        await self.at.before(self.who)
        outcome = await self.session.load(file, after=after)
        if isinstance(outcome, Loaded):
            self.at.order[self.who].append(file.entry.id.chunk)
        return outcome

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)


@on_trio
async def test_a_slow_helper_is_joined_from_the_last_file_on() -> None:
    async def before(who: str) -> None:
        await anyio.sleep(0.05 if who == "helper" else 0.01)

    destination = LoadedBy(before=before)
    world = WiderWorld({"a": numbered(*range(200))}, destination=destination)
    world.limits = replace(world.limits, importers=1)
    movement, _ = await move_with_helper(world)
    assert (movement.status, movement.totals.upserts) == (Status.SUCCESS, 200)
    assert max(destination.loads.values()) == 1
    by_mover = destination.order["mover"]
    assert by_mover == sorted(by_mover, reverse=True)
    assert len(by_mover) > len(destination.order["helper"]) > 0


@on_trio
async def test_a_helper_that_cannot_be_joined_is_awaited() -> None:
    begun = anyio.current_time()

    async def before(who: str) -> None:
        await anyio.sleep(2.0)
        if who == "mover" and anyio.current_time() < begun + 13.5:  # five times, with pauses of three seconds
            raise TransientError("the destination is busy")

    destination = LoadedBy(before=before)
    world = WiderWorld({"a": numbered(*range(200))}, destination=destination)
    with capture_logs() as logs:
        movement, _ = await move_with_helper(world)
    assert (movement.status, movement.totals.upserts) == (Status.SUCCESS, 200)
    assert destination.tables == world.tables
    warnings = {log["event"] for log in logs if log["log_level"] == "warning"}
    assert warnings == {"event_file_load_retried", "joint_import_failed"}


@on_trio
async def test_imports_that_the_helper_does_not_report_count_too() -> None:
    world = WiderWorld({"a": numbered(*range(200))})
    movement, _ = await move_with_helper(world, silent=True)
    assert (movement.status, movement.totals.upserts) == (Status.SUCCESS, 200)


@on_trio
async def test_a_helper_leaves_the_next_movement_to_others_and_ends() -> None:
    world = WiderWorld({"a": numbered(1)})
    movement = await world.move()
    flows = FlowStore(world.store, world.clock)
    context = EngineContext(world.store, world.queue, world.clock, world.reporter, flows, world.limits)
    stop, events = anyio.Event(), list[HelperEvent]()
    async with world.destination.open(FLOW) as session, anyio.create_task_group() as group:
        await group.start(run_helper, context, movement, session, events.append, stop)
        later = GroupCompleted(FLOW, movement.number + 1, Label("a"), ObjectKey("flows/x"))
        await world.queue.send([encode_message(later)])
        with anyio.fail_after(60):
            await stop.wait()
    assert (await world.queue.depth()).waiting == 1
    assert not any(isinstance(one, EventFileImported) for one in events)


@on_trio
async def test_a_movement_that_gets_no_helper_is_imported_all_the_same() -> None:
    world = WiderWorld({"a": numbered(*range(40))})
    movement, helper = await move_with_helper(world, absent=True)
    assert (movement.status, helper.events) == (Status.SUCCESS, 0)
    assert world.destination.tables == world.tables
