"""The history of a Flow: complete, in order, and read with few requests, however long the Flow is."""

from __future__ import annotations

import anyio
import pytest
from structlog.testing import capture_logs

from pipeline.assembly.commands.history import EARLIER_SHOWN, read_history
from pipeline.assembly.commands.status import read_status
from pipeline.assembly.runtime import Runtime
from pipeline.domain import object_keys
from pipeline.domain.errors import AbsentError
from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.lifecycle.status import Reason
from pipeline.domain.movement import Status
from pipeline.domain.outbox.event import EventType, OutboxEvent
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.lifecycle import end_movement, start_movement
from pipeline.engine.outbox.history import History, first_covered
from pipeline.ports.object_store import ObjectStore, PutCondition, list_pages
from pipeline.settings import Settings
from pipeline.testing.simulated.clock import ManualClock
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.engine import long_flow
from tests.engine.mover_world import FLOW, World
from tests.engine.test_outbox import Lossy, events_of
from tests.loops import on_trio

MOST_REQUESTS = 50


def runtime(store: ObjectStore) -> Runtime:
    """What commands work with, on this store."""
    clock = ManualClock()
    return Runtime(Settings(), store, FlowStore(store, clock), clock)


async def moved(times: int) -> World:
    world = World({"a": {1: "one"}})
    for number in range(times):
        world.tables["a"][1] = f"version {number}"
        assert (await world.move()).status is Status.SUCCESS
    return world


def test_blocks_cover_any_number_of_movements_with_few() -> None:
    for latest in range(1, 2000):
        number, blocks = latest, 0
        while number:
            number, blocks = first_covered(number) - 1, blocks + 1
        assert blocks <= latest.bit_length()


@on_trio
async def test_history_has_every_event_once_and_in_order() -> None:
    world = await moved(13)
    found = (await read_history(runtime(world.store), FLOW)).events
    stored = await events_of(world.store)
    assert sorted(event.id for event in found) == sorted(event.id for event in stored)
    assert [event.movement for event in found] == sorted(event.movement for event in found)
    assert {event.id for event in (await read_history(runtime(world.store), FLOW, 7)).events} == {
        event.id for event in stored if event.movement == 7
    }


@pytest.mark.parametrize(("movements", "files"), [(100, 11_000), pytest.param(1000, 100_000, marks=pytest.mark.slow)])
@on_trio
async def test_a_long_history_takes_few_requests(movements: int, files: int) -> None:
    inner = MemoryObjectStore()
    await long_flow.build(inner, movements, files, "sqlite:///source.db", "sqlite:///no/such/directory/copy.db")
    counted = long_flow.CountingStore(inner)
    found = await read_history(runtime(counted), long_flow.FLOW)
    assert len(found.events) == 4 * movements
    assert counted.requests.total() <= MOST_REQUESTS
    counted.requests.clear()
    shown = await read_status(runtime(counted), await FlowStore(counted, ManualClock()).read_flow(long_flow.FLOW))
    assert sum(group.listed for group in shown.groups) == files
    assert sum(group.imported or 0 for group in shown.groups) == files
    assert counted.requests.total() <= MOST_REQUESTS


@on_trio
async def test_movements_that_end_early_have_blocks_too() -> None:
    world = await moved(1)
    for _ in range(40):
        started = await start_movement(world.flows, await world.flows.read_flow(FLOW))
        await end_movement(world.flows, started, Status.TIMED_OUT, Reason.TOO_OLD)
    counted = long_flow.CountingStore(world.store)
    found = await read_history(runtime(counted), FLOW)
    assert {event.movement for event in found.events} == set(range(1, 42))
    assert counted.requests.total() <= 12


@on_trio
async def test_what_no_block_covers_is_read_from_the_events() -> None:
    world = await moved(13)
    keys = [info.key async for page in list_pages(world.store, object_keys.history_prefix(FLOW)) for info in page]
    assert len(keys) == 13
    expected = (await read_history(runtime(world.store), FLOW)).events
    for key in keys:
        kept = (await world.store.get(key)).data
        await world.store.delete(key)
        assert (await read_history(runtime(world.store), FLOW)).events == expected
        await world.store.put(key, b"damaged", PutCondition.NONE)
        assert (await read_history(runtime(world.store), FLOW)).events == expected
        await world.store.put(key, kept, PutCondition.NONE)


@on_trio
async def test_a_block_that_begins_before_the_first_events_that_are_left_is_read_all_the_same() -> None:
    world = await moved(16)
    expected = [event for event in (await read_history(runtime(world.store), FLOW)).events if event.movement >= 5]
    for number in range(1, 5):
        for page in [page async for page in list_pages(world.store, f"{object_keys.outbox_prefix(FLOW)}{number:010}/")]:
            for info in page:
                await world.store.delete(info.key)
    counted = long_flow.CountingStore(world.store)
    found = await History(counted, FLOW).read(16)
    assert (found.since, found.events) == (5, expected)
    assert counted.requests.total() <= 5


@on_trio
async def test_history_has_a_movement_that_no_importer_settled_and_what_belongs_to_no_movement() -> None:
    world = await moved(2)
    flow = await world.flows.read_flow(FLOW)
    movement = await world.flows.read_movement(FLOW, 2)
    started = await start_movement(world.flows, flow)
    await end_movement(world.flows, started, Status.TIMED_OUT, Reason.TOO_OLD)
    check = OutboxEvent(EventType.CHECK_FINISHED, FLOW, 0, world.clock.now(), "a check")
    await world.flows.outbox.put([check])
    await world.move()
    found = (await read_history(runtime(world.store), FLOW)).events
    assert [e.data["status"] for e in found if (e.movement, e.type) == (3, EventType.MOVEMENT_SETTLED)] == ["TIMED_OUT"]
    assert check.id in {event.id for event in found}
    assert movement.number == 2


@on_trio
async def test_history_of_movements_of_an_earlier_release_is_made_from_their_documents() -> None:
    inner = MemoryObjectStore()
    world = World({"a": {1: "one"}}, store=Lossy(inner))
    for _ in range(EARLIER_SHOWN + 5):
        await world.move()
    for page in [page async for page in list_pages(inner, object_keys.history_prefix(FLOW))]:
        for info in page:
            await inner.delete(info.key)
    world.store = inner
    await world.move()
    found = await read_history(runtime(inner), FLOW)
    latest = EARLIER_SHOWN + 6
    assert found.unknown > 0
    assert {event.movement for event in found.events} == set(range(found.unknown + 1, latest + 1))
    (first, last) = (await read_history(runtime(inner), FLOW, 3)).events
    assert (first.type, last.type) == (EventType.MOVEMENT_STARTED, EventType.MOVEMENT_SETTLED)
    with pytest.raises(AbsentError, match=r"has no Movement 99; its latest is 16"):
        await read_history(runtime(inner), FLOW, 99)


@on_trio
async def test_a_block_that_an_earlier_release_has_not_stored_is_no_warning() -> None:
    inner = MemoryObjectStore()
    world = World({"a": {1: "one"}}, store=Lossy(inner))
    for _ in range(31):
        await world.move()
    for page in [page async for page in list_pages(inner, object_keys.history_prefix(FLOW))]:
        for info in page:
            await inner.delete(info.key)
    world.store = counted = long_flow.CountingStore(inner)
    with capture_logs() as logs:
        await world.move()
        listed = counted.requests["list"]
        await world.move()
    assert not [log for log in logs if log["log_level"] == "warning"]
    assert listed < 31, "the Movements without events are not looked at one by one"
    assert {event.movement for event in (await History(inner, FLOW).read(33)).events} == {31, 32, 33}


@on_trio
async def test_reading_the_history_writes_nothing() -> None:
    world = await moved(3)
    counted = long_flow.CountingStore(world.store)
    await read_history(runtime(counted), FLOW)
    await read_history(runtime(counted), FLOW, 2)
    assert counted.requests["put"] + counted.requests["delete"] == 0
    assert await world.store.stat(ObjectKey("flows/crm/outbox")) is None
    with anyio.fail_after(1), pytest.raises(AbsentError):
        await read_history(runtime(counted), FlowName("no such Flow"))
