"""A stream that the source cannot read: it is named, nothing of it is deleted, and all others are moved."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.domain.errors import ConfigurationError, TransientError, UnreadableError
from pipeline.domain.movement import Status
from tests.engine.mover_world import FLOW, SMALL
from tests.engine.test_source_checks import cut, move
from tests.engine.wider_world import WiderWorld, numbered
from tests.loops import on_trio


def unreadable() -> UnreadableError:
    """Return what a source raises for one of its tables."""
    return UnreadableError("a privilege is missing; have it granted", "table")


@on_trio
async def test_the_other_streams_are_moved_and_it_is_named_until_it_can_be_read() -> None:
    world = WiderWorld({name: numbered(*range(10)) for name in "abc"})
    world.fails["b"] = unreadable()
    for _ in range(2):
        movement = await world.move()
        assert movement.status is Status.INCOMPLETE
        assert movement.problems == (
            "not moved: 1 table (b): a privilege is missing; have it granted; accept this with --accept-missing table",
        )
        assert {name: world.destination.tables[name] for name in "ac"} == {name: numbered(*range(10)) for name in "ac"}
    del world.fails["b"]
    assert (await world.move()).status is Status.SUCCESS
    assert world.destination.tables == world.tables


@on_trio
async def test_what_was_read_of_it_is_imported_and_not_exported_again() -> None:
    world = WiderWorld({"a": numbered(*range(30)), "b": {}}, limits=replace(SMALL, event_file_rows=10))
    world.fails["a"] = unreadable()
    await world.move()
    assert world.destination.tables["a"] == numbered(*range(24))
    world.tables["a"][30] = "new"
    del world.tables["a"][3]
    assert (await world.move()).totals.upserts == 0
    del world.fails["a"]
    movement = await world.move()
    assert (movement.status, movement.totals.upserts, movement.totals.deletes) == (Status.SUCCESS, 7, 1)
    assert world.destination.tables == world.tables


@on_trio
async def test_nothing_of_it_is_deleted() -> None:
    world = WiderWorld({"a": numbered(*range(20)), "b": numbered(1)})
    await world.move()
    world.fails["a"] = unreadable()
    world.tables["a"] = {25: "new"}
    world.tables["b"] = numbered(2)
    assert (await world.move()).status is Status.INCOMPLETE
    assert world.destination.tables == {"a": numbered(*range(20)), "b": numbered(2)}


@on_trio
async def test_rows_out_of_order_concern_their_stream_alone() -> None:
    world = WiderWorld({})
    rows = sorted(numbered(*range(9)).items())
    await move(world, [*cut(rows[6:]), *cut(rows[:6])])
    (item,) = (await world.flows.read_movement(FLOW, 1)).inventory.items
    assert (item.kind, item.name) == ("stream", "a")


@on_trio
async def test_a_failure_of_the_whole_place_still_ends_the_attempt() -> None:
    world = WiderWorld({"a": numbered(1), "b": numbered(1)})
    for error in (TransientError("the connection is lost"), ConfigurationError("there is no such database")):
        world.fails["a"] = error
        with pytest.raises(type(error)):
            await world.move()
    del world.fails["a"]
    assert (await world.move()).status is Status.SUCCESS


@on_trio
async def test_a_derived_flow_says_what_its_origin_could_not_read() -> None:
    world = WiderWorld({"a": numbered(1), "b": numbered(1)})
    world.fails["b"] = unreadable()
    await world.move()
    copy = await world.add_destination("copy")
    movement = await world.bring(copy)
    assert (movement.status, [item.name for item in movement.inventory.items]) == (Status.INCOMPLETE, ["b"])
    del world.fails["b"]
    await world.move()
    assert (await world.bring(copy)).status is Status.SUCCESS
