"""Maintenance by itself: a Flow stays small, whatever happens meanwhile, and no destination misses anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

import anyio
import anyio.lowlevel
import pytest

from pipeline.codec.documents.maintenance import MaintenanceState, encode_maintenance
from pipeline.domain import object_keys
from pipeline.domain.event_file import Encoding, FileEntry
from pipeline.domain.flows.declaration import Maintenance, Retention
from pipeline.domain.ids import EventFileId, Label, ObjectKey, Phase, StreamName
from pipeline.domain.lifecycle.status import Reason
from pipeline.domain.movement import Flow, Movement, Status
from pipeline.domain.planning.maintenance import LEAST_BYTES, LEAST_FILES, is_long
from pipeline.engine.control.reruns import movement_to_rerun
from pipeline.engine.maintenance import needed, stream_compaction
from pipeline.engine.maintenance.automatic import PRUNE_EVERY, AutomaticMaintenance
from pipeline.engine.maintenance.lease import LEASE_SECONDS, leased
from pipeline.engine.maintenance.state import LOOK_EVERY, read_maintenance
from pipeline.engine.movements.lifecycle import begin_movement, end_movement
from pipeline.engine.workers.sweep import IDLE_SWEEPS
from pipeline.ports.object_store import PutCondition
from pipeline.testing.simulated.calls import Faults, Work
from tests.engine.fleet import Fleet, WorkerProcess
from tests.engine.mover_world import FLOW
from tests.engine.wider_world import WiderWorld, may_crash, numbered
from tests.loops import on_trio

T = TypeVar("T")
MANY = LEAST_FILES + LOOK_EVERY
"""After this many Movements with a change, a compaction was due at a look."""


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """The virtual time would pass while a thread works, and leases with it."""

    async def run_inline(work: Callable[..., T], *arguments: object) -> T:
        await anyio.lowlevel.checkpoint()
        return work(*arguments)

    for module in (stream_compaction, needed):
        monkeypatch.setattr(module, "run_sync", run_inline)


def changed_files(*sizes: int) -> Sequence[FileEntry]:
    """Return a history: a snapshot of 1,000 bytes, and a change of each size in a Movement of its own."""
    stream = StreamName("a")
    ids = [EventFileId(1, stream, Phase.FULL, 0)]
    ids += [EventFileId(number, stream, Phase.INCREMENTAL, 0) for number in range(2, len(sizes) + 2)]
    both = zip(ids, (1000, *sizes), strict=True)
    return [FileEntry(file, Label("a"), ObjectKey("k"), Encoding.ZSTD, size, "", 1, 0) for file, size in both]


def test_a_history_is_long_by_files_or_by_waste() -> None:
    policy = Maintenance()
    half, little = [1000 // LEAST_FILES] * LEAST_FILES, [1] * LEAST_FILES
    assert is_long(changed_files(*half), policy)
    assert not is_long(changed_files(*half[1:]), policy)
    assert not is_long(changed_files(*little), policy)
    assert is_long(changed_files(*little), replace(policy, waste_percent=1))
    assert is_long(changed_files(*little), replace(policy, event_files=LEAST_FILES))
    assert is_long(changed_files(LEAST_BYTES), policy)
    assert not is_long(changed_files(), replace(policy, event_files=1))


async def maintain(world: WiderWorld, *, alone: bool = True, faults: Faults | None = None, worker: str = "one") -> bool:
    """Maintain the Flow in a process of its own."""
    return await AutomaticMaintenance(world.context(faults), worker, alone=alone).run(FLOW)


async def moved(times: int, world: WiderWorld | None = None) -> WiderWorld:
    """Return a world after Movements with one changed row each."""
    world = world or WiderWorld({"a": numbered(*range(3)), "b": numbered(1)})
    for number in range(times):
        world.tables["a"][1] = f"changed {number} {world.clock.now()}"
        await world.move()
    return world


async def declare(world: WiderWorld, **declared: object) -> None:
    """Change the declaration of the Flow."""

    def change(flow: Flow) -> Flow:
        return replace(flow, declared=replace(flow.declared, **declared))  # type: ignore[arg-type]

    await world.flows.update_flow(FLOW, change)


async def latest(world: WiderWorld) -> Movement:
    movement = await world.flows.latest(await world.flows.read_flow(FLOW))
    assert movement is not None
    return movement


async def state(world: WiderWorld) -> MaintenanceState:
    return (await read_maintenance(world.store, FLOW))[0]


async def event_files(world: WiderWorld) -> int:
    return sum("/events/" in key for key in await world.keys())


async def ensure_whole(world: WiderWorld) -> None:
    """Check that a new destination gets all rows, and that the next Movement finds nothing to do."""
    assert (await world.move()).totals.files_exported == 0
    name = await world.add_destination(f"new {len(world.further)}")
    assert (await world.bring(name)).status is Status.SUCCESS
    assert world.further[name].tables == world.destination.tables == world.tables


@on_trio
async def test_the_store_does_not_grow_with_the_number_of_movements() -> None:
    world, files, lists = await moved(0), [], []
    for _ in range(3 * MANY):
        await moved(1, world)
        await maintain(world)
        files.append(await event_files(world))
        lists.append(sum("/groups/" in key for key in await world.keys()))
    assert max(files) <= MANY + 5
    assert max(lists) <= 2 * MANY + 5
    done = await state(world)
    assert (done.compacted > 2 * MANY, done.pruned, done.worker, done.waits) == (True, done.compacted, "", "")
    assert done.objects > MANY
    await ensure_whole(world)


@on_trio
async def test_a_flow_may_switch_it_off_and_set_when_it_is_due() -> None:
    world = await moved(MANY)
    await declare(world, maintenance=Maintenance(automatic=False))
    before = await world.keys()
    assert not await maintain(world)
    assert await world.keys() == before
    await declare(world, maintenance=Maintenance(event_files=1_000, waste_percent=100))
    assert await maintain(world)
    assert (await state(world)).compacted == 0
    await moved(LOOK_EVERY, world)
    await declare(world, maintenance=Maintenance(event_files=MANY, waste_percent=100))
    assert await maintain(world)
    assert (await state(world)).compacted == MANY + LOOK_EVERY + 1


@on_trio
async def test_without_many_changes_it_is_pruned_now_and_then() -> None:
    world = await moved(1)
    await declare(world, maintenance=Maintenance(waste_percent=100))
    await moved(PRUNE_EVERY, world)
    files = await event_files(world)
    assert await maintain(world)
    done = await state(world)
    assert (done.compacted, done.pruned) == (0, PRUNE_EVERY + 1)
    assert done.objects > PRUNE_EVERY - 10  # File Lists; some are parts of the present one
    assert await event_files(world) == files
    assert not await maintain(world)
    await ensure_whole(world)


@on_trio
async def test_a_movement_in_work_is_left_alone() -> None:
    world = await moved(MANY)
    await begin_movement(world.flows, await world.flows.read_flow(FLOW))
    before = await world.keys()
    assert not await maintain(world)
    assert await world.keys() - before == {object_keys.maintenance_key(FLOW)}
    assert (await world.move()).status is Status.SUCCESS
    assert await maintain(world)
    assert (await state(world)).compacted == MANY + 2


@on_trio
async def test_a_movement_that_may_be_run_again_is_left_as_it_is() -> None:
    world = await moved(MANY)
    world.tables["a"][2] = "changed"
    with may_crash():
        await world.move(Faults(crash_on=f"before destination.load {MANY + 1}/a/incremental/0"))
    stopped = await latest(world)
    await end_movement(world.flows, stopped, Status.CANCELLED, Reason.STOPPED)
    listed = await world.listed()
    assert await maintain(world)
    assert f"Movement {MANY + 1}" in (await state(world)).waits
    assert (await world.listed(), (await state(world)).compacted) == (listed, 0)
    assert await movement_to_rerun(world.flows, FLOW, None) == (await latest(world), await latest(world))
    await world.move()
    assert await maintain(world)  # though only one Movement has settled since
    assert ((await state(world)).compacted, (await state(world)).waits) == (MANY + 3, "")
    await ensure_whole(world)


@on_trio
async def test_it_waits_for_a_derived_flow_that_is_behind() -> None:
    world = await moved(2)
    late = await world.add_destination("late")
    await world.bring(late)
    await moved(MANY, world)
    assert await maintain(world)
    assert "'late'" in (await state(world)).waits
    assert (await state(world)).compacted == 0
    await world.bring(late)
    assert await AutomaticMaintenance(world.context(), "one", alone=True).run(late)
    done = await state(world)
    assert (done.compacted > MANY, done.pruned) == (True, 0)  # the derived Flow has the File Lists of before still
    assert "'late'" in done.waits
    before = await event_files(world)
    await world.bring(late)
    assert await AutomaticMaintenance(world.context(), "one", alone=True).run(late)
    done = await state(world)
    assert (done.pruned, done.waits) == (done.compacted, "")
    assert await event_files(world) < before - MANY
    loads = dict(world.further[late].loads)
    await moved(1, world)
    assert (await world.bring(late)).totals.files_imported == 1
    assert world.further[late].tables == world.tables
    assert {file: times for file, times in world.further[late].loads.items() if file in loads} == loads


@on_trio
async def test_what_others_may_read_is_deleted_at_a_later_look() -> None:
    world = await moved(MANY)
    assert await maintain(world, alone=False)
    assert await event_files(world) > MANY
    assert ((await state(world)).compacted, (await state(world)).pruned) == (MANY + 1, 0)
    await moved(LOOK_EVERY, world)
    assert await maintain(world, alone=False)
    assert (await state(world)).pruned == MANY + 1 + LOOK_EVERY
    assert await event_files(world) <= LOOK_EVERY + 2
    await ensure_whole(world)


async def die_and_go_on(world: WiderWorld, faults: Faults) -> None:
    """Let a process die during the maintenance; the next Movements and the next look find nothing amiss."""
    with may_crash():
        await maintain(world, faults=faults)
    await moved(LOOK_EVERY, world)
    await anyio.sleep(2 * LEASE_SECONDS)
    await maintain(world)
    assert (await state(world)).worker == ""
    assert (await state(world)).pruned > 0
    assert await event_files(world) <= MANY
    await ensure_whole(world)


@pytest.mark.slow
@on_trio
async def test_a_process_that_dies_at_any_call_hinders_nobody() -> None:
    world, probe = await moved(MANY), Faults()
    await maintain(deepcopy(world), faults=probe)
    for moment in range(0, probe.calls, 3):
        await die_and_go_on(deepcopy(world), Faults(crash_at=moment))


class Interrupted(Faults):
    """Has somebody move the Flow at one call of a process."""

    def __init__(self, world: WiderWorld, moment: int) -> None:
        super().__init__()
        self.world, self.moment = world, moment

    async def call(self, name: str, work: Work[T], halfway: Work[object] | None = None) -> T:
        if self.calls >= self.moment and "maintenance.json" not in name:  # the renewal of the lease ends with the work
            self.moment = 10**9
            await moved(1, self.world)
        return await super().call(name, work, halfway)


@pytest.mark.parametrize("moments", [range(0, 10**9, 150), pytest.param(range(0, 10**9, 5), marks=pytest.mark.slow)])
@on_trio
async def test_a_movement_that_begins_at_any_call_goes_first(moments: range) -> None:
    at_first, probe = await moved(MANY), Faults()
    await maintain(deepcopy(at_first), faults=probe)
    for moment in range(0, probe.calls, moments.step):
        world = deepcopy(at_first)
        await maintain(world, faults=Interrupted(world, moment))
        assert (await latest(world)).settled
        await ensure_whole(world)


@on_trio
async def test_a_process_that_dies_now_and_then_hinders_nobody() -> None:
    deleted = f"store.delete {object_keys.event_file_key(FLOW, EventFileId(7, StreamName('a'), Phase.INCREMENTAL, 0))}"
    for at in (f"before store.put {object_keys.movement_key(FLOW, MANY + 1)}", f"after {deleted}"):
        await die_and_go_on(await moved(MANY), Faults(crash_on=at))


@on_trio
async def test_one_process_at_a_time_is_at_it() -> None:
    world = await moved(MANY)
    async with anyio.create_task_group() as group:
        for worker in ("one", "two", "three"):
            group.start_soon(AutomaticMaintenance(world.context(), worker).run, FLOW)
    found = [await world.flows.read_movement(FLOW, number) for number in range(1, (await latest(world)).number + 1)]
    assert [(one.number, one.status) for one in found if one.compaction] == [(MANY + 1, Status.SUCCESS)]


@on_trio
async def test_a_lease_is_renewed_and_expires_with_its_holder() -> None:
    world = await moved(1)
    async with leased(world.context(), FLOW, "one") as mine:
        assert mine is not None
        await anyio.sleep(3 * LEASE_SECONDS)
        async with leased(world.context(), FLOW, "two") as other:
            assert other is None
    assert (await state(world)).worker == ""
    dead = encode_maintenance(MaintenanceState("dead", world.clock.now()))
    await world.store.put(object_keys.maintenance_key(FLOW), dead, PutCondition.NONE)
    async with leased(world.context(), FLOW, "two") as early:
        assert early is None
    await anyio.sleep(LEASE_SECONDS + 1)
    async with leased(world.context(), FLOW, "two") as taken:
        assert taken is not None
        assert (await state(world)).worker == "two"


@on_trio
async def test_who_has_lost_the_lease_stops() -> None:
    world = await moved(1)
    other = encode_maintenance(MaintenanceState("two", world.clock.now()))
    ended = False
    async with leased(world.context(), FLOW, "one") as lease:
        assert lease is not None
        await world.store.put(object_keys.maintenance_key(FLOW), other, PutCondition.NONE)
        await anyio.sleep(LEASE_SECONDS)
        ended = True
    assert not ended
    assert (await state(world)).worker == "two"


@on_trio
async def test_an_error_is_shown_with_the_flow_and_leaves_it_as_it_was() -> None:
    world = await moved(MANY)
    listed = await world.listed()
    damaged = next(entry for entry in listed if entry.id.movement == 7)
    kept = (await world.store.get(damaged.key)).data
    await world.store.put(damaged.key, b"damaged", PutCondition.NONE)
    assert not await maintain(world)
    assert damaged.key in (await state(world)).waits
    assert await world.listed() == listed
    await world.store.put(damaged.key, kept, PutCondition.NONE)
    assert await maintain(world)
    assert (await state(world)).waits == ""
    await ensure_whole(world)


@on_trio
async def test_events_log_and_reports_go_after_their_time() -> None:
    world = await moved(MANY)
    day = ObjectKey(f"flows/crm/outbox/day-{world.clock.now():%Y-%m-%d}/check.finished.ab.json")
    log = object_keys.log_key(FLOW, 3, EventFileId(3, StreamName("a"), Phase.INCREMENTAL, 0), 1)
    feedback = object_keys.feedback_key(FLOW, 3, "app")
    for key in (day, log, feedback):
        await world.store.put(key, b"{}", PutCondition.NONE)
    await declare(world, retention=Retention(reports_days=30, events_days=100))
    world.clock.moment += timedelta(days=50)
    await moved(1, world)
    assert await maintain(world)
    kept = await world.keys()
    assert {day, log} <= kept
    assert feedback not in kept
    world.clock.moment += timedelta(days=60)
    await moved(PRUNE_EVERY, world)
    assert await maintain(world)
    kept = await world.keys()
    assert not {day, log} & kept
    left = {int(key.split("/")[3]) for key in kept if key.startswith("flows/crm/outbox/")}
    assert left == set(range(MANY + 1, (await latest(world)).number + 1))
    await ensure_whole(world)


@on_trio
async def test_workers_maintain_flows_when_movements_have_settled() -> None:
    fleet = Fleet({"a": dict.fromkeys(range(3), "x")})
    roles = ("export", "import", "sweep", "maintain")
    async with fleet.workers(WorkerProcess(fleet, "one", roles), WorkerProcess(fleet, "two", roles)):
        for number in range(MANY + LOOK_EVERY):
            fleet.tables["a"][1] = f"changed {number}"
            await fleet.settled((await fleet.start()).number)
            await anyio.sleep(IDLE_SWEEPS * fleet.limits.sweep_seconds + 1)
    done, _ = await read_maintenance(fleet.store, FLOW)
    assert (done.compacted > 0, done.pruned > done.compacted) == (True, True)
    assert fleet.destination.tables == fleet.tables
