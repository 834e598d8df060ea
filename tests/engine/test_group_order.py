"""Groups that depend on others are imported after them, and not at all if one of those was not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from pipeline.domain.errors import ConfigurationError, RefusedError, UnreadableError
from pipeline.domain.flows.declaration import Declaration, GroupRule, StreamRule
from pipeline.domain.ids import EventFileId, FlowName, Label
from pipeline.domain.movement import Flow, Movement, Status
from pipeline.ports.destination import FileToLoad, LoadOutcome
from pipeline.testing.simulated.calls import Faults
from tests.engine.fleet import Fleet, WorkerProcess
from tests.engine.mover_world import FLOW, World
from tests.engine.wider_world import WiderWorld, may_crash
from tests.fakes.destination import MemoryDestination, MemorySession
from tests.fakes.source import MemorySource
from tests.loops import on_trio

CHAIN = (GroupRule(Label("a"), (Label("b"),)), GroupRule(Label("b"), (Label("c"),)))
"""Against the order of the names: c, then b, then a. d is free."""


@dataclass
class Refusing(MemoryDestination):
    """A destination that refuses whole files of some streams, and notes in which order it took the others."""

    refused: set[str] = field(default_factory=set)
    taken: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.session, self.on_commit = RefusingSession, self._take

    def _take(self, file: EventFileId) -> None:
        self.taken.append(file.stream)


class RefusingSession(MemorySession):
    """Refuses what its destination says."""

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        assert isinstance(self.at, Refusing)
        if file.entry.id.stream in self.at.refused:
            raise RefusedError("the disk is full")
        return await super().load(file, after=after)


def tables() -> dict[str, dict[int, str]]:
    return {name: dict.fromkeys(range(9), name) for name in "abcd"}


async def declare(world: World, declared: Declaration) -> None:
    flow = await world.flows.connect(FLOW, MemorySource.location, world.destination.location)
    await world.flows.update_flow(flow.name, lambda now: replace(now, declared=declared))


def in_order(taken: Sequence[str]) -> bool:
    """Whether every file of c comes before every one of b, and so on."""
    chained = [stream for stream in taken if stream != "d"]
    return chained == sorted(chained, reverse=True)


@on_trio
async def test_a_group_is_imported_after_those_that_it_depends_on() -> None:
    world = World(tables(), destination=Refusing())
    await declare(world, Declaration(groups=CHAIN))
    assert (await world.move()).status is Status.SUCCESS
    assert world.destination.tables == world.tables
    assert isinstance(world.destination, Refusing)
    assert len(world.destination.taken) == 8
    assert in_order(world.destination.taken)


@on_trio
async def test_a_failed_group_keeps_those_after_it_back_and_a_rerun_picks_them_up() -> None:
    world = World(tables(), destination=(there := Refusing(refused={"c"})))
    await declare(world, Declaration(groups=CHAIN))
    movement = await world.move()
    assert movement.status is Status.INCOMPLETE
    assert set(there.taken) == {"d"}
    assert any(
        "Event File 1/b/full/0 was not imported: its group depends on the group 'c', whose Event File 1/c/full/" in line
        for line in movement.problems
    )
    assert any("1/a/full/0 was not imported: its group depends on the group 'b'" in line for line in movement.problems)
    there.refused.clear()
    assert (await world.move()).status is Status.SUCCESS
    assert there.tables == world.tables
    assert in_order(there.taken)


@on_trio
async def test_a_group_whose_dependency_is_left_out_waits_for_a_movement_that_moves_it() -> None:
    world = World(tables(), destination=(there := Refusing(refused={"c"})))
    await declare(world, Declaration(groups=CHAIN))
    await world.move()
    there.refused.clear()
    world.tables["b"] = {**world.tables["b"], 99: "b"}
    left_out = await replace(world, exclude=("c",)).move()
    assert left_out.status is Status.INCOMPLETE
    assert any("which this Movement leaves out" in line for line in left_out.problems)
    assert "b" not in there.taken
    assert (await world.move()).status is Status.SUCCESS
    assert there.tables == world.tables


@on_trio
async def test_a_table_that_cannot_be_read_keeps_the_groups_after_it_back() -> None:
    world = World(tables(), destination=(there := Refusing()), fails={"b": UnreadableError("a page is damaged")})
    await declare(world, Declaration(groups=CHAIN))
    movement = await world.move()
    assert movement.status is Status.INCOMPLETE
    assert "a" not in there.taken
    assert {"c", "d"} <= set(there.taken)
    missing = [item for item in movement.inventory.items if item.name == "a"]
    assert [item.reason for item in missing] == ["its group depends on the group 'b', and the source cannot read 'b'"]
    world.fails.clear()
    assert (await world.move()).status is Status.SUCCESS
    assert there.tables == world.tables
    assert there.taken.index("b") < there.taken.index("a")


@on_trio
async def test_a_process_that_dies_anywhere_keeps_the_order() -> None:
    crashed = 0
    for at in range(0, 400, 3):
        world = World({name: {1: name} for name in "abcd"}, destination=(there := Refusing()))
        await declare(world, Declaration(groups=CHAIN))
        faults = Faults(crash_at=at)
        with may_crash():
            await world.move(faults)
        crashed += faults.dead
        world.tables["c"][2] = "later"
        assert (await world.move()).status is Status.SUCCESS
        assert there.tables == world.tables
        assert there.taken.index("c") < there.taken.index("b") < there.taken.index("a")
        assert set(there.loads.values()) == {1}
    assert crashed > 30


@on_trio
async def test_workers_keep_the_order_of_groups_that_are_divided_among_them() -> None:
    fleet = Fleet({name: dict.fromkeys(range(60), name) for name in "abcd"}, destination=(there := Refusing()))
    await declare(fleet, Declaration(groups=CHAIN))
    importers = [WorkerProcess(fleet, f"importer {number}", ("import",)) for number in range(3)]
    async with fleet.workers(WorkerProcess(fleet, "exporter", ("export", "sweep")), *importers):
        movement = await fleet.settled((await fleet.start()).number, within_seconds=600)
    assert movement.status is Status.SUCCESS
    assert there.tables == fleet.tables
    assert in_order(there.taken)


@on_trio
async def test_workers_settle_a_movement_whose_groups_are_kept_back() -> None:
    fleet = Fleet(tables(), destination=(there := Refusing(refused={"c"})))
    await declare(fleet, Declaration(groups=CHAIN))

    async def moved() -> Movement:
        return await fleet.settled((await fleet.start()).number, within_seconds=600)

    async with fleet.workers(WorkerProcess(fleet, "one"), WorkerProcess(fleet, "two")):
        first = await moved()
        assert (first.status, set(there.taken)) == (Status.INCOMPLETE, {"d"})
        assert any("depends on the group 'b'" in line for line in first.problems)
        there.refused.clear()
        assert (await moved()).status is Status.SUCCESS
    assert there.tables == fleet.tables
    assert in_order(there.taken)


@on_trio
async def test_losing_every_announcement_of_a_dependant_costs_time_alone() -> None:
    fleet = Fleet(tables(), destination=(there := Refusing()))
    await declare(fleet, Declaration(groups=CHAIN))
    dying = WorkerProcess(fleet, "dying", ("import",), Faults(crash_on="after destination.load 1/c/full/1"))
    async with fleet.workers(dying, WorkerProcess(fleet, "exporter", ("export", "sweep"))):
        number = (await fleet.start()).number
        await dying.death.wait()
        async with fleet.workers(WorkerProcess(fleet, "other", ("import",))):
            assert (await fleet.settled(number, within_seconds=600)).status is Status.SUCCESS
    assert in_order(there.taken)


@on_trio
async def test_a_derived_flow_keeps_the_order_of_its_origin() -> None:
    world = WiderWorld(tables())
    await declare(world, Declaration(groups=CHAIN))
    await world.move()
    there = world.further[FlowName("second")] = Refusing(refused={"b"}, location="memory:second")
    flow = await world.add_destination("second")
    movement = await world.bring(flow)
    assert movement.status is Status.INCOMPLETE
    assert set(there.taken) == {"c", "d"}
    there.refused.clear()
    assert (await world.bring(flow)).status is Status.SUCCESS
    assert in_order(there.taken)


@on_trio
async def test_streams_are_gathered_in_the_groups_that_the_flow_declares() -> None:
    world = World(tables())
    rules = (StreamRule("b", Label("kept")), StreamRule("[ab]", Label("both")), StreamRule("d", include=False))
    await declare(world, Declaration(streams=rules))
    movement = await world.move()
    assert set(movement.file_lists) == {"both", "kept", "c"}
    assert set(world.destination.tables) == {"a", "b", "c"}
    assert movement.exclude == ("d",)


@on_trio
async def test_what_the_flow_leaves_out_later_stays_at_the_destination() -> None:
    world = World(tables())
    await world.move()
    await declare(world, Declaration(streams=(StreamRule("d", include=False),)))
    assert (await world.move()).status is Status.SUCCESS
    assert world.destination.tables == world.tables


@on_trio
async def test_all_that_names_nothing_is_an_error_before_data_moves() -> None:
    world = World(tables())
    declared = Declaration(
        streams=(StreamRule("x*", Label("some")), StreamRule("a", Label("some"))),
        groups=(GroupRule(Label("none")), GroupRule(Label("b"), (Label("gone"),))),
        file="flows.toml",
    )
    await declare(world, declared)
    with pytest.raises(ConfigurationError) as raised:
        await world.move()
    assert str(raised.value).splitlines() == [
        'flows.toml, [flow.crm.stream."x*"]: the pattern matches no stream of the source.',
        "flows.toml, [flow.crm.group.none]: no stream of the source is in this group.",
        "flows.toml, [flow.crm.group.b]: depends_on names the group 'gone', in which no stream of the source is.",
    ]
    assert world.destination.tables == {}
    assert (await world.flows.read_flow(FLOW)).movements == 0


@on_trio
async def test_a_stream_that_changes_its_group_is_an_error_that_says_so() -> None:
    world = World(tables())
    await world.move()
    await declare(world, Declaration(streams=(StreamRule("a", Label("other")),)))
    with pytest.raises(ConfigurationError, match="label 'other', and 'a' in earlier Movements"):
        await world.move()
    assert world.destination.tables == world.tables


def test_a_flow_that_declares_nothing_excludes_nothing() -> None:
    assert Flow(FLOW, "a", "b", World({}).clock.now()).declared.excluded == ()
