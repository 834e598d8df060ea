"""`pipeline move` obeys pause, resume and stop from another process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import anyio
import pytest

from pipeline.codec.documents.progress import Progress
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import FlowName, Label
from pipeline.domain.lifecycle.status import Reason, Status
from pipeline.domain.lifecycle.table import Verb
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.outbox.event import EventType
from pipeline.domain.planning.next_steps import NextSteps
from pipeline.domain.progress.shown import ShownProgress
from pipeline.engine.control import verbs
from pipeline.engine.control.state import movement_state, without_the_gone
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.derived_flows import add_destination
from pipeline.engine.movements.lifecycle import UnwantedError, begin_movement
from pipeline.engine.movers.derived_mover import DerivedMover
from pipeline.ports.reporter import MovementBegun, MovementPaused, ProgressStored
from pipeline.testing.simulated.calls import CrashError, Faults
from tests.engine.lifecycle.slow import LOAD_SECONDS, cancel, latest, moving, progress, slow_destination, state, wish
from tests.engine.mover_world import FLOW, World
from tests.engine.test_outbox import events_of
from tests.fakes.rows import Tables
from tests.loops import on_trio


def world_of(tables: Tables | None = None) -> World:
    made = World(tables or {"a": dict.fromkeys(range(60), "x")}, destination=slow_destination())
    made.limits = replace(made.limits, importers=2)
    return made


@on_trio
async def test_a_move_that_is_paused_ends_what_is_in_hand_and_goes_on_when_it_is_resumed() -> None:
    world = world_of()
    async with moving(world) as run:
        await anyio.sleep(2 * LOAD_SECONDS)
        await wish(world, Verb.PAUSE, why="night")
        assert (await state(world)).reason is Reason.PAUSING
        await anyio.sleep(2 * LOAD_SECONDS)
        paused = len(world.destination.loads)
        assert 0 < paused < 15
        assert ((await state(world)).status, (await latest(world)).status) == (Status.PAUSED, Status.PAUSED)
        await anyio.sleep(3600)
        assert (len(world.destination.loads), run.result) == (paused, [])
        await wish(world, Verb.RESUME)
    (movement,) = run.result
    assert (movement.status, movement.number, movement.attempts) == (Status.SUCCESS, 1, 2)
    assert world.destination.tables == world.tables
    assert set(world.destination.loads.values()) == {1}


@on_trio
async def test_a_pause_with_an_end_goes_on_by_itself() -> None:
    world = world_of()
    async with moving(world) as run:
        await anyio.sleep(LOAD_SECONDS)
        now = await world.flows.store_clock.now(FLOW)
        await wish(world, Verb.PAUSE, until=now + timedelta(minutes=30))
        await anyio.sleep(25 * 60)
        assert run.result == []
        await anyio.sleep(5 * 60 + 30 * LOAD_SECONDS)
        assert [movement.status for movement in run.result] == [Status.SUCCESS]
    assert (await latest(world)).wish.want is Want.RUN


@on_trio
async def test_a_move_that_is_stopped_ends_what_is_in_hand_and_is_cancelled() -> None:
    world = world_of()
    async with moving(world) as run:
        await anyio.sleep(2 * LOAD_SECONDS)
        await wish(world, Verb.STOP, why="wrong source")
        assert (await cancel(world)).status is Status.CANCELLATION_REQUESTED
    (movement,) = run.result
    assert (movement.status, movement.because) == (Status.CANCELLED, Reason.STOPPED)
    assert movement.wish.why == "wrong source"
    imported = len(world.destination.loads)
    assert 0 < imported < 15
    assert 0 < len(world.destination.tables["a"]) < 60
    assert (await world.move()).number == 2
    assert world.destination.tables == world.tables
    assert set(world.destination.loads.values()) == {1}


@on_trio
async def test_a_paused_movement_that_is_stopped_is_cancelled_at_once() -> None:
    world = world_of()
    async with moving(world) as run:
        await anyio.sleep(LOAD_SECONDS)
        await wish(world, Verb.PAUSE)
        await anyio.sleep(3 * LOAD_SECONDS)
        await wish(world, Verb.STOP)
        assert (await cancel(world, fenced=False)).status is Status.CANCELLED
    assert [movement.status for movement in run.result] == [Status.CANCELLED]


@on_trio
async def test_a_group_that_was_paused_before_the_import_is_not_imported_until_it_is_resumed() -> None:
    world = world_of({"a": {1: "x"}, "b": {1: "x"}})
    await world.move()
    world.tables["a"][2] = world.tables["b"][2] = "y"
    flow = await world.flows.read_flow(FLOW)
    await begin_movement(world.flows, flow)
    await wish(world, Verb.PAUSE, "b")
    async with moving(world) as run:
        await anyio.sleep(1200)
        assert (world.destination.tables["a"], run.result) == ({1: "x", 2: "y"}, [])
        assert world.destination.tables["b"] == {1: "x"}
        assert (await state(world)).reason is Reason.GROUPS_PAUSED
        await wish(world, Verb.RESUME)
    assert run.result[0].status is Status.SUCCESS
    assert world.destination.tables == world.tables


@on_trio
async def test_the_pause_of_a_group_ends_by_itself() -> None:
    world = world_of({"a": {1: "x"}, "b": {1: "x"}})
    await begin_movement(world.flows, await world.flows.connect(FLOW, "memory:source", "memory:destination"))
    await world.flows.update(FLOW, 1, lambda now: replace(now, groups=(Label("a"), Label("b"))))
    await wish(world, Verb.PAUSE, "b", until=await world.flows.store_clock.now(FLOW) + timedelta(minutes=10))
    async with moving(world) as run:
        await anyio.sleep(600 - 60)
        assert (world.destination.tables.get("b", {}), run.result) == ({}, [])
        await anyio.sleep(600)
        assert [movement.status for movement in run.result] == [Status.SUCCESS]
    assert world.destination.tables == world.tables
    assert (await latest(world)).group_wishes == {}


@on_trio
async def test_a_movement_with_a_stopped_group_ends_incomplete_and_names_it() -> None:
    world = world_of({"a": {1: "x"}, "b": {1: "x"}})
    await world.move()
    world.tables["a"][2] = world.tables["b"][2] = "y"
    await begin_movement(world.flows, await world.flows.read_flow(FLOW))
    await wish(world, Verb.STOP, "b", why="not today")
    movement = await world.move()
    assert (movement.status, movement.because) == (Status.INCOMPLETE, Reason.GROUPS_STOPPED)
    assert any("Group b was stopped, by ann@ops" in problem for problem in movement.problems)
    assert world.destination.tables == {"a": {1: "x", 2: "y"}, "b": {1: "x"}}
    assert (await world.move()).status is Status.SUCCESS
    assert world.destination.tables == world.tables


@on_trio
async def test_a_move_of_a_paused_movement_is_refused_with_the_way_out() -> None:
    world = world_of()
    flow = await world.flows.connect(FLOW, "memory:source", "memory:destination")
    await begin_movement(world.flows, flow)
    await wish(world, Verb.PAUSE, why="night")
    with pytest.raises(UnwantedError, match=r"is PAUSED, by ann@ops.*because: night.*`pipeline resume crm`"):
        await world.move()
    assert world.destination.loads == {}


@on_trio
async def test_a_move_of_a_movement_that_was_to_stop_cancels_it_and_begins_the_next() -> None:
    world = world_of({"a": {1: "x"}})
    flow = await world.flows.connect(FLOW, "memory:source", "memory:destination")
    await begin_movement(world.flows, flow)
    await wish(world, Verb.STOP)
    movement = await world.move()
    assert (movement.number, movement.status) == (2, Status.SUCCESS)
    assert (await world.flows.read_movement(FLOW, 1)).status is Status.CANCELLED


@on_trio
async def test_a_derived_flow_obeys_as_well() -> None:
    world = world_of()
    await world.move()
    copy = replace(slow_destination(), location="memory:backup")
    flow = await add_destination(world.flows, world.clock, FLOW, FlowName("backup"), copy.location)
    context = EngineContext(world.store, world.queue, world.clock, world.reporter, world.flows, world.limits)
    done: list[Status] = []

    async def work() -> None:
        done.append((await DerivedMover(context, flow.name, copy, "worker").run()).status)

    world.reporter.events.clear()
    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await anyio.sleep(2 * LOAD_SECONDS)
        await _wish_of(world, flow.name, Verb.PAUSE)
        await anyio.sleep(3 * LOAD_SECONDS)
        paused = len(copy.loads)
        await anyio.sleep(600)
        assert 0 < len(copy.loads) == paused < 15
        reached = shown(world)[-1].percent
        assert reached == 100 * paused // len(world.destination.loads)
        await _wish_of(world, flow.name, Verb.RESUME)
    assert (done, copy.tables) == ([Status.SUCCESS], world.tables)
    assert [event.percent for event in world.reporter.events if isinstance(event, MovementBegun)] == [0, reached]
    percents = [one.percent for one in shown(world)]
    assert percents == sorted(percents)


async def _wish_of(world: World, flow: FlowName, verb: Verb) -> None:
    await verbs.wish(world.flows, flow, verb)


@on_trio
async def test_verbs_are_checked_before_anything_is_stored() -> None:
    world = world_of({"a": {1: "x"}})
    await world.flows.connect(FLOW, "memory:source", "memory:destination")
    with pytest.raises(ConfigurationError, match=r"has no Movement yet: there is nothing to pause"):
        await wish(world, Verb.PAUSE)
    await world.move()
    before = await latest(world)
    for verb in (Verb.PAUSE, Verb.RESUME, Verb.STOP):
        with pytest.raises(ConfigurationError, match=r"is SUCCESS, which is final.*`pipeline start crm`"):
            await wish(world, verb)
    await begin_movement(world.flows, await world.flows.read_flow(FLOW))
    with pytest.raises(ConfigurationError, match=r"has no group 'nowhere'. It has 'a'"):
        await wish(world, Verb.PAUSE, "nowhere")
    with pytest.raises(ConfigurationError, match=r"2020-01-01 00:00:00 UTC has passed"):
        await wish(world, Verb.PAUSE, until=before.created.replace(year=2020, month=1, day=1, hour=0))
    assert (await latest(world)).wish.want is Want.RUN
    assert (await world.flows.read_movement(FLOW, 1)) == before


@on_trio
async def test_repeating_a_verb_changes_nothing_but_the_end_of_a_pause() -> None:
    world = world_of()
    await begin_movement(world.flows, await world.flows.connect(FLOW, "memory:source", "memory:destination"))
    first = await wish(world, Verb.PAUSE, why="night")
    assert await wish(world, Verb.PAUSE) == first
    now = await world.flows.store_clock.now(FLOW)
    until = now + timedelta(hours=1)
    assert (await wish(world, Verb.PAUSE, until=until)).wish.until == until
    assert (await wish(world, Verb.RESUME)).wish.want is Want.RUN
    assert (await wish(world, Verb.RESUME)).wish.want is Want.RUN
    stopped = await wish(world, Verb.STOP, why="first")
    assert (await wish(world, Verb.STOP, why="second")).wish == stopped.wish
    with pytest.raises(
        ConfigurationError, match=r"is CANCELLATION_REQUESTED: it cannot be resumed.*`pipeline stop crm`"
    ):
        await wish(world, Verb.RESUME)
    assert Label("a") not in stopped.group_wishes


@on_trio
async def test_every_wish_is_an_event() -> None:
    world = world_of()
    async with moving(world):
        await anyio.sleep(LOAD_SECONDS)
        await wish(world, Verb.PAUSE, why="night")
        await anyio.sleep(3 * LOAD_SECONDS)
        await wish(world, Verb.RESUME)
        await anyio.sleep(LOAD_SECONDS)
        await wish(world, Verb.PAUSE)
        await wish(world, Verb.STOP)
    types = Counter(event.type for event in await events_of(world.store))
    assert types[EventType.MOVEMENT_PAUSING] == 2
    assert types[EventType.MOVEMENT_RESUMED] == types[EventType.CANCELLATION_REQUESTED] == 1
    assert types[EventType.MOVEMENT_SETTLED] == types[EventType.MOVEMENT_STARTED] == 1


def shown(world: World) -> list[ShownProgress]:
    """Return how far the Movement was shown to be, one after the other."""
    return [event.shown for event in world.reporter.events if isinstance(event, ProgressStored)]


@on_trio
async def test_while_all_that_is_left_is_paused_the_percent_stands_and_the_group_is_named() -> None:
    world = world_of({"a": dict.fromkeys(range(12), "x"), "b": dict.fromkeys(range(12), "x")})
    await begin_movement(world.flows, await world.flows.connect(FLOW, "memory:source", "memory:destination"))
    await world.flows.update(FLOW, 1, lambda now: replace(now, groups=(Label("a"), Label("b"))))
    await wish(world, Verb.PAUSE, "b", why="later")
    async with moving(world):
        await anyio.sleep(10 * LOAD_SECONDS)
        paused = len(shown(world))
        await anyio.sleep(600)
        held = shown(world)[paused:]
        assert len(held) > 150
        assert {one.percent for one in held} == {held[0].percent}
        assert 0 < held[0].percent < 100
        assert {(one.left, one.stalled_seconds, one.paused_groups) for one in held} == {(None, 0.0, (Label("b"),))}
        assert await progress(world) == held[0]
        await wish(world, Verb.RESUME, "b")
        await anyio.sleep(2)
        resumed = len(shown(world))
    after = shown(world)[resumed:]
    assert after
    assert not any(one.paused for one in after)
    percents = [one.percent for one in shown(world)]
    assert percents == sorted(percents)
    assert max(percents) > held[0].percent  # the time in which it was paused is no part of the whole time


@on_trio
async def test_a_paused_movement_keeps_its_percent_and_goes_on_from_there() -> None:
    world = world_of({"a": dict.fromkeys(range(240), "x")})
    async with moving(world):
        await anyio.sleep(5 * LOAD_SECONDS)
        await wish(world, Verb.PAUSE)
        await anyio.sleep(3600)
        reached = shown(world)[-1].percent
        assert reached > 0
        assert isinstance(world.reporter.events[-1], MovementPaused)
        assert await progress(world) == ShownProgress(reached, paused=True)
        await wish(world, Verb.RESUME)
    begun = [event.percent for event in world.reporter.events if isinstance(event, MovementBegun)]
    assert begun == [0, reached]
    percents = [one.percent for one in shown(world)]
    assert percents == sorted(percents)


@on_trio
async def test_what_an_earlier_movement_left_to_import_is_part_of_the_time() -> None:
    world = world_of({"a": dict.fromkeys(range(240), "x")})
    async with moving(world):
        await anyio.sleep(LOAD_SECONDS)
        await wish(world, Verb.STOP)
    told = len(shown(world))
    movement = await world.move()
    assert (movement.number, movement.totals.files_exported, movement.status) == (2, 0, Status.SUCCESS)
    later = shown(world)[told:]
    half = later[len(later) // 2]
    assert 40 <= half.percent <= 60
    assert half.left is not None
    assert 15 <= half.left.likely <= 35  # 40 files take a minute, two at a time


@on_trio
async def test_a_process_that_carries_on_begins_at_the_percent_that_the_killed_one_has_shown() -> None:
    world, killed = world_of({"a": dict.fromkeys(range(240), "x")}), Faults()
    async with anyio.create_task_group() as group:
        group.start_soon(_move_until_killed, world, killed)
        await anyio.sleep(12 * LOAD_SECONDS)
        before = await progress(world)
        killed.dead = True
    reached = shown(world)[-1].percent
    assert before is not None
    assert 30 < before.percent <= reached
    await anyio.sleep(600)
    gone = await progress(world)
    assert gone == ShownProgress(reached)  # the time that it had left is nobody's
    told = len(shown(world))
    async with anyio.create_task_group() as group:
        group.start_soon(replace(world, worker="again").move)
        await anyio.sleep(2 * LOAD_SECONDS)
        assert await progress(world) == shown(world)[-1]
        workers = {one.worker: one for one in await _workers(world)}
        assert (workers["worker"].percent, workers["worker"].left) == (0, None)
        assert workers["again"].percent == shown(world)[-1].percent
    assert len(shown(world)) > told
    percents = [one.percent for one in shown(world)]
    assert percents == sorted(percents)
    assert [event.percent for event in world.reporter.events if isinstance(event, MovementBegun)] == [0, reached]
    assert await progress(world) is None  # it has settled


@on_trio
async def test_a_move_that_is_interrupted_is_named_at_once_until_another_carries_on() -> None:
    world = world_of()
    async with anyio.create_task_group() as group:
        group.start_soon(world.move)
        await anyio.sleep(2 * LOAD_SECONDS)
        assert (await state(world)).reason is Reason.WORKING
        group.cancel_scope.cancel()
    shown = await state(world)
    assert shown.reason is Reason.NOBODY_WORKS
    assert f"Process {(await _workers(world))[0].worker} has stopped." in shown.sentence
    (sign,) = await world.flows.read_signs(FLOW, 1)
    steps = NextSteps(await latest(world), sign.stored)
    sign.progress.percent = 0  # it has stopped before it came further
    assert movement_state(steps, [sign], world.limits).reason is Reason.NOBODY_WORKS
    sign.progress.alone = False  # others may be at work, between two Event Files
    assert movement_state(steps, [sign], world.limits).reason is Reason.WORKING
    async with moving(world) as run:
        await anyio.sleep(LOAD_SECONDS / 2)
        assert (await state(world)).reason is Reason.WORKING
    assert run.result[0].status is Status.SUCCESS


async def _move_until_killed(world: World, faults: Faults) -> None:
    with pytest.raises(CrashError), unwrap_exception_group():
        await world.move(faults)


async def _workers(world: World) -> Sequence[Progress]:
    signs = await world.flows.read_signs(FLOW, 1)
    return without_the_gone(signs, world.limits, await world.flows.store_clock.now(FLOW))
