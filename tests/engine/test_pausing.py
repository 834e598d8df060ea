"""The events of pauses and stops: of the Movement and of its groups, each once, with the time when it happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import anyio

from pipeline.codec.documents.flow import decode_movement, encode_movement
from pipeline.domain.ids import Label
from pipeline.domain.lifecycle.status import Status
from pipeline.domain.lifecycle.table import Verb
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.outbox.event import EventType, OutboxEvent
from pipeline.engine.control import verbs
from pipeline.engine.control.pausing import note_paused
from pipeline.engine.control.verbs import resume_expired
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.lifecycle import start_movement
from pipeline.testing.simulated.calling import CallingStore
from pipeline.testing.simulated.calls import CrashError, Faults
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.engine.fleet import LIMITS, Fleet, WorkerProcess, numbered
from tests.engine.lifecycle.slow import LOAD_SECONDS, latest, moving, slow_destination, state, wish
from tests.engine.lifecycle.test_workers import Frozen
from tests.engine.mover_world import FLOW, World
from tests.engine.test_outbox import events_of
from tests.loops import on_trio

GROUPS = (EventType.GROUP_PAUSED, EventType.GROUP_RESUMED, EventType.GROUP_STOPPED)


async def told_of(world: World, *types: EventType) -> Sequence[OutboxEvent]:
    """The events of these types, in the order of their times."""
    found = [event for event in await events_of(world.store) if event.type in types]
    return sorted(found, key=lambda event: (event.time, types.index(event.type), event.subject))


async def begun(tables: tuple[str, ...] = ("a", "b")) -> World:
    """A Movement after a first one, so that its groups are known. No worker has taken it up."""
    world = World({name: {1: "x"} for name in tables})
    await world.move()
    await start_movement(world.flows, await world.flows.read_flow(FLOW))
    return world


@on_trio
async def test_what_is_wished_of_a_group_is_told_with_who_why_and_until_when() -> None:
    world = await begun()
    until = await world.flows.store_clock.now(FLOW) + timedelta(hours=1)
    await wish(world, Verb.PAUSE, "b", until=until, why="busy app")
    await anyio.sleep(10)
    await wish(world, Verb.RESUME, "b")
    await anyio.sleep(10)
    await wish(world, Verb.PAUSE, "a", "b")
    await anyio.sleep(10)
    await wish(world, Verb.RESUME)
    await anyio.sleep(10)
    await wish(world, Verb.STOP, "a", why="wrong group")
    await wish(world, Verb.STOP, "a")
    events = await told_of(world, *GROUPS)
    assert [(event.type.value, event.data["label"]) for event in events] == [
        ("group.paused", "b"),
        ("group.resumed", "b"),
        ("group.paused", "a"),
        ("group.paused", "b"),
        ("group.resumed", "a"),
        ("group.resumed", "b"),
        ("group.stopped", "a"),
    ]
    assert {event.movement for event in events} == {2}
    first, last = events[0], events[-1]
    assert first.data == {"label": "b", "who": "ann@ops", "until": until.isoformat()}
    assert (first.reasons, last.reasons) == (("busy app",), ("wrong group",))
    assert first.subject.startswith("b 20")


@on_trio
async def test_a_pause_of_some_hours_is_as_long_by_the_clock_of_the_store() -> None:
    world = await begun()
    paused = (await wish(world, Verb.PAUSE, until=timedelta(hours=8))).wish
    assert paused.when is not None
    assert paused.until == paused.when + timedelta(hours=8)


@on_trio
async def test_the_pause_of_a_group_that_ends_by_itself_is_told() -> None:
    world = await begun()
    await wish(world, Verb.PAUSE, "b", until=await world.flows.store_clock.now(FLOW) + timedelta(minutes=1))
    await anyio.sleep(61)
    await resume_expired(world.flows, await latest(world))
    assert [event.type for event in await told_of(world, *GROUPS)] == [EventType.GROUP_PAUSED, EventType.GROUP_RESUMED]


@on_trio
async def test_a_second_pause_keeps_reason_and_beginning_and_is_told() -> None:
    world = await begun()
    first = (await wish(world, Verb.PAUSE, why="busy app")).wish
    await anyio.sleep(60)
    until = await world.flows.store_clock.now(FLOW) + timedelta(hours=1)
    changed = await wish(world, Verb.PAUSE, until=until)
    second = changed.wish
    assert (second.when, second.why, second.until) == (first.when, "busy app", until)
    assert second.changed is not None
    assert "busy app" in (await state(world)).sentence
    assert f"since {first.when:%Y-%m-%d %H:%M:%S} UTC" in (await state(world)).sentence
    assert len(await told_of(world, EventType.MOVEMENT_PAUSING)) == 2
    assert (await wish(world, Verb.PAUSE)).wish == second  # it says nothing new
    assert decode_movement(encode_movement(changed), "movement.json").wish == second


@on_trio
async def test_a_move_that_pauses_says_so_when_nothing_is_in_hand_any_more() -> None:
    world = World({"a": dict.fromkeys(range(60), "x")}, destination=slow_destination())
    async with moving(world):
        await anyio.sleep(2.5 * LOAD_SECONDS)
        await wish(world, Verb.PAUSE)
        assert await told_of(world, EventType.MOVEMENT_PAUSED) == []
        await anyio.sleep(5 * LOAD_SECONDS)
        assert (await state(world)).status is Status.PAUSED
        (pausing,) = await told_of(world, EventType.MOVEMENT_PAUSING)
        (paused,) = await told_of(world, EventType.MOVEMENT_PAUSED)
        await wish(world, Verb.RESUME)
    assert timedelta(0) < paused.time - pausing.time <= timedelta(seconds=2 * LOAD_SECONDS)
    assert paused.subject == pausing.subject


@on_trio
async def test_workers_that_pause_say_so_after_what_they_had_in_hand() -> None:
    fleet = Fleet(numbered(60), destination=slow_destination(), limits=replace(LIMITS, importers=1))
    async with fleet.workers(WorkerProcess(fleet, "one"), WorkerProcess(fleet, "two")):
        await fleet.start()
        await anyio.sleep(3.5 * LOAD_SECONDS)
        await wish(fleet, Verb.PAUSE)
        await anyio.sleep(60)
        (pausing,) = await told_of(fleet, EventType.MOVEMENT_PAUSING)
        (paused,) = await told_of(fleet, EventType.MOVEMENT_PAUSED)
        signs = await fleet.flows.read_signs(FLOW, 1)
    assert len(fleet.destination.loads) > 0
    assert paused.time == max(sign.progress.updated for sign in signs) > pausing.time


@on_trio
async def test_a_pause_is_told_of_once_a_dead_worker_counts_as_gone() -> None:
    fleet = Fleet(numbered(4))
    movement = await fleet.start()
    await Frozen(fleet).claim(movement)
    paused = await wish(fleet, Verb.PAUSE)
    signs = await fleet.flows.read_signs(FLOW, 1)
    assert not await note_paused(fleet.flows, paused, signs, fleet.limits)
    async with fleet.workers(WorkerProcess(fleet, "one", roles=("sweep",))):
        await anyio.sleep(60)
    (event,) = await told_of(fleet, EventType.MOVEMENT_PAUSED)
    assert event.time > paused.updated
    assert (await state(fleet)).status is Status.PAUSED


@on_trio
async def test_a_movement_that_is_to_run_is_not_told_of_as_paused() -> None:
    world = World({"a": {1: "x"}}, store=MemoryObjectStore())
    await world.move()
    movement = await latest(world)
    assert movement.wish.want is Want.RUN
    assert not await note_paused(world.flows, movement, (), world.limits)
    assert await told_of(world, EventType.MOVEMENT_PAUSED) == []


STEPS: Sequence[tuple[Verb, tuple[str, ...]]] = (
    (Verb.PAUSE, ()),
    (Verb.RESUME, ()),
    (Verb.PAUSE, ("a", "b")),
    (Verb.RESUME, ("a",)),
    (Verb.RESUME, ("b",)),
    (Verb.STOP, ("b",)),
    (Verb.RESUME, ()),  # after the destination has refused everything
    (Verb.STOP, ()),
)


async def act(flows: FlowStore, step: int) -> None:
    """Wish what a step says."""
    verb, groups = STEPS[step]
    await verbs.wish(flows, FLOW, verb, groups=[Label(group) for group in groups], who="ann@ops")


async def acted(step: int | None, moment: str | None) -> tuple[Counter[str], list[str]]:
    """Wish all steps, one after the other. The process of one step dies at a moment, and another repeats it.

    Return how many events of each type are stored afterwards, and the moments of that step.
    """
    world = Fleet({"a": {1: "x"}, "b": {1: "x"}})
    await world.move()
    await world.start_unannounced()
    faults = Faults(crash_on=moment)
    for number in range(len(STEPS)):
        if number == len(STEPS) - 2:
            await world.flows.update(FLOW, 2, lambda now: replace(now, refused="full", refused_since=now.updated))
        if number == step:
            with suppress(CrashError):
                await act(FlowStore(CallingStore(world.store, faults), world.clock), number)
        if number != step or moment is not None:
            await act(world.flows, number)
        await anyio.sleep(10)
    async with world.workers(WorkerProcess(world, "one", roles=("sweep", "import"))):
        await world.settled(2)
    return Counter(event.type.value for event in await events_of(world.store) if event.movement == 2), faults.trace


@on_trio
async def test_a_process_that_dies_in_any_verb_loses_no_event_and_doubles_none() -> None:
    expected, _ = await acted(None, None)
    assert (expected["movement.resumed"], expected["group.resumed"], expected["destination.refuses"]) == (2, 2, 1)
    for step in range(len(STEPS)):
        _, trace = await acted(step, None)
        moments = [moment for moment in trace if "/movement.json" in moment or "/outbox/" in moment]
        assert len(moments) >= 4
        for moment in moments:
            told, _ = await acted(step, moment)
            assert told == expected, (STEPS[step], moment)
