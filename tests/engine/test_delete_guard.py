"""Many deletes at once are held back until a person allows them, and everything else arrives."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.movement import HeldDeletes, Movement, Status
from pipeline.testing.simulated.calls import Faults
from tests.engine.fleet import Fleet, WorkerProcess
from tests.engine.mover_world import SMALL, World
from tests.engine.verified_world import VerifiedWorld, numbered
from tests.engine.wider_world import may_crash
from tests.fakes.rows import Table, Tables
from tests.loops import on_trio

GUARDED = replace(SMALL, delete_guard_rows=3)
_tables = st.dictionaries(st.integers(0, 40), st.sampled_from(["x", "y", "z"]), max_size=30)


def rows(*numbers: int, text: str = "text") -> Table:
    return numbered(*numbers, text=text)


def deleted(movement: Movement) -> int:
    return movement.totals.deletes


@on_trio
async def test_many_deletes_are_held_until_they_are_allowed() -> None:
    world = World({"users": rows(*range(20)), "pets": rows(1, 2)}, limits=GUARDED)
    await world.move()
    world.tables["users"] = rows(*range(10)) | rows(3, 30, text="new")
    world.tables["pets"] = rows(2)
    held = await world.move()
    assert (held.status, held.held_deletes) == (Status.INCOMPLETE, {"users": HeldDeletes(10, 20)})
    assert held.problems == (
        "users: 10 of 20 records of the destination are not at the source, and none of them was deleted. Check that the "
        "source is whole; to delete them, add --allow-deletes users",
    )
    assert world.destination.tables == {"users": rows(*range(20)) | rows(3, 30, text="new"), "pets": rows(2)}
    again = await world.move()
    assert (again.status, again.held_deletes) == (Status.INCOMPLETE, {"users": HeldDeletes(10, 21)})
    assert again.totals.files_exported == 0
    world.allow_deletes = ("us*",)
    allowed = await world.move()
    assert (allowed.status, deleted(allowed)) == (Status.SUCCESS, 10)
    assert world.destination.tables == world.tables
    world.allow_deletes = ()
    assert (await world.move()).totals.files_exported == 0


@on_trio
async def test_a_fifth_of_a_stream_and_few_deletes_need_no_permission() -> None:
    world = World({"users": rows(*range(40)), "pets": rows(*range(5))}, limits=GUARDED)
    await world.move()
    world.tables = {"users": rows(*range(8, 40)), "pets": rows(3, 4)}
    assert (await world.move()).status is Status.SUCCESS
    assert world.destination.tables == world.tables


@settings(max_examples=150, deadline=None)
@given(_tables, _tables, _tables, st.booleans(), st.booleans())
@on_trio
async def test_all_deletes_arrive_or_none(before: Table, then: Table, last: Table, allowed: bool, drop: bool) -> None:
    world = World({"t": dict(before), "other": rows(1)}, limits=GUARDED)
    await world.move()
    world.allow_deletes = ("t",) if allowed else ()
    expected = dict(before)
    for now in (then, last):
        world.tables["t"] = dict(now)
        if drop and now is last and not now:
            del world.tables["t"]
        gone = expected.keys() - now.keys()
        held = not allowed and len(gone) > 3 and len(gone) * 5 > len(expected)
        known, expected = len(expected), {**expected, **now} if held else dict(now)
        moved = await world.move()
        is_gone = "t" not in world.tables
        assert moved.held_deletes == ({"t": HeldDeletes(len(gone), known, is_gone)} if held else {})
        assert moved.status is (Status.INCOMPLETE if held else Status.SUCCESS)
        assert world.destination.tables.get("t", {}) == expected
    world.allow_deletes = ("t",)
    assert (await world.move()).status is Status.SUCCESS
    assert world.destination.tables.get("t", {}) == last
    assert (await world.move()).totals.files_exported == 0


@settings(max_examples=100, deadline=None)
@given(_tables, _tables, _tables, st.integers(0, 60), st.booleans())
@on_trio
async def test_a_crash_between_the_deletes_loses_none(
    before: Table, now: Table, later: Table, crash: int, allowed: bool
) -> None:
    world = World({"t": dict(before), "other": rows(1)}, limits=GUARDED, allow_deletes=("t",) if allowed else ())
    await world.move()
    world.tables["t"] = dict(now)
    with may_crash():
        await world.move(Faults(crash_at=crash))
    world.tables["t"] = dict(later)
    await world.move()
    if allowed:
        assert world.destination.tables.get("t", {}) == later
    held = world.destination.tables.get("t", {})
    assert later.items() <= held.items()
    world.allow_deletes = ("t",)
    await world.move()
    assert world.destination.tables.get("t", {}) == later


@on_trio
async def test_a_source_without_any_row_is_held_however_few_rows_it_had() -> None:
    world = World({"users": rows(1, 2), "pets": rows(1)}, limits=GUARDED)
    await world.move()
    emptied: Tables = {"users": {}, "pets": {}}
    for tables in (emptied, {}):
        world.tables = tables
        held = await world.move()
        gone = not tables
        assert held.held_deletes == {"users": HeldDeletes(2, 2, gone), "pets": HeldDeletes(1, 1, gone)}
        assert world.destination.tables == {"users": rows(1, 2), "pets": rows(1)}
    world.tables = {"users": {}, "pets": rows(1)}
    assert (await world.move()).status is Status.SUCCESS
    assert world.destination.tables == world.tables


@on_trio
async def test_a_stream_that_the_source_has_no_more_is_held() -> None:
    world = World({"users": rows(*range(9)), "pets": rows(1)}, limits=GUARDED)
    await world.move()
    del world.tables["users"]
    held = await world.move()
    assert held.held_deletes == {"users": HeldDeletes(9, 9, gone=True)}
    assert held.problems == (
        "users: 9 of 9 records of the destination are not at the source, and none of them was deleted. The source no longer "
        "has this stream: check that it is whole; to delete the records, add --allow-deletes users; to keep them, add "
        "--exclude users",
    )
    world.tables["users"] = rows(*range(9))
    assert (await world.move()).status is Status.SUCCESS
    assert world.destination.tables == world.tables


@on_trio
async def test_another_attempt_goes_on_with_the_permission() -> None:
    world = World({"t": rows(*range(20))}, limits=GUARDED)
    await world.move()
    world.tables, world.allow_deletes = {"t": rows(20)}, ("t",)
    faults = Faults(crash_on="after source.rows t from 0")
    with may_crash():
        await world.move(faults)
    assert faults.dead
    world.allow_deletes = ()
    assert (await world.move()).status is Status.SUCCESS
    assert world.destination.tables == {"t": rows(20)}


@on_trio
async def test_workers_hold_deletes_and_are_allowed_them_by_the_start() -> None:
    fleet = Fleet({"t": rows(*range(20)), "other": rows(1)})
    fleet.limits = replace(fleet.limits, delete_guard_rows=3)
    async with fleet.workers(WorkerProcess(fleet, "one")):
        await fleet.settled((await fleet.start()).number)
        fleet.tables["t"] = rows(7)
        held = await fleet.settled((await fleet.start()).number)
        assert (held.status, held.held_deletes) == (Status.INCOMPLETE, {"t": HeldDeletes(19, 20)})
        fleet.allow_deletes = ("t",)
        assert (await fleet.settled((await fleet.start()).number)).status is Status.SUCCESS
    assert fleet.destination.tables == fleet.tables


@on_trio
async def test_a_repair_asks_as_well_and_always_ends() -> None:
    world = VerifiedWorld({"t": rows(*range(10))}, limits=GUARDED)
    await world.move()
    world.destination.tables["t"] |= rows(*range(10, 20))
    assert (await world.repair()).held_deletes == {"t": HeldDeletes(10, 20)}
    world.allow_deletes = ("t",)
    assert (await world.repair()).status is Status.SUCCESS
    assert (await world.verify()).equal


@on_trio
async def test_rows_of_a_stream_that_is_gone_and_are_in_a_new_one_now_are_no_loss() -> None:
    world = World({"users": rows(*range(9)), "pets": rows(1)}, limits=GUARDED)
    await world.move()
    world.tables["members"] = world.tables.pop("users")
    assert (await world.move()).status is Status.SUCCESS
    assert world.destination.tables["members"] == rows(*range(9))
    assert world.destination.tables["users"] == {}
    world.tables["guests"] = {number: world.tables["members"].pop(number) for number in range(5)}
    assert (await world.move()).held_deletes == {"members": HeldDeletes(5, 9)}
