"""Changes of movement.json: read once by a process that alone changes it, and never lost when another one does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pipeline.codec.documents.flow import decode_movement
from pipeline.domain.ids import FlowName, Label, ObjectKey
from pipeline.domain.movement import Flow, Movement
from pipeline.engine.movements import flow_store
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.lifecycle import next_movement
from pipeline.testing.simulated.clock import ManualClock
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.engine.long_flow import BEGAN, CountingStore
from tests.loops import on_trio

FLOW = FlowName("f")


async def begun(store: CountingStore) -> tuple[FlowStore, Movement]:
    """Return the Flows of a process that has begun a Movement and changed it."""
    flows = FlowStore(store, ManualClock(BEGAN))
    flow = await flows.add(Flow(FLOW, "file:///a/", "file:///b/", BEGAN))
    await flows.create(next_movement(flows, flow, None), None)
    return flows, await flows.update(FLOW, 1, labelled("first"))


def labelled(*labels: str) -> Callable[[Movement], Movement]:
    """Return a change that adds labels."""
    return lambda now: replace(now, groups=(*now.groups, *map(Label, labels)))


@on_trio
async def test_one_process_reads_a_movement_once() -> None:
    store = CountingStore(MemoryObjectStore())
    flows, movement = await begun(store)
    store.requests.clear()
    for number in range(5):
        movement = await flows.update(FLOW, 1, labelled(f"{number}"), movement)
    assert store.requests == {"put": 5}
    assert await FlowStore(store, ManualClock(BEGAN)).read_movement(FLOW, 1) == movement
    assert movement.groups == ("first", "0", "1", "2", "3", "4")


@on_trio
async def test_what_another_process_changes_meanwhile_is_kept() -> None:
    store = CountingStore(MemoryObjectStore())
    flows, movement = await begun(store)
    others = FlowStore(store, ManualClock(BEGAN))
    await others.update(FLOW, 1, labelled("other"))
    movement = await flows.update(FLOW, 1, labelled("second"), movement)
    assert movement.groups == ("first", "other", "second")
    await others.update(FLOW, 1, labelled("last"))
    movement = await flows.update(FLOW, 1, lambda now: now, movement)
    assert movement.groups == ("first", "other", "second", "last")


@on_trio
async def test_a_movement_is_decoded_again_only_when_it_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has an entry a table, and each table asks for it."""
    decoded: list[ObjectKey] = []

    def decode(data: bytes, key: ObjectKey) -> Movement:
        decoded.append(key)
        return decode_movement(data, key)

    store = CountingStore(MemoryObjectStore())
    flows, movement = await begun(store)
    monkeypatch.setattr(flow_store, "decode_movement", decode)
    assert [await flows.read_movement(FLOW, 1) for _ in range(3)] == [movement] * 3
    assert decoded == []
    changed = await FlowStore(store, ManualClock(BEGAN)).update(FLOW, 1, labelled("other"))
    decoded.clear()
    assert [await flows.read_movement(FLOW, 1) for _ in range(3)] == [changed] * 3
    assert len(decoded) == 1
