"""Defects that the simulation has found, each in a short test."""

from __future__ import annotations

from dataclasses import fields, replace

import anyio
import pytest

from pipeline.codec.documents.message import GroupCompleted
from pipeline.codec.event_files.event_file import EventFileWriter
from pipeline.domain.errors import DamagedError, LeaseLostError, RefusedError
from pipeline.domain.event_file import Header
from pipeline.domain.ids import EventFileId, Label, ObjectKey, Phase, StreamName
from pipeline.domain.movement import Movement, Status, Totals
from pipeline.engine.imports.movement_import import MovementImport
from pipeline.engine.messaging.leases import give_back, held
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.lifecycle import begin_movement
from pipeline.engine.movements.progress import Ran
from pipeline.engine.movements.settlement import Settlement
from pipeline.engine.storage.event_files import store_event_file
from pipeline.ports.event_queue import Receipt
from pipeline.ports.object_store import StoredObject
from pipeline.testing.simulated.bucket import Bucket
from pipeline.testing.simulated.clock import ManualClock
from pipeline.testing.simulated.event_queue import MemoryEventQueue
from pipeline.testing.simulated.faults import Fault, Kind, Point, ScriptedDealer
from pipeline.testing.simulated.object_store import MemoryObjectStore
from pipeline.testing.simulated.process import Disks
from tests.engine.mover_world import FLOW, SMALL, RecordingReporter, World
from tests.fakes.destination import MemoryDestination
from tests.fakes.rows import schema_of
from tests.loops import on_trio
from tests.simulation.model.model import Model
from tests.simulation.platform.plan import Plan, plan_of
from tests.simulation.platform.scheduler import run_seeded
from tests.simulation.run import simulate
from tests.simulation.scenarios.workers import workers
from tests.simulation.scenarios.world import World as SimulatedWorld

FOUND = [
    *(350, 448, 1329, 1615, 7371, 104127, 200041, 901813, 916118, 919891),
    *(2155, 925948, 989827, 990305, 992957, 1001303, 1003258),
]
"""Seeds that have found a defect, of the pipeline or of the model."""


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


@on_trio
async def test_a_movement_that_settles_while_it_is_taken_up_is_left_and_the_next_begun() -> None:
    flows = FlowStore(Interrupted(2), ManualClock())  # between the look at the latest and taking it up
    flow = await flows.connect(FLOW, "memory:source", "memory:destination")
    await begin_movement(flows, flow)
    movement, resumed = await begin_movement(flows, flow)
    assert (movement.number, resumed) == (2, False)
    assert (await flows.read_movement(FLOW, 1)).attempts == 1


@on_trio
async def test_a_movement_that_settles_while_it_is_found_too_old_stays_as_it_is() -> None:
    store = Interrupted(3)  # between taking it up and settling it
    flows = FlowStore(store, ManualClock())
    flow = await flows.connect(FLOW, "memory:source", "memory:destination")
    await begin_movement(flows, flow)
    await anyio.sleep(15 * 86_400)
    world = World({"a": {1: "one"}}, store=store)
    movement = await world.move()
    assert (movement.number, movement.status) == (2, Status.SUCCESS)
    assert (await flows.read_movement(FLOW, 1)).status is Status.SUCCESS


@on_trio
async def test_a_replaced_process_does_not_settle_what_another_one_exports_again() -> None:
    store = MemoryObjectStore()
    flows = FlowStore(store, ManualClock())
    flow = await flows.connect(FLOW, "memory:source", "memory:destination")
    mine, _ = await begin_movement(flows, flow)
    await begin_movement(flows, flow)
    world = World({})
    context = EngineContext(store, world.queue, world.clock, RecordingReporter(), flows, SMALL)
    async with MemoryDestination().open(FLOW) as session:
        with pytest.raises(LeaseLostError, match="gives way"):
            await Settlement(context, session).settle(mine, (), {}, {}, lambda: Ran(Totals()))
    assert (await flows.read_movement(FLOW, 1)).status is Status.IN_PROGRESS


@on_trio
async def test_an_update_that_changes_nothing_writes_nothing() -> None:
    flows = FlowStore(MemoryObjectStore(), ManualClock())
    flow = await flows.connect(FLOW, "memory:source", "memory:destination")
    begun, _ = await begin_movement(flows, flow)

    def unchanged(now: Movement) -> Movement:
        return now

    assert await flows.update(FLOW, 1, unchanged) == begun


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


@pytest.mark.parametrize("is_settled", [False, True])
@on_trio
async def test_a_file_list_that_is_gone_is_damage_until_the_movement_has_settled(is_settled: bool) -> None:
    store = MemoryObjectStore()
    flows = FlowStore(store, ManualClock())
    flow = await flows.connect(FLOW, "memory:source", "memory:destination")
    await begin_movement(flows, flow)
    lists = {Label("a"): ObjectKey("pruned")}
    movement = await flows.update(FLOW, 1, lambda now: replace(now, file_lists=lists))
    if is_settled:
        await flows.update(FLOW, 1, lambda now: now.to(Status.SUCCESS, now.updated))
    context = EngineContext(store, MemoryEventQueue(), ManualClock(), RecordingReporter(), flows, SMALL)
    async with MemoryDestination().open(FLOW) as session:
        importing = MovementImport(context, movement, session)
        with pytest.raises(LeaseLostError if is_settled else DamagedError):
            await importing.import_group(GroupCompleted(FLOW, 1, Label("a"), ObjectKey("pruned")))


@pytest.mark.parametrize("is_settled", [False, True])
async def test_the_model_wants_an_event_file_complete_until_its_movement_has_settled(is_settled: bool) -> None:
    bucket = Bucket()
    model = Model(bucket, Disks())
    flows = FlowStore(bucket, ManualClock())
    await begin_movement(flows, await flows.connect(FLOW, "simulated:source", "simulated:destination"))
    if is_settled:
        await flows.update(FLOW, 1, lambda now: now.to(Status.TIMED_OUT, now.updated))
    file = EventFileId(1, StreamName("a"), Phase.FULL, 0)
    header = Header(FLOW, file, schema_of("a"), 0, ManualClock().now(), state="pruned")
    await store_event_file(bucket, header, EventFileWriter(level=1).finish(header), upserts=0, deletes=0)
    assert bool(model.broken) is not is_settled


def test_the_model_tries_for_as_long_as_the_disk_is_full() -> None:
    class Impatient(Plan):
        def restart_seconds(self, moment: str) -> float:
            return 0.01

    plan = plan_of(1)
    dealer = ScriptedDealer([Fault(Point("operator-1", "store.put flows/crm/flow.json", 1), Kind.FULL, 2.0)])
    world = SimulatedWorld(Impatient(**{each.name: getattr(plan, each.name) for each in fields(plan)}), dealer)
    run_seeded(1, lambda: world.run(workers))
    assert len(dealer.dealt) == 1
    assert world.model.broken == []


@pytest.mark.parametrize("seed", FOUND)
def test_a_seed_that_found_a_defect_holds(seed: int) -> None:
    assert simulate(seed).broken == ()
