"""Running a Movement again, and reloading a stream."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from pipeline.domain.errors import AbsentError, ConfigurationError
from pipeline.domain.flows.declaration import Declaration, Windows
from pipeline.domain.ids import StreamName
from pipeline.domain.lifecycle.status import Reason, Status
from pipeline.domain.lifecycle.table import Verb
from pipeline.domain.movement import Movement
from pipeline.engine.control.approvals import next_steps
from pipeline.engine.control.reruns import Missing, create_rerun, movement_to_rerun
from pipeline.engine.movements.lifecycle import begin_movement, end_movement, next_movement, start_movement
from pipeline.engine.verify.reload import begin_reload
from tests.engine.lifecycle.slow import LOAD_SECONDS, latest, moving, slow_destination, state, wish
from tests.engine.mover_world import FLOW, World
from tests.loops import on_trio

DAY = 86_400


async def cancelled(world: World) -> Movement:
    """Move some of it, and stop."""
    async with moving(world) as run:
        await anyio.sleep(2 * LOAD_SECONDS)
        await wish(world, Verb.STOP)
    return run.result[0]


def world_of() -> World:
    made = World({"a": dict.fromkeys(range(60), "x")}, destination=slow_destination())
    made.limits = replace(made.limits, importers=2)
    return made


async def rerun(world: World, number: int | None = None) -> Movement:
    """Create a re-run."""
    return await create_rerun(world.flows, *await movement_to_rerun(world.flows, FLOW, number))


@on_trio
async def test_a_rerun_does_only_what_is_missing_and_names_the_original() -> None:
    world = world_of()
    first = await cancelled(world)
    assert first.status is Status.CANCELLED
    imported = len(world.destination.loads)
    created = await rerun(world)
    assert (created.number, created.original, created.status) == (2, 1, Status.READY)
    moved = await world.move()
    assert (moved.number, moved.original, moved.status) == (2, 1, Status.SUCCESS)
    assert moved.totals.files_skipped == imported
    assert set(world.destination.loads.values()) == {1}
    assert world.destination.tables == world.tables


@on_trio
async def test_the_original_stays_the_same_however_often_it_is_run_again() -> None:
    world = world_of()
    await cancelled(world)
    for number in (2, 3, 4):
        created = await rerun(world)
        assert (created.number, created.original) == (number, 1)
        await end_movement(world.flows, created, Status.TIMED_OUT, Reason.NO_PROGRESS)
    assert (await rerun(world, 2)).original == 1


@on_trio
async def test_a_rerun_keeps_the_choices_of_the_original() -> None:
    world = World({"a": {1: "x"}, "b": {1: "x"}})
    flow = await world.flows.connect(FLOW, "memory:source", "memory:destination")
    started = await start_movement(world.flows, flow, replace(world.choices, only=("a",), allow_deletes=("a",)))
    await end_movement(world.flows, started, Status.FAILED, Reason.NOTHING_IMPORTED)
    created = await rerun(world)
    assert (created.only, created.allow_deletes) == (("a",), ("a",))


@on_trio
async def test_a_rerun_on_the_thirteenth_day_is_refused_and_what_to_do_is_said() -> None:
    world = world_of()
    await cancelled(world)
    await anyio.sleep(11.9 * DAY)
    assert (await movement_to_rerun(world.flows, FLOW, None))[0].number == 1
    second = await rerun(world)
    await end_movement(world.flows, second, Status.TIMED_OUT, Reason.NO_PROGRESS)
    await anyio.sleep(0.2 * DAY)
    for number in (None, 1, 2):
        with pytest.raises(ConfigurationError, match=r"Movement 1 .* more than 12 days ago.*`pipeline start crm`"):
            await movement_to_rerun(world.flows, FLOW, number)
    now = await world.flows.store_clock.now(FLOW)
    steps = await next_steps(world.flows, await world.flows.read_flow(FLOW), await latest(world), now)
    assert steps.again == "`pipeline start crm`"
    assert "rerun" not in (await state(world)).sentence + str(steps.refusal(Verb.PAUSE))
    assert (await world.move()).number == 3
    assert world.destination.tables == world.tables


@on_trio
async def test_a_flow_can_opt_out_at_any_time_and_a_window_is_for_movements_that_begin_after_it() -> None:
    world = world_of()

    async def declare(windows: Windows) -> None:
        await world.flows.update_flow(FLOW, lambda now: replace(now, declared=Declaration(windows=windows)))

    await cancelled(world)
    await declare(Windows(rerun_days=1))
    await anyio.sleep(1.5 * DAY)
    await movement_to_rerun(world.flows, FLOW, None)
    await declare(Windows(reruns=False))
    with pytest.raises(ConfigurationError, match="reruns = false"):
        await movement_to_rerun(world.flows, FLOW, None)
    await declare(Windows(rerun_days=1))
    await end_movement(
        world.flows,
        await start_movement(world.flows, await world.flows.read_flow(FLOW)),
        Status.TIMED_OUT,
        Reason.NO_PROGRESS,
    )
    await anyio.sleep(1.1 * DAY)
    with pytest.raises(ConfigurationError, match="more than a day ago"):
        await movement_to_rerun(world.flows, FLOW, None)


@on_trio
async def test_a_rerun_is_refused_where_another_verb_is_meant() -> None:
    world = World({"a": {1: "x"}})
    await world.flows.connect(FLOW, "memory:source", "memory:destination")
    with pytest.raises(ConfigurationError, match="has no Movement yet"):
        await movement_to_rerun(world.flows, FLOW, None)
    await world.move()
    with pytest.raises(ConfigurationError, match=r"is SUCCESS.*`pipeline start crm`.*`pipeline reload crm STREAM`"):
        await movement_to_rerun(world.flows, FLOW, None)
    with pytest.raises(AbsentError, match="has no Movement 7; its latest is 1"):
        await movement_to_rerun(world.flows, FLOW, 7)
    second, _ = await begin_movement(world.flows, await world.flows.read_flow(FLOW))
    with pytest.raises(ConfigurationError, match=r"Movement 2 .* is IN_PROGRESS.*`pipeline stop crm`"):
        await movement_to_rerun(world.flows, FLOW, 2)
    await end_movement(world.flows, second, Status.FAILED, Reason.NOTHING_IMPORTED)
    await world.move()
    with pytest.raises(ConfigurationError, match=r"Movement 3 .* is SUCCESS: it has moved what Movement 2 left"):
        await movement_to_rerun(world.flows, FLOW, 2)


@on_trio
async def test_a_compaction_since_then_does_not_stand_in_the_way_of_a_rerun() -> None:
    world = world_of()
    first = await cancelled(world)
    compaction = replace(
        next_movement(world.flows, await world.flows.read_flow(FLOW), first), attempts=1, compaction=True
    )
    await world.flows.create(compaction, first)
    await end_movement(world.flows, compaction, Status.SUCCESS, Reason.COMPACTED)
    assert (await rerun(world, 1)).original == 1
    assert (await world.move()).status is Status.SUCCESS
    assert world.destination.tables == world.tables


@on_trio
async def test_what_is_missing_is_said_in_numbers() -> None:
    assert str(Missing(40, 31)) == "31 of 40 Event Files are imported, 9 to do"
    assert str(Missing(40, 40, exported=False)).endswith(
        "0 to do; its export had not ended, so that more are to follow"
    )
    assert "40 Event Files are listed; the destination did not say" in str(Missing(40, None))
    world = world_of()
    movement = await cancelled(world)
    lists = [await world.flows.read_file_list(key) for key in movement.file_lists.values()]
    flow = await world.flows.read_flow(FLOW)
    async with world.destination.open(flow.marks_namespace) as session:
        missing = Missing.of(lists, await session.marks(), exported=True)
    assert missing == Missing(sum(map(len, lists)), len(world.destination.loads))
    assert 0 < len(world.destination.loads) < missing.listed


@on_trio
async def test_a_reload_moves_all_of_a_stream_again_and_nothing_else() -> None:
    world = World({"a": {1: "x", 2: "x", 3: "x"}, "b": {1: "x"}})
    await world.move()
    world.destination.tables["a"] = {1: "changed by hand", 9: "own"}
    del world.tables["a"][3]
    world.destination.tables["b"] = {}
    await begin_reload(world.store, world.flows, world.clock, FLOW, StreamName("a"))
    world.only = ("a",)
    moved = await world.move()
    assert (moved.number, moved.status, moved.totals.upserts, moved.totals.deletes) == (2, Status.SUCCESS, 2, 1)
    assert world.destination.tables == {"a": {1: "x", 2: "x", 9: "own"}, "b": {}}
    world.only = ()
    assert (await world.move()).totals.files_exported == 0


@on_trio
async def test_a_reload_of_no_stream_names_those_there_are() -> None:
    world = World({"a": {1: "x"}})
    await world.move()
    with pytest.raises(ConfigurationError, match=r"has moved no stream 'cars'. It has moved 'a'"):
        await begin_reload(world.store, world.flows, world.clock, FLOW, StreamName("cars"))
    await begin_movement(world.flows, await world.flows.read_flow(FLOW))
    with pytest.raises(ConfigurationError, match=r"is IN_PROGRESS: it cannot be given a stream to reload"):
        await begin_reload(world.store, world.flows, world.clock, FLOW, StreamName("a"))
