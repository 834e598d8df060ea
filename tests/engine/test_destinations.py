"""Derived Flows: another destination gets what the Flow has stored, without reading the source, and stays up to date."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import anyio
import pytest

from pipeline.domain import object_keys
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Flow, Movement, Status
from pipeline.engine.movements.derived_flows import add_destination, derived_flows, is_behind, sync_with_origin
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.ports.destination import Destination
from pipeline.testing.simulated.calls import Faults
from tests.engine.fleet import Fleet, WorkerProcess
from tests.engine.long_flow import CountingStore
from tests.engine.mover_world import FLOW
from tests.engine.wider_world import WiderWorld, may_crash, numbered
from tests.fakes.destination import MemoryDestination
from tests.fakes.source import MemorySource
from tests.loops import on_trio


async def moved_twice() -> WiderWorld:
    world = WiderWorld({"a": numbered(*range(10)), "b": numbered(1, 2)})
    await world.move()
    world.tables["a"][3] = "changed"
    del world.tables["a"][4]
    await world.move()
    return world


@on_trio
async def test_a_further_destination_gets_everything_without_the_source() -> None:
    world = await moved_twice()
    as_moved = {name: dict(table) for name, table in world.tables.items()}
    world.tables.clear()  # the source is not read
    backup = await world.add_destination("backup")
    movement = await world.bring(backup)
    assert (movement.number, movement.status) == (1, Status.SUCCESS)
    assert world.further[backup].tables == as_moved
    assert (movement.totals.files_exported, movement.totals.files_failed) == (0, 0)
    assert movement.totals.files_imported == len(world.further[backup].marked())


@on_trio
async def test_a_flow_knows_what_is_derived_from_it_without_reading_all_flows() -> None:
    world = await moved_twice()
    for number in range(20):
        await world.flows.connect(FlowName(f"other {number}"), "x", "y")
    await world.add_destination("backup")
    await world.add_destination("second")
    counted = CountingStore(world.store)
    found = await derived_flows(FlowStore(counted, world.clock), FLOW)
    assert [flow.name for flow in found] == ["backup", "second"]
    assert counted.requests == {"get": 3}
    await world.store.delete(object_keys.flow_key(FlowName("backup")))
    assert [flow.name for flow in await derived_flows(world.flows, FLOW)] == ["second"]
    await world.flows.update_flow(FLOW, lambda flow: replace(flow, derived=None))  # as an earlier release has made it
    assert [flow.name for flow in await derived_flows(world.flows, FLOW)] == ["second"]
    await world.add_destination("third")
    assert (await world.flows.read_flow(FLOW)).derived == ("second", "third")


@on_trio
async def test_later_movements_bring_both_up_to_date_and_each_settles_for_itself() -> None:
    world = await moved_twice()
    backup = await world.add_destination("backup")
    await world.bring(backup)
    world.further[backup].rejects = lambda number, text: "no nines" if number == 9 else None
    world.tables["a"][9] = "changed"
    world.tables["a"][100] = "new"
    assert (await world.move()).status is Status.SUCCESS
    movement = await world.bring(backup)
    assert (movement.number, movement.status) == (2, Status.INCOMPLETE)
    assert movement.totals.rejected == 1
    assert (await world.flows.read_movement(FLOW, 3)).status is Status.SUCCESS
    world.further[backup].rejects = lambda number, text: None
    assert (await world.bring(backup)).status is Status.SUCCESS
    assert world.destination.tables == world.further[backup].tables == world.tables


@on_trio
async def test_it_is_known_whether_a_further_destination_is_behind() -> None:
    world = await moved_twice()
    backup = await world.add_destination("backup")
    flow = await world.flows.read_flow(backup)
    assert await is_behind(world.flows, flow)
    await world.bring(backup)
    assert not await is_behind(world.flows, flow)
    world.tables["b"][7] = "new"
    await world.move()
    assert await is_behind(world.flows, flow)


@on_trio
async def test_an_incomplete_import_is_repeated_once_for_each_movement_of_the_origin() -> None:
    world = await moved_twice()
    backup = await world.add_destination("backup")
    world.further[backup].rejects = lambda number, text: "not now" if number == 9 else None
    assert (await world.bring(backup)).status is Status.INCOMPLETE
    flow = await world.flows.read_flow(backup)
    unchanged = await sync_with_origin(world.flows, world.clock, flow)
    assert unchanged is not None
    assert (unchanged.number, unchanged.settled) == (1, True)
    again = await world.move()  # nothing has changed
    begun = await sync_with_origin(world.flows, world.clock, flow)
    assert begun is not None
    assert (begun.number, begun.settled, begun.origin_movement) == (2, False, again.number)
    world.further[backup].rejects = lambda number, text: None
    assert (await world.bring(backup)).status is Status.SUCCESS
    await world.move()
    after = await sync_with_origin(world.flows, world.clock, flow)
    assert after is not None
    assert (after.number, after.settled) == (2, True)


@on_trio
async def test_an_unfinished_export_is_not_imported_elsewhere() -> None:
    world = await moved_twice()
    as_moved = {name: dict(table) for name, table in world.tables.items()}
    backup = await world.add_destination("backup")
    world.tables["a"][5] = world.tables["b"][5] = "changed"
    with may_crash():
        await world.move(Faults(crash_on="before store.put flows/crm/events/3/b/incremental/0.jsonl.zst"))
    assert (await world.flows.read_movement(FLOW, 3)).status is Status.IN_PROGRESS
    await world.bring(backup)
    assert world.further[backup].tables == as_moved


@dataclass
class SharingWorker(WorkerProcess):
    """A worker that connects a derived Flow too."""

    further: MemoryDestination = field(default_factory=MemoryDestination)

    def _destination(self, flow: Flow) -> Destination:
        return super()._destination(flow) if flow.origin is None else replace(self.further, calls=self.faults)


@on_trio
async def test_workers_bring_a_further_destination_up_to_date_by_themselves() -> None:
    fleet, further = Fleet({"a": numbered(*range(50))}), MemoryDestination()
    backup = await add_destination(fleet.flows, fleet.clock, *await connected(fleet))
    workers = [SharingWorker(fleet, f"worker {number}", further=further) for number in range(2)]
    async with fleet.workers(*workers):
        await fleet.settled((await fleet.start()).number)
        assert (await settled(fleet, backup.name, 1)).status is Status.SUCCESS
        assert further.tables == fleet.destination.tables == fleet.tables
        fleet.tables["a"][7] = "changed"
        await fleet.settled((await fleet.start()).number)
        movement = await settled(fleet, backup.name, 2)
        assert (movement.status, movement.totals.upserts, movement.totals.files_exported) == (Status.SUCCESS, 1, 0)
    assert further.tables == fleet.destination.tables == fleet.tables
    assert set(further.loads.values()) == {1}


async def connected(fleet: Fleet) -> tuple[FlowName, FlowName, str]:
    """Connect the Flow, and return the arguments for adding a destination."""
    await fleet.flows.connect(FLOW, MemorySource.location, fleet.destination.location)
    return FLOW, FlowName("backup"), "memory:backup"


async def settled(fleet: Fleet, flow: FlowName, number: int) -> Movement:
    """Wait until the latest Movement of a Flow exists and has settled."""
    with anyio.fail_after(3600):
        while True:
            latest = await fleet.flows.latest(await fleet.flows.read_flow(flow))
            if latest is not None and latest.number >= number and latest.settled:
                return latest
            await anyio.sleep(1)


@on_trio
async def test_after_a_crash_at_any_call_the_next_run_resumes() -> None:
    faults = Faults()
    world = await moved_twice()
    await world.bring(await world.add_destination("probe"), faults)
    for moment in range(faults.calls):
        name = await world.add_destination(f"crashed {moment}")
        with may_crash():
            await world.bring(name, Faults(crash_at=moment))
        movement = await world.bring(name)
        assert movement.status is Status.SUCCESS
        assert world.further[name].tables == world.tables
        assert max(world.further[name].loads.values()) == 1


@on_trio
async def test_a_destination_that_cannot_be_added_is_explained() -> None:
    world = WiderWorld({"a": numbered(1)})
    await world.flows.connect(FLOW, "memory:source", "memory:destination")
    backup = await world.add_destination("backup")
    with pytest.raises(ConfigurationError, match="exported nothing yet"):
        await world.bring(backup)
    with pytest.raises(ConfigurationError, match="already"):
        await add_destination(world.flows, world.clock, FLOW, FlowName("other"), "memory:destination")
    with pytest.raises(ConfigurationError, match="already"):
        await add_destination(world.flows, world.clock, FLOW, backup, "memory:elsewhere")
    with pytest.raises(ConfigurationError, match="Add the destination to 'crm'"):
        await add_destination(world.flows, world.clock, backup, FlowName("third"), "memory:third")
    with pytest.raises(ConfigurationError, match="exports nothing of its own"):
        await world.flows.connect(backup, "memory:source", "memory:backup")
