"""The process dies at every call of a port, before and after; the next one resumes: nothing is lost or imported twice."""

from __future__ import annotations

import contextlib
from copy import deepcopy

import pytest

from pipeline.codec.documents.message import GroupCompleted, encode_message
from pipeline.domain.errors import AbsentError
from pipeline.domain.movement import Status
from pipeline.engine.movements.context import Limits
from pipeline.ports.reporter import BytesMoved
from pipeline.testing.simulated.calls import CrashError, Faults
from tests.engine.mover_world import FLOW, World
from tests.fakes.rows import Tables
from tests.loops import on_trio

pytestmark = pytest.mark.slow


def first_state() -> Tables:
    return {"a": {number: f"a{number}" for number in range(9)}, "b": {1: "one"}, "c": {}}


def second_state() -> Tables:
    return {
        "a": {number: f"a{number}" for number in (0, 1, 3, 4, 5, 20)} | {7: "changed"},
        "b": {1: "one"},
        "d": {2: "x"},
    }


async def before_a_run(movements: int) -> World:
    """Return a world right before its first or second Movement."""
    world = World(first_state())
    if movements == 2:
        await world.move()
        world.tables = second_state()
    return world


async def calls_of_a_run(world: World) -> int:
    faults = Faults()
    await deepcopy(world).move(faults)
    return faults.calls


async def crash_and_resume(world: World, crash_at: int, *, change: bool) -> None:
    faults = Faults(crash_at)
    try:
        await world.move(faults)
    except CrashError:
        if change:
            world.tables = second_state() if world.tables == first_state() else first_state()
    await resume(world)


async def resume(world: World) -> None:
    """Move once without faults; that must be enough."""
    before = await unsettled(world)
    movement = await world.move()
    assert movement.status is Status.SUCCESS, movement.problems
    assert before is None or movement.number == before
    expected = {name: rows for name, rows in world.tables.items() if rows}
    assert {name: rows for name, rows in world.destination.tables.items() if rows} == expected
    assert set(world.destination.loads.values()) == {1}


@pytest.mark.parametrize("movements", [1, 2])
@pytest.mark.parametrize("change", [False, True], ids=["same source", "source changed meanwhile"])
@on_trio
async def test_killed_at_any_call_the_next_run_resumes(movements: int, change: bool) -> None:
    world = await before_a_run(movements)
    calls = await calls_of_a_run(world)
    assert calls > 40
    for crash_at in range(calls):
        await crash_and_resume(deepcopy(world), crash_at, change=change)


@on_trio
async def test_killed_twice_in_a_row_with_other_data_each_time() -> None:
    calls = await calls_of_a_run(World(first_state()))
    for first in range(5, calls, 9):
        for second in range(3, calls, 13):
            world = World(first_state())
            for crash_at in (first, second):
                with contextlib.suppress(CrashError):  # a resumed run has fewer calls, and may end
                    await world.move(Faults(crash_at))
                world.tables = second_state() if world.tables == first_state() else first_state()
            await resume(world)


async def unsettled(world: World) -> int | None:
    """Return the number of the Movement that has not settled, if there is one."""
    for number in (2, 1):
        try:
            movement = await world.flows.read_movement(FLOW, number)
        except AbsentError:
            continue
        return None if movement.settled else number
    return None


@on_trio
async def test_rows_that_go_and_come_back_between_two_kills_arrive() -> None:
    world = World({"a": dict.fromkeys(range(1, 13), "old")})
    await die(world, "after store.put flows/crm/events/1/a/full/0.jsonl.zst")
    for number in (4, 5, 6):
        del world.tables["a"][number]
    await die(world, "after store.put flows/crm/events/1/a/incremental/0.jsonl.zst")
    world.tables["a"] |= {4: "old", 5: "new", 6: "old"}
    movement = await world.move()
    assert (movement.number, movement.status) == (1, Status.SUCCESS)
    assert world.destination.tables == world.tables


async def die(world: World, call: str) -> None:
    """Run until that call."""
    with pytest.raises(CrashError):
        await world.move(Faults(crash_on=call))


@on_trio
async def test_a_message_left_by_a_killed_run_does_no_harm_beside_the_new_one() -> None:
    world = World(first_state())
    await die(world, "after destination.load 1/a/full/0")
    world.tables = second_state()
    flow, lists = FLOW, (await world.flows.read_movement(FLOW, 1)).file_lists
    left = [encode_message(GroupCompleted(flow, 1, label, key)) for label, key in lists.items()]
    await world.queue.send(left * 3)
    movement = await world.move()
    assert (movement.number, movement.status) == (1, Status.SUCCESS)
    assert {name: rows for name, rows in world.destination.tables.items() if rows} == world.tables


@on_trio
async def test_reading_what_earlier_attempts_have_stored_is_progress() -> None:
    world = World({"a": {number: f"a{number}" for number in range(9)}}, limits=Limits(event_file_rows=1))
    with pytest.raises(CrashError):
        await world.move(Faults(crash_on="after store.put flows/crm/events/1/a/full/7.jsonl.zst"))
    await resume(world)
    assert world.reporter.events.count(BytesMoved(0)) == 8  # else the Movement seems idle while it reads many files
