"""What a Movement under way knows of its groups is what its File Lists and the marks of the destination say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pipeline.domain.ids import Label, Phase
from pipeline.domain.movement import GroupCounts, Movement
from pipeline.domain.object_keys import file_list_key
from pipeline.domain.planning.group_counts import (
    MOST_GROUPS,
    count_group,
    counts_before,
    counts_under_way,
    with_list,
)
from pipeline.engine.movements.lifecycle import next_movement
from pipeline.testing.simulated.calls import Faults
from tests.engine.long_flow import BEGAN
from tests.engine.mover_world import FLOW
from tests.engine.test_compaction import entry
from tests.engine.wider_world import WiderWorld, abandon, may_crash, numbered
from tests.loops import on_trio


async def latest(world: WiderWorld) -> Movement:
    found = await world.flows.latest(await world.flows.read_flow(FLOW))
    assert found is not None
    return found


async def compare(world: WiderWorld) -> Sequence[GroupCounts]:
    """Compare what the latest Movement knows while it is under way with its File Lists; return that."""
    if not await world.flows.exists(FLOW):
        return []
    movement, marks = await world.flows.latest(await world.flows.read_flow(FLOW)), world.destination.marked()
    if movement is None or movement.settled:
        return []
    known = counts_under_way(movement, marks)
    for label, counts in known.items():
        assert counts == count_group(await world.flows.read_file_list(movement.file_lists[label]), marks), label
    return list(known.values())


async def before_the_crash(kind: str) -> WiderWorld:
    """A world with a Flow of the kind that its next Movement is to find."""
    world = WiderWorld({"a": numbered(*range(20)), "b": numbered(1), "c": numbered(*range(3))})
    if kind == "abandoned":
        await abandon(world)
    elif kind != "new":
        await world.move()
        world.tables["a"][3] = "changed"
        await world.move()
    if kind == "compacted":
        world.tables["a"].pop(4)
        await world.move()
        await world.compact()
    world.tables["a"][5], world.tables["c"][9] = "changed too", "new"
    return world


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["new", "moved", "abandoned", "compacted"])
@on_trio
async def test_at_any_moment_of_a_movement_and_of_the_one_that_resumes_it(kind: str) -> None:
    probe = Faults()
    await (await before_the_crash(kind)).move(probe)
    found: list[GroupCounts] = []
    for moment in range(probe.calls):
        world = await before_the_crash(kind)
        with may_crash():
            await world.move(Faults(crash_at=moment))
        found += await compare(world)
        with may_crash():
            await world.move(Faults(crash_at=moment))
        found += await compare(world)
        movement = await world.move()
        assert not movement.added
        assert counts_before(movement) == movement.counts
    assert any(one.imported != one.listed for one in found)
    assert any(one.imported == one.listed for one in found)


def test_a_movement_of_very_many_groups_does_not_know_what_it_has_added() -> None:
    movement, zero = Movement(FLOW, 1, BEGAN, BEGAN, attempts=1), GroupCounts(0, 0, 0, 0)
    for number in range(MOST_GROUPS + 1):
        label = Label(f"group {number}")
        movement = replace(movement, counts={**movement.counts, label: zero})
        key = file_list_key(FLOW, 1, label, 1)
        movement = with_list(movement, label, key, [replace(entry(1, Phase.FULL, number), label=label)])
    assert len(movement.file_lists) == MOST_GROUPS + 1
    assert counts_under_way(movement, ()).keys() == {f"group {number}" for number in range(MOST_GROUPS)}
    assert counts_before(movement) == {}


def test_counts_of_an_unchanged_group_hold_however_many_groups_there_are() -> None:
    lists = {Label(f"group {number}"): file_list_key(FLOW, 1, Label("a"), 1) for number in range(MOST_GROUPS + 1)}
    movement = Movement(FLOW, 2, BEGAN, BEGAN, attempts=1, file_lists=lists)
    movement = replace(movement, counts=dict.fromkeys(lists, GroupCounts(1, 1, 1, 1)))
    label, key = next(iter(lists.items()))
    assert with_list(movement, label, key, [replace(entry(1, Phase.FULL, 0), label=label)]) is movement
    assert label not in with_list(movement, label, file_list_key(FLOW, 2, label, 1), []).counts


@on_trio
async def test_counts_of_a_movement_that_ended_without_being_counted_do_not_hold() -> None:
    world = WiderWorld({"a": numbered(*range(20)), "b": numbered(1)})
    await world.move()
    settled = await latest(world)
    assert counts_before(settled).keys() == {"a", "b"}
    abandoned = WiderWorld({"a": numbered(*range(20)), "b": numbered(1)})
    await abandon(abandoned)
    ended = await latest(abandoned)
    assert ended.file_lists.keys() == {"a"}
    assert "a" in ended.added
    flow = await abandoned.flows.read_flow(FLOW)
    following = replace(next_movement(abandoned.flows, flow, ended), attempts=1)
    assert counts_under_way(following, abandoned.destination.marked()) == {}
    of_earlier_release = replace(ended, added={}, counts={Label("a"): GroupCounts(0, 0), Label("b"): GroupCounts(1, 1)})
    assert counts_before(of_earlier_release) == {Label("b"): GroupCounts(1, 1)}
