"""What the simulation has found, each as short as it can be told."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from pipeline.domain.errors import LeaseLostError, RefusedError
from pipeline.domain.ids import ObjectKey
from pipeline.domain.movement import Movement, Status
from pipeline.engine.messaging.leases import give_back, held
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.settlement import RunFigures, Settlement
from pipeline.ports.event_queue import Receipt
from pipeline.ports.object_store import StoredObject
from pipeline.queues.memory import MemoryEventQueue
from pipeline.stores.memory import MemoryObjectStore
from tests.engine.moving import FLOW, SMALL, RecordingReporter, World, on_trio
from tests.engine.world import ManualClock, MemoryDestination
from tests.simulation.run import simulate

NOTHING_RUN = RunFigures(0, 0, 0, 0, 0, 0.0)


class Interrupted(MemoryObjectStore):
    """Has another process settle the Movement right before movement.json is read for the `at`-th time."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at

    async def get(self, key: ObjectKey, *, max_bytes: int = 64 * 1024 * 1024) -> StoredObject:
        if key.endswith("/movement.json"):
            self.at -= 1
            if self.at == 0:
                await self._settle(key)
        return await super().get(key, max_bytes=max_bytes)

    async def _settle(self, key: ObjectKey) -> None:
        other = FlowStore(self, ManualClock())
        await other.update(FLOW, int(key.split("/")[3]), lambda now: now.to(Status.SUCCESS, now.updated))


def test_a_movement_that_settles_while_it_is_taken_up_is_left_and_the_next_begun() -> None:
    async def main() -> None:
        flows = FlowStore(Interrupted(2), ManualClock())  # between the look at the latest and taking it up
        flow = await flows.connect(FLOW, "memory:source", "memory:destination")
        await flows.begin(flow, (), ())
        movement, resumed = await flows.begin(flow, (), ())
        assert (movement.number, resumed) == (2, False)
        assert (await flows.read_movement(FLOW, 1)).attempts == 1

    on_trio(main)


def test_a_movement_that_settles_while_it_is_found_too_old_stays_as_it_is() -> None:
    async def main() -> None:
        store = Interrupted(3)  # between taking it up and settling it
        flows = FlowStore(store, ManualClock())
        flow = await flows.connect(FLOW, "memory:source", "memory:destination")
        await flows.begin(flow, (), ())
        world = World({"a": {1: "one"}}, store=store, limits=replace(SMALL, lifetime_seconds=0.0001))
        movement = await world.move()
        assert (movement.number, movement.status) == (2, Status.SUCCESS)
        assert (await flows.read_movement(FLOW, 1)).status is Status.SUCCESS

    on_trio(main)


def test_who_has_been_replaced_does_not_settle_what_another_exports_anew() -> None:
    async def main() -> None:
        store = MemoryObjectStore()
        flows = FlowStore(store, ManualClock())
        flow = await flows.connect(FLOW, "memory:source", "memory:destination")
        mine, _ = await flows.begin(flow, (), ())
        await flows.begin(flow, (), ())
        world = World({})
        context = EngineContext(store, world.queue, world.clock, RecordingReporter(), flows, SMALL)
        async with MemoryDestination().open(FLOW) as session:
            with pytest.raises(LeaseLostError, match="gives way"):
                await Settlement(context, session).settle(mine, (), {}, {}, NOTHING_RUN)
        assert (await flows.read_movement(FLOW, 1)).status is Status.IN_PROGRESS

    on_trio(main)


def test_an_update_that_changes_nothing_writes_nothing() -> None:
    async def main() -> None:
        flows = FlowStore(MemoryObjectStore(), ManualClock())
        flow = await flows.connect(FLOW, "memory:source", "memory:destination")
        begun, _ = await flows.begin(flow, (), ())

        def unchanged(now: Movement) -> Movement:
            return now

        assert await flows.update(FLOW, 1, unchanged) == begun

    on_trio(main)


async def test_a_lease_that_cannot_be_renewed_or_given_back_because_the_disk_is_full_ends_nothing() -> None:
    class Full(MemoryEventQueue):
        async def extend(self, receipt: Receipt, seconds: float) -> None:
            raise RefusedError("the disk is full")

    queue = Full(visibility_seconds=0.03)
    await queue.send([b"message"])
    (message,) = await queue.receive()
    async with held(queue, message, 0.03):
        await anyio.sleep(0.05)
    await give_back(queue, message)


@pytest.mark.parametrize("seed", [350, 448, 1615, 104127, 200041])
def test_a_seed_that_found_a_defect_holds(seed: int) -> None:
    assert simulate(seed).broken == ()
