"""What is damaged, foreign or left over among the documents of notifications stops nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import anyio
import pytest

from pipeline.codec.documents.endpoint import encode_endpoint
from pipeline.domain import object_keys
from pipeline.domain.errors import AbsentError, DamagedError
from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.notifications.delivery import Deliveries
from pipeline.domain.notifications.endpoint import Endpoint
from pipeline.engine.notifications.endpoints import ABANDONED_AFTER
from pipeline.engine.notifications.feed import list_events
from pipeline.engine.outbox.history import History
from pipeline.ports.object_store import PutCondition
from tests.loops import on_trio
from tests.notifications.world import BEGAN, FLOW, World

DAMAGED_PROFILE = encode_endpoint(Endpoint("bad", "https://bad.example", BEGAN)).replace(b'"standard"', b'"slow"')


@pytest.mark.parametrize(
    ("key", "content", "said"),
    [
        (object_keys.endpoint_key("bad"), b"{", "is not JSON"),
        (object_keys.endpoint_key("bad"), DAMAGED_PROFILE, "'slow' is no profile"),
        (object_keys.deliveries_key("bad"), b"[]", "is damaged"),
    ],
    ids=["endpoint", "profile", "deliveries"],
)
@on_trio
async def test_an_endpoint_whose_document_is_damaged_stops_no_other_and_can_be_removed(
    key: ObjectKey, content: bytes, said: str
) -> None:
    world = World()
    receiver = await world.add("ops")
    await world.add("bad")
    await world.store.put(key, content, PutCondition.NONE)
    async with world.notifying():
        await world.movement()
        await anyio.sleep(60)
        assert sorted(receiver.types) == sorted(["movement.started", "movement.settled"])
        with pytest.raises(DamagedError, match=rf"{said}.* Remove .* `pipeline notify remove bad`"):
            await read_both(world, "bad")
        await world.endpoints.forget(FlowName("erp"))
        await world.endpoints.remove("bad")
        await world.movement()
        await anyio.sleep(60)
    assert len(receiver.got) == 4
    assert [one.name for one in await world.endpoints.list()] == ["ops"]


@on_trio
async def test_an_endpoint_whose_document_is_damaged_is_listed_as_disabled() -> None:
    world = World()
    await world.add("bad")
    await world.store.put(object_keys.endpoint_key("bad"), DAMAGED_PROFILE, PutCondition.NONE)
    (found,) = await world.endpoints.list()
    assert "'slow' is no profile of this release; it has standard, atlassian" in found.disabled


@on_trio
async def test_foreign_objects_in_the_outbox_are_passed_over() -> None:
    world = World()
    receiver = await world.add("ops")
    prefix = object_keys.outbox_prefix(FLOW)
    names = ("!note", "notes.txt", "day-2026-02-31/movement.started.x.json", "0000000001/read/me", "0000000001/me")
    day = f"day-2026-13-41/movement.started.{'0' * 32}.json"
    for name in (*names, day):
        await world.store.put(ObjectKey(f"{prefix}{name}"), b"foreign", PutCondition.NONE)
    async with world.notifying():
        await world.movement()
        await anyio.sleep(60)
    assert sorted(receiver.types) == sorted(["movement.started", "movement.settled"])
    assert len(await list_events(world.store, FLOW, 1)) == 2
    history = await History(world.store, FLOW).read(1)
    assert (history.since, len(history.events)) == (1, 2)


@on_trio
async def test_what_was_delivered_to_an_endpoint_that_is_gone_is_deleted() -> None:
    world = World()
    store, key = world.store, object_keys.deliveries_key("gone")
    await world.endpoints.add(Endpoint("gone", "https://gone.example", BEGAN), Deliveries())
    await store.delete(object_keys.endpoint_key("gone"))
    await world.add("soon")
    assert await store.stat(key), "it may belong to an endpoint that is being added"
    await anyio.sleep((ABANDONED_AFTER + timedelta(seconds=1)).total_seconds())
    await world.add("later")
    assert await store.stat(key) is None
    assert (await world.endpoints.deliveries("soon"))[0] == Deliveries()


@on_trio
async def test_what_was_delivered_is_removed_also_without_its_endpoint() -> None:
    world = World()
    await world.add("ops")
    await world.store.delete(object_keys.endpoint_key("ops"))
    await world.endpoints.remove("ops")
    assert await world.store.stat(object_keys.deliveries_key("ops")) is None
    with pytest.raises(AbsentError, match="no endpoint named 'ops'"):
        await world.endpoints.remove("ops")


@on_trio
async def test_an_endpoint_that_is_removed_while_it_is_looked_at_gets_nothing() -> None:
    world = World()
    await world.movement()
    receiver = await world.add("ops")
    listed = await world.endpoints.list()
    await world.endpoints.remove("ops")
    notifier = world.notifier()

    async def listed_before() -> Sequence[Endpoint]:
        return listed

    notifier._endpoints.list = listed_before  # type: ignore[method-assign]
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(notifier.run, stop)
        await anyio.sleep(60)
        stop.set()
    assert receiver.asked == []
    assert await world.store.stat(object_keys.deliveries_key("ops")) is None


@on_trio
async def test_events_of_a_flow_that_has_the_name_of_a_removed_one_have_ids_of_their_own() -> None:
    world = World()
    receiver = await world.add("ops")
    async with world.notifying():
        for _ in range(2):
            await world.movement(FLOW)
            await anyio.sleep(120)
            for key in await _keys_of(world, FLOW):
                await world.store.delete(key)
            await world.endpoints.forget(FLOW)
    assert sorted(receiver.types) == sorted(["movement.started", "movement.settled"] * 2)
    assert len(set(receiver.ids)) == 4


async def read_both(world: World, name: str) -> None:
    await world.endpoints.read(name)
    await world.endpoints.deliveries(name)


async def _keys_of(world: World, flow: FlowName) -> list[ObjectKey]:
    page = await world.store.list_page(object_keys.flow_prefix(flow))
    return [info.key for info in page]
