"""The outbox: every transition of a Movement is one event, stored once, whatever becomes of the process."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from pipeline.codec.documents.outbox_event import decode_outbox_event
from pipeline.domain.errors import RefusedError, TransientError
from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey, Phase, StreamName
from pipeline.domain.lifecycle.status import Reason
from pipeline.domain.movement import Status
from pipeline.domain.outbox.event import EventType, OutboxEvent
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.lifecycle import begin_movement, end_movement, start_movement
from pipeline.engine.movements.progress import ProgressKeeper
from pipeline.engine.outbox.outbox import Outbox
from pipeline.engine.outbox.safe_trace import exception_type, safe_trace
from pipeline.ports.destination import Rejection
from pipeline.ports.object_store import ObjectStore, OpenBody, PutCondition, Version, list_pages
from pipeline.ports.reporter import RecordRejected
from pipeline.testing.simulated.calls import CrashError, Faults
from pipeline.testing.simulated.event_queue import MemoryEventQueue
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.engine.fleet import Fleet, WorkerProcess, numbered
from tests.engine.mover_world import FLOW, SMALL, RecordingReporter, World
from tests.fakes.destination import MemoryDestination
from tests.fakes.passing import PassingStore
from tests.loops import on_trio
from tests.notifications.world import VirtualClock

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "events.md"


async def events_of(store: ObjectStore, flow: FlowName = FLOW) -> list[OutboxEvent]:
    """All events of a Flow."""
    prefix = f"flows/{flow}/outbox/"
    keys = [info.key async for page in list_pages(store, prefix) for info in page]
    return [decode_outbox_event((await store.get(key)).data, key) for key in keys]


def rejecting() -> MemoryDestination:
    """A destination that rejects one text."""
    return MemoryDestination(rejects=lambda number, text: "it is bad" if text == "bad" else None)


def told(events: Sequence[OutboxEvent], movement: int) -> Counter[tuple[str, str]]:
    """What the events tell of a Movement: types and subjects."""
    return Counter((event.type.value, event.subject) for event in events if event.movement == movement)


@on_trio
async def test_a_first_movement_tells_of_its_begin_its_groups_and_its_end() -> None:
    world = World({"a": {1: "one"}, "b": {1: "one", 2: "two"}})
    await world.move()
    events = await events_of(world.store)
    assert told(events, 1) == Counter(
        {
            ("movement.started", ""): 1,
            ("group.exported", "a"): 1,
            ("group.exported", "b"): 1,
            ("group.imported", "a"): 1,
            ("group.imported", "b"): 1,
            ("movement.settled", ""): 1,
        }
    )
    exported = next(event for event in events if (event.type, event.subject) == (EventType.GROUP_EXPORTED, "b"))
    assert exported.data["files"] == 1
    assert isinstance(new := exported.data["new"], dict)
    assert (new["files"], new["upserts"], new["deletes"]) == (1, 2, 0)
    assert await world.store.stat(ObjectKey(str(exported.data["key"])))
    settled = next(event for event in events if event.type is EventType.MOVEMENT_SETTLED)
    assert settled.data["status"] == "SUCCESS"
    assert settled.data["records"] == {"upserts": 3, "deletes": 0, "rejected": 0}


@on_trio
async def test_an_unchanged_movement_costs_six_requests_for_events_and_history() -> None:
    world, faults = World({"a": {1: "one"}, "b": {2: "two"}}), Faults()
    await world.move()
    await world.move(faults)
    assert set(told(await events_of(world.store), 2)) == {("movement.started", ""), ("movement.settled", "")}
    calls = [call.split()[1] for call in faults.trace if call.startswith("before") and "/outbox/" in call]
    # two events, and the last one of the Movement before, which may have been lost
    assert Counter(calls) == {"store.put": 3, "store.list_page": 1}
    calls = [call.split()[1] for call in faults.trace if call.startswith("before") and "/history/" in call]
    assert Counter(calls) == {"store.get": 1, "store.put": 1}


async def killed(world: World, moment: str) -> None:
    """Move in a process that dies at this moment."""
    try:
        await world.move(Faults(crash_on=moment))
    except BaseExceptionGroup as group:
        _, rest = group.split(CrashError)
        assert rest is None
    except CrashError:
        pass


@on_trio
async def test_a_process_that_dies_around_any_event_loses_none_and_doubles_none() -> None:
    trial, faults = World({"a": {1: "one"}, "b": {2: "bad"}}, destination=rejecting()), Faults()
    await trial.move(faults)
    moments = [name for name in faults.trace if re.search("/outbox/|/history/|movement.json", name)]
    assert len(moments) > 20
    expected = told(await events_of(trial.store), 1)
    for moment in moments:
        world = World({"a": {1: "one"}, "b": {2: "bad"}}, destination=rejecting())
        await killed(world, moment)
        await world.move()
        await world.move()
        events = await events_of(world.store)
        assert told(events, 1) == expected, moment
        assert set(told(events, 2)) >= {("movement.started", ""), ("movement.settled", "")}, moment


@on_trio
async def test_workers_tell_each_transition_once() -> None:
    fleet = Fleet(numbered(40))
    workers = [WorkerProcess(fleet, name) for name in ("one", "two", "three")]
    async with fleet.workers(*workers):
        assert (await fleet.settled((await fleet.start()).number)).status is Status.SUCCESS
        await anyio.sleep(60)
    events = told(await events_of(fleet.store), 1)
    assert set(events.values()) == {1}
    labels = {subject for type_, subject in events if type_ == "group.imported"}
    assert labels == set(fleet.tables)


@on_trio
async def test_the_sweep_tells_of_what_a_dead_process_did_not() -> None:
    fleet = Fleet(numbered(4))
    flow = await fleet.flows.connect(FLOW, "memory:source", "memory:destination")
    unheard = Lossy(fleet.store)
    lost = World({}, store=unheard).flows
    movement = await start_movement(lost, flow)
    await end_movement(lost, movement, Status.TIMED_OUT, Reason.TOO_OLD)
    assert await events_of(fleet.store) == []
    async with fleet.workers(WorkerProcess(fleet, "one", roles=("sweep",))):
        await anyio.sleep(60)
    assert told(await events_of(fleet.store), 1) == Counter({("movement.settled", ""): 1})


@dataclass
class Lossy(PassingStore):
    """Accepts events and stores none of them."""

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        return Version("lost") if "/outbox/" in key else await self.inner.put(key, body, condition)


@dataclass
class Failing(PassingStore):
    """Does not answer the first puts of events of these types."""

    failing: list[str] = field(default_factory=list)

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        for part in self.failing:
            if "/outbox/" in key and part in key:
                self.failing.remove(part)
                raise TransientError(f"{key} was not stored")
        return await self.inner.put(key, body, condition)


@on_trio
async def test_an_event_that_cannot_be_stored_stops_no_data_and_is_stored_later() -> None:
    inner = MemoryObjectStore()
    world = World({"a": {1: "one"}}, store=Failing(inner, ["group.exported", "group.imported", "movement.settled"]))
    movement = await world.move()
    assert movement.status is Status.SUCCESS
    await world.move()
    assert len(told(await events_of(inner), 1)) == 4


@on_trio
async def test_rejected_records_are_told_of_once_a_minute_and_at_the_end() -> None:
    fleet = Fleet({"a": dict.fromkeys(range(3), "bad") | {9: "good"}}, destination=rejecting())
    async with fleet.workers(WorkerProcess(fleet, "one")):
        await fleet.settled((await fleet.start()).number)
    (event,) = [e for e in await events_of(fleet.store) if e.type is EventType.RECORDS_REJECTED]
    assert event.data == {"records": 3}
    assert event.reasons
    minutes = Counter(event.subject for event in await events_of(fleet.store) if event.subject.startswith("minute"))
    assert set(minutes.values()) == {1}


@on_trio
async def test_a_long_movement_tells_of_rejected_records_at_most_once_a_minute_and_of_all() -> None:
    clock, store = VirtualClock(), MemoryObjectStore()
    flows = FlowStore(store, clock)
    movement, _ = await begin_movement(flows, await flows.connect(FLOW, "memory:source", "memory:destination"))
    context = EngineContext(store, MemoryEventQueue(), clock, RecordingReporter(), flows, SMALL)
    progress = ProgressKeeper(context, movement, "one")
    file = EventFileId(1, StreamName("a"), Phase.FULL, 0)
    async with progress.kept_written():
        for number in range(600):
            progress.report(RecordRejected(Label("a"), Rejection(file, 2, f"[{number}]", f"reason {number % 3}")))
            await anyio.sleep(1)
        await anyio.sleep(120)
    told_of = [event for event in await events_of(store) if event.type is EventType.RECORDS_REJECTED]
    counts = [event.data["records"] for event in sorted(told_of, key=lambda event: event.time)]
    assert 9 <= len(counts) <= 11
    assert counts[-1] == 600
    assert counts == sorted(counts, key=lambda count: int(str(count)))
    assert all(set(event.reasons) <= {"reason 0", "reason 1", "reason 2"} for event in told_of)


@on_trio
async def test_a_file_that_fails_is_told_of_with_the_reason() -> None:
    world = World({"a": {1: "one"}, "b": {2: "two"}})
    await killed(world, "before destination.load 1/a/full/0")
    await world.store.put(ObjectKey("flows/crm/events/1/a/full/0.jsonl.zst"), b"damaged", PutCondition.NONE)
    fleet = Fleet(world.tables, store=world.store, queue=world.queue, destination=world.destination)
    async with fleet.workers(WorkerProcess(fleet, "one", roles=("import", "sweep"))):
        await anyio.sleep(100)
    (event,) = [e for e in await events_of(world.store) if e.type is EventType.FILE_FAILED]
    assert event.data == {"file": "1/a/full/0", "stream": "a"}
    assert "1/a/full/0" in event.reasons[0]


@on_trio
async def test_of_two_processes_that_see_a_transition_the_first_one_tells() -> None:
    store = MemoryObjectStore()
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    events = [OutboxEvent(EventType.MOVEMENT_PAUSED, FLOW, 1, moment + timedelta(seconds=n), "p") for n in range(2)]
    assert events[0].id == events[1].id
    async with anyio.create_task_group() as group:
        for event in events:
            group.start_soon(Outbox(store).put, [event])
    assert len(await events_of(store)) == 1


def test_the_id_depends_on_flow_its_creation_movement_type_and_subject_alone() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    base = OutboxEvent(EventType.MOVEMENT_PAUSED, FLOW, 1, moment, "p", {"by": "ada"}, ("why",))
    assert base.id == OutboxEvent(EventType.MOVEMENT_PAUSED, FLOW, 1, moment + timedelta(1), "p").id
    others = [
        OutboxEvent(EventType.MOVEMENT_RESUMED, FLOW, 1, moment, "p"),
        OutboxEvent(EventType.MOVEMENT_PAUSED, FlowName("erp"), 1, moment, "p"),
        OutboxEvent(EventType.MOVEMENT_PAUSED, FLOW, 2, moment, "p"),
        OutboxEvent(EventType.MOVEMENT_PAUSED, FLOW, 1, moment, "q"),
        OutboxEvent(EventType.MOVEMENT_PAUSED, FLOW, 1, moment, "p", flow_created=moment),
        OutboxEvent(EventType.MOVEMENT_PAUSED, FLOW, 1, moment, "p", flow_created=moment + timedelta(1)),
    ]
    assert len({base.id, *(other.id for other in others)}) == 7


@pytest.mark.parametrize("type_", EventType)
def test_every_type_of_event_is_documented(type_: EventType) -> None:
    assert f"| `{type_.value}` |" in PAGE.read_text()


@on_trio
async def test_every_field_of_an_event_is_documented() -> None:
    world = World({"a": {1: "one", 2: "bad"}}, only=("a",), destination=rejecting())
    await world.move()
    page = PAGE.read_text()
    for event in await events_of(world.store):
        row = next(line for line in page.splitlines() if line.startswith(f"| `{event.type.value}` |"))
        named = set(re.findall(r"`([\w.]+)`", row))
        assert named >= set(event.data), event


def test_causes_that_go_round_in_a_circle_end() -> None:
    first, second = RefusedError("first"), RefusedError("second")
    first.__cause__, second.__cause__ = second, first
    assert exception_type(first) == "RefusedError"
    assert safe_trace(first) == ()
