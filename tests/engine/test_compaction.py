"""Compaction: a new destination imports only the snapshot, and any other destination becomes equal, too."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest

from pipeline.domain.errors import ConfigurationError, ConflictError, DamagedError
from pipeline.domain.event_file import Encoding, FileEntry
from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey, Phase, StreamName
from pipeline.domain.movement import Status
from pipeline.domain.planning.compaction import applicable, is_compact, last_step
from pipeline.domain.planning.group_counts import count_group
from pipeline.engine.maintenance.compaction import Compactor
from pipeline.engine.movements.lifecycle import begin_movement
from pipeline.ports.object_store import OpenBody, PutCondition, Version
from pipeline.testing.simulated.calling import CallingStore
from pipeline.testing.simulated.calls import CrashError, Faults
from tests.engine.mover_world import FLOW
from tests.engine.wider_world import WiderWorld, may_crash, numbered
from tests.loops import on_trio


def entry(movement: int, phase: Phase, chunk: int, *replaces: EventFileId) -> FileEntry:
    file = EventFileId(movement, StreamName("a"), phase, chunk)
    return FileEntry(file, Label("a"), ObjectKey("k"), Encoding.ZSTD, 1, "", 1, 0, replaces)


@dataclass
class BeginningStore(CallingStore):
    """A store in which a Movement starts during the first put of a compacted Event File."""

    world: WiderWorld
    begun: bool = False

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        if "/events/4/" in key and not self.begun:
            self.begun = True
            await begin_movement(self.world.flows, await self.world.flows.read_flow(FLOW))
        return await super().put(key, body, condition)


async def long_history(movements: int = 5) -> WiderWorld:
    world = WiderWorld({"a": numbered(*range(20)), "b": numbered(1)})
    for movement in range(movements):
        await world.move()
        world.tables["a"].pop(movement)
        world.tables["a"][movement + 10] = f"changed in {movement}"
        world.tables["a"][movement + 100] = "new"
    await world.move()
    return world


@on_trio
async def test_a_new_destination_imports_each_row_once() -> None:
    world = await long_history()
    compaction = await world.compact()
    assert [stream.stream for stream in compaction.streams] == ["a"]
    assert compaction.streams[0].after.records == 20 + 5  # the rows there are, and the keys that are gone
    backup = await world.add_destination("backup")
    movement = await world.bring(backup)
    assert world.further[backup].tables == world.tables
    assert (movement.totals.upserts, movement.totals.deletes) == (21, 5)
    assert {file.movement for file in world.further[backup].marked() if file.stream == "a"} == {7}


@on_trio
async def test_a_destination_that_has_the_history_skips_the_snapshot() -> None:
    world = await long_history()
    await world.compact()
    loads = dict(world.destination.loads)
    movement = await world.move()
    assert (movement.number, movement.status) == (8, Status.SUCCESS)
    assert (movement.totals.files_exported, movement.totals.files_imported, movement.totals.files_failed) == (
        0,
        0,
        0,
    )
    world.tables["a"][12] = "changed"
    movement = await world.move()
    assert (movement.totals.upserts, movement.totals.files_imported, movement.totals.files_failed) == (1, 1, 0)
    assert world.destination.tables == world.tables
    assert {file: count for file, count in world.destination.loads.items() if file in loads} == loads
    await world.bring(await world.add_destination("backup"))
    assert world.further[FlowName("backup")].tables == world.tables


@on_trio
async def test_a_destination_with_any_part_of_the_history_becomes_equal() -> None:
    world = await long_history()
    history = [e for e in await world.listed() if e.id.stream == "a"]
    await world.bring(await world.add_destination("whole"))
    for stop in range(len(history)):
        name = await world.add_destination(f"stops before {history[stop].id}")
        with may_crash():
            await world.bring(name, Faults(crash_on=f"before destination.load {history[stop].id}"))
    await world.compact()
    world.tables["a"][7] = "changed after that"
    await world.move()
    for name, destination in world.further.items():
        assert (await world.bring(name)).status is Status.SUCCESS
        assert destination.tables == world.tables, name


@on_trio
async def test_a_compacted_stream_is_compacted_again_only_after_changes() -> None:
    world = await long_history()
    assert (await world.compact()).movement == 7
    assert (await world.compact()).movement is None
    del world.tables["a"][12]
    world.tables["a"][0] = "is back"
    await world.move()
    again = await world.compact()
    assert again.streams[0].after.records == 20 + 5  # 0 is back, 12 is gone
    backup = await world.add_destination("backup")
    await world.bring(backup)
    assert world.further[backup].tables == world.tables
    assert (await world.move()).totals.files_imported == 0
    assert world.destination.tables == world.tables


@on_trio
async def test_a_stream_without_rows_becomes_an_empty_snapshot() -> None:
    world = WiderWorld({"a": numbered(1, 2), "b": numbered(1)})
    await world.move()
    world.tables["a"].clear()
    await world.move()
    await world.compact()
    backup = await world.add_destination("backup")
    await world.bring(backup)
    assert world.further[backup].tables == world.tables


@on_trio
async def test_the_counts_of_every_movement_are_those_of_its_file_lists() -> None:
    world = await long_history()
    for change in ("none", "compact", "none", "new", "compact", "new"):
        if change == "compact":
            await world.compact()
        elif change == "new":
            world.tables["a"][len(world.tables["a"]) + 1000] = "more"
        if change != "compact":
            await world.move()
        movement = await world.flows.latest(await world.flows.read_flow(FLOW))
        assert movement is not None
        marks = world.destination.marked()
        assert movement.marks == len(marks)
        assert movement.counts == {
            label: count_group(await world.flows.read_file_list(key), marks)
            for label, key in movement.file_lists.items()
        }


@on_trio
async def test_a_compaction_does_not_know_what_a_destination_that_lacks_files_has() -> None:
    world = await long_history()
    latest = await world.flows.latest(await world.flows.read_flow(FLOW))
    assert latest is not None
    lacking = replace(latest.counts[Label("a")], imported=1)
    await world.flows.update(FLOW, latest.number, lambda now: replace(now, counts={**now.counts, Label("a"): lacking}))
    await world.compact()
    compacted = await world.flows.latest(await world.flows.read_flow(FLOW))
    assert compacted is not None
    assert compacted.counts == {Label("b"): latest.counts[Label("b")]}


@on_trio
async def test_streams_are_selected_by_pattern() -> None:
    world = await long_history(1)
    world.tables["b"][2] = "new"
    await world.move()
    compaction = await world.compact("b*")
    assert [stream.stream for stream in compaction.streams] == ["b"]
    assert {e.id.movement for e in await world.listed() if e.id.stream == "a"} == {1, 2}


@pytest.mark.slow
@on_trio
async def test_a_crash_at_any_call_leaves_the_old_state_or_the_new() -> None:
    probe = Faults()
    world = await long_history(2)
    await world.compact(faults=probe)
    for moment in range(probe.calls):
        world = await long_history(2)
        before = await world.listed()
        with pytest.raises(CrashError):
            await world.compact(faults=Faults(crash_at=moment))
        if [e.id for e in await world.listed()] != [e.id for e in before]:
            latest = await world.flows.read_movement(FLOW, 4)
            assert latest.status is Status.SUCCESS
        world.tables["a"][12] = "changed"
        assert (await world.move()).status is Status.SUCCESS
        await world.compact()
        backup = await world.add_destination("backup")
        await world.bring(backup)
        assert world.destination.tables == world.further[backup].tables == world.tables


@on_trio
async def test_a_movement_that_starts_meanwhile_wins() -> None:
    world = await long_history(2)
    with pytest.raises(ConflictError, match="nothing was changed"):
        await Compactor(replace(world.context(), store=BeginningStore(world.store, Faults(), world)), FLOW).run()
    assert (await world.flows.read_movement(FLOW, 4)).status is Status.CANCELLED
    assert (await world.move()).number == 5
    assert world.destination.tables == world.tables


@on_trio
async def test_nothing_is_compacted_while_a_movement_is_in_progress() -> None:
    world = await long_history(2)
    await begin_movement(world.flows, await world.flows.read_flow(FLOW))
    with pytest.raises(ConfigurationError, match="IN_PROGRESS"):
        await world.compact()


@on_trio
async def test_a_damaged_file_stops_the_compaction_and_changes_nothing() -> None:
    world = await long_history(2)
    before = await world.listed()
    damaged = before[-2]
    data = (await world.store.get(damaged.key)).data
    await world.store.put(damaged.key, data[:-1] + b"x", PutCondition.NONE)
    with pytest.raises(DamagedError, match=damaged.key):
        await world.compact()
    assert await world.listed() == before
    await world.store.put(damaged.key, data, PutCondition.NONE)
    await world.compact()
    assert await world.listed() != before


@on_trio
async def test_random_histories_are_compacted_to_the_same_rows() -> None:
    dice = random.Random(7)
    for _ in range(6):
        world = WiderWorld({"a": numbered(*range(dice.randrange(15)))})
        world.limits = replace(world.limits, event_file_rows=dice.randrange(1, 6))
        for _ in range(dice.randrange(2, 7)):
            for _ in range(dice.randrange(6)):
                number = dice.randrange(20)
                if dice.random() < 0.4:
                    world.tables["a"].pop(number, None)
                else:
                    world.tables["a"][number] = f"text {dice.random()}"
            await world.move()
            if dice.random() < 0.4:
                await world.compact()
        name = await world.add_destination("backup")
        await world.bring(name)
        assert world.further[name].tables == world.destination.tables == world.tables


def test_a_destination_with_the_replaced_files_sees_them_in_place_of_the_compacted_ones() -> None:
    full, change = entry(1, Phase.FULL, 0), entry(2, Phase.INCREMENTAL, 0)
    deletes = entry(3, Phase.INCREMENTAL, 0, change.id)
    snapshot = [entry(3, Phase.FULL, chunk, change.id) for chunk in range(2)]
    later = entry(4, Phase.INCREMENTAL, 0)
    listed = [deletes, *snapshot, later]
    assert applicable(listed, {full.id}) == listed
    assert [e.id for e in applicable(listed, {full.id, change.id})] == [change.id, later.id]


def test_the_last_step_is_one_change_or_a_whole_snapshot() -> None:
    full = [entry(1, Phase.FULL, chunk) for chunk in range(3)]
    change = entry(2, Phase.INCREMENTAL, 0)
    assert last_step([*full, change]) == (change.id,)
    assert last_step([change, *full]) == tuple(e.id for e in full)
    assert is_compact(full)
    assert not is_compact([*full, change])
