"""Records that the source cannot give: they are named and tried again, and all others are moved."""

from __future__ import annotations

from random import Random

import pytest

from pipeline.domain.movement import Status
from tests.engine.wider_world import WiderWorld, may_crash, numbered
from tests.fakes.calls import Faults
from tests.loops import on_trio


@on_trio
async def test_a_record_that_the_source_cannot_give_is_named_and_the_others_arrive() -> None:
    world = WiderWorld({"a": numbered(*range(10)), "b": numbered(1)}, unreadable={"text 3", "text 9"})
    movement = await world.move()
    assert movement.status is Status.INCOMPLETE
    assert world.destination.tables == {"a": numbered(*(set(range(10)) - {3, 9})), "b": numbered(1)}
    assert (movement.totals.upserts, movement.totals.rejected, movement.rejections.count) == (9, 2, 2)
    assert "a, key [3], column text was rejected at the source: text 3 cannot be read; mend it" in movement.problems
    again = await world.move()
    assert (again.status, again.totals.files_exported, again.rejections) == (Status.INCOMPLETE, 0, movement.rejections)
    world.unreadable.clear()
    mended = await world.move()
    assert (mended.status, mended.totals.upserts, mended.problems) == (Status.SUCCESS, 2, ())
    assert world.destination.tables == world.tables


@on_trio
async def test_a_record_that_becomes_unreadable_keeps_its_older_version_until_it_can_be_given_or_goes() -> None:
    world = WiderWorld({"a": numbered(*range(10))})
    await world.move()
    world.tables["a"][4] = world.tables["a"][5] = world.tables["a"][10] = "bad"
    world.unreadable.add("bad")
    for _ in range(2):
        movement = await world.move()
        assert (movement.status, movement.rejections.count) == (Status.INCOMPLETE, 3)
        assert world.destination.tables["a"] == numbered(*range(10))
    world.tables["a"][4] = "text 4"
    del world.tables["a"][5], world.tables["a"][10]
    movement = await world.move()
    assert (movement.status, movement.totals.upserts, movement.totals.deletes) == (Status.SUCCESS, 0, 1)
    assert world.destination.tables == world.tables


@on_trio
async def test_a_stream_of_rejected_records_alone_is_tried_again() -> None:
    world = WiderWorld({"a": {1: "bad", 2: "bad"}}, unreadable={"bad"})
    assert (await world.move()).status is Status.INCOMPLETE
    assert world.destination.tables == {"a": {}}
    world.unreadable.clear()
    assert (await world.move()).status is Status.SUCCESS
    assert world.destination.tables == world.tables


@on_trio
async def test_a_derived_flow_lacks_what_its_origin_could_not_give() -> None:
    world = WiderWorld({"a": numbered(1, 2)}, unreadable={"text 2"})
    await world.move()
    copy = await world.add_destination("copy")
    movement = await world.bring(copy)
    assert movement.status is Status.INCOMPLETE
    assert "key [2]" in movement.problems[0]
    world.unreadable.clear()
    await world.move()
    assert (await world.bring(copy)).status is Status.SUCCESS


@pytest.mark.parametrize("seed", range(25))
@on_trio
async def test_whatever_is_rejected_meanwhile_the_destination_has_all_in_the_end(seed: int) -> None:
    random = Random(seed)
    world = WiderWorld({"a": {}})
    for step in range(12):
        rows = world.tables["a"]
        for number in random.sample(range(40), 6):
            rows[number] = f"text {random.randrange(4)}"
        for number in random.sample(sorted(rows), len(rows) // 8):
            del rows[number]
        world.unreadable = {f"text {n}" for n in range(4) if random.random() < 0.3 and step < 11}
        before = dict(world.destination.tables.get("a", {}))
        faults = Faults(crash_on=f"after store.put flows/crm/events/{step + 1}/a/full/{random.randrange(3)}.jsonl.zst")
        with may_crash():
            await world.move(faults if random.random() < 0.3 else None)
        movement = await world.move()
        bad = {number for number, text in rows.items() if text in world.unreadable and before.get(number) != text}
        assert movement.rejections.count == len(bad)
        assert world.destination.tables["a"].keys() - bad == rows.keys() - bad
        assert all(world.destination.tables["a"][number] == rows[number] for number in rows.keys() - bad)
    assert movement.status is Status.SUCCESS
