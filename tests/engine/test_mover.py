"""Whole Movements on fakes: what arrives, what a repeated Movement costs, and what becomes of rejected records."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.codec.event_files.event_file import EventFileWriter
from pipeline.domain.errors import ConfigurationError, DamagedError
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Status
from pipeline.engine.export import chunk_writer
from pipeline.engine.export.chunk_writer import ChunkWriter
from pipeline.engine.movements.context import Limits
from pipeline.engine.movements.lifecycle import begin_movement
from pipeline.ports.object_store import PutCondition
from pipeline.ports.reporter import EventFileStored
from tests.engine.mover_world import FLOW, SMALL, World
from tests.fakes.rows import Table, Tables
from tests.loops import on_trio


def table(*numbers: int) -> Table:
    return {number: f"text {number}" for number in numbers}


@on_trio
async def test_all_tables_arrive_and_the_totals_say_so() -> None:
    world = World({"a": table(*range(10)), "b": table(), "c": table(5)})
    movement = await world.move()
    assert movement.status is Status.SUCCESS
    assert world.destination.tables == world.tables
    assert (movement.totals.files_exported, movement.totals.files_imported) == (4, 4)
    assert (movement.totals.upserts, movement.totals.deletes, movement.totals.files_skipped) == (11, 0, 0)


@on_trio
async def test_a_repeated_movement_exports_and_imports_nothing() -> None:
    world = World({"a": table(*range(10)), "b": table()})
    await world.move()
    movement = await world.move()
    assert (movement.number, movement.status) == (2, Status.SUCCESS)
    assert (movement.totals.files_exported, movement.totals.files_imported, movement.totals.files_skipped) == (
        0,
        0,
        3,
    )
    assert max(world.destination.loads.values()) == 1


@on_trio
async def test_a_repeated_movement_moves_exactly_what_changed() -> None:
    world = World({"a": table(*range(100))})
    await world.move()
    world.tables["a"][7] = "changed"
    del world.tables["a"][50]
    world.tables["a"][1000] = "new"
    world.tables["a"][-5] = "at the front"
    movement = await world.move()
    assert world.destination.tables == world.tables
    assert (movement.totals.upserts, movement.totals.deletes) == (3, 1)


@on_trio
async def test_a_table_that_goes_is_emptied_and_may_come_back() -> None:
    world = World({"a": table(*range(10)), "b": table(1)})
    await world.move()
    gone = world.tables.pop("a")
    assert (await world.move()).totals.deletes == 10
    assert world.destination.tables["a"] == {}
    assert (await world.move()).totals.files_exported == 0
    world.tables["a"] = gone
    await world.move()
    assert world.destination.tables["a"] == gone


@on_trio
async def test_streams_that_are_not_selected_stay_as_they_are() -> None:
    world = World({"a": table(1), "b": table(1)}, only=("a",))
    await world.move()
    assert world.destination.tables == {"a": table(1)}
    world.only, world.exclude = (), ("a",)
    world.tables["a"][2] = "unseen"
    movement = await world.move()
    assert world.destination.tables == {"a": table(1), "b": table(1)}
    assert movement.totals.files_skipped == 0
    world.exclude = ()
    assert (await world.move()).totals.upserts == 1
    assert world.destination.tables == world.tables


@on_trio
async def test_a_pattern_that_selects_nothing_is_the_users_mistake() -> None:
    world = World({"a": table(1)}, only=("x*",))
    with pytest.raises(ConfigurationError, match="'a'"):
        await world.move()


@on_trio
async def test_a_flow_keeps_its_two_places() -> None:
    world = World({"a": table(1)})
    await world.move()
    with pytest.raises(ConfigurationError, match="--flow"):
        await world.flows.connect(FLOW, "memory:other", "memory:destination")
    assert [flow.name for flow in await world.flows.list_flows()] == [FLOW]
    await world.flows.connect(FlowName("crm/2 ü"), "x", "y")
    assert [flow.name for flow in await world.flows.list_flows()] == [FLOW, "crm/2 ü"]


@on_trio
async def test_a_rejected_record_is_reported_and_the_rest_is_imported() -> None:
    world = World({"a": table(*range(10)), "b": table(1)})
    world.destination.rejects = lambda number, text: "CHECK failed" if number == 3 else None
    movement = await world.move()
    assert movement.status is Status.INCOMPLETE
    assert (movement.totals.rejected, movement.totals.upserts) == (1, 10)
    assert set(world.destination.tables["a"]) == set(range(10)) - {3}
    (failure,) = await world.flows.read_failures(FLOW, 1)
    assert (str(failure.file), failure.line, failure.key, failure.reason) == (
        "1/a/full/0",
        5,
        "[3]",
        "CHECK failed",
    )
    assert "line 5" in movement.problems[0]


@on_trio
async def test_a_rejected_record_stays_rejected_until_the_destination_accepts_it() -> None:
    world = World({"a": table(*range(10))})
    world.destination.rejects = lambda number, text: "CHECK failed" if number == 3 else None
    await world.move()
    assert (await world.move()).status is Status.INCOMPLETE
    world.destination.rejects = lambda number, text: None
    movement = await world.move()
    assert (movement.status, movement.totals.rejected, movement.totals.upserts) == (Status.SUCCESS, 0, 1)
    assert world.destination.tables == world.tables
    assert (await world.move()).totals.upserts == 0


@on_trio
async def test_a_damaged_event_file_stops_its_lane_alone_and_is_named() -> None:
    world = World({"a": table(*range(3)), "b": table(1)})
    world.destination.rejects = lambda number, text: None
    await world.move()
    world.destination.marks.clear()
    world.destination.tables.clear()
    (key,) = [info.key for info in await world.store.list_page("flows/crm/events/1/a/")]
    stored = (await world.store.get(key)).data
    await world.store.put(key, stored[:-1] + b"x", PutCondition.NONE)
    movement = await world.move()
    assert movement.status is Status.INCOMPLETE
    assert (movement.totals.files_failed, movement.totals.files_imported) == (1, 1)
    assert world.destination.tables == {"b": table(1)}
    assert key in movement.problems[0]
    await world.store.put(key, stored, PutCondition.NONE)
    assert (await world.move()).status is Status.SUCCESS
    assert world.destination.tables == world.tables


@on_trio
async def test_a_truncated_file_list_is_named() -> None:
    world = World({"a": table(1)})
    movement = await world.move()
    (key,) = movement.file_lists.values()
    stored = (await world.store.get(key)).data
    await world.store.put(key, stored[:-10], PutCondition.NONE)
    with pytest.raises(DamagedError, match=r"files\.1\.jsonl"):
        await world.move()


@on_trio
async def test_a_movement_past_its_lifetime_is_timed_out_and_followed_by_a_new_one() -> None:
    world = World({"a": table(1)})
    flow = await world.flows.connect(FLOW, "memory:source", "memory:destination")
    await begin_movement(world.flows, flow)
    await anyio.sleep(1)
    world.limits = dataclasses.replace(world.limits, lifetime_seconds=0.5)
    movement = await world.move()
    assert (movement.number, movement.status) == (2, Status.SUCCESS)
    assert (await world.flows.read_movement(FLOW, 1)).status is Status.TIMED_OUT


_values = st.text(max_size=5)
_tables = st.dictionaries(st.sampled_from("ab"), st.dictionaries(st.integers(0, 40), _values, max_size=25))


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(st.lists(_tables, min_size=1, max_size=5), st.integers(1, 6), st.integers(1, 5))
@on_trio
async def test_the_destination_equals_the_source_after_every_movement(
    states: list[Tables], file_rows: int, range_rows: int
) -> None:
    limits = Limits(event_file_rows=file_rows, range_rows=range_rows, sweep_seconds=1.0)
    world = World({}, limits=limits, allow_deletes=("*",))
    before: Tables = {}
    for state in states:
        world.tables = state
        movement = await world.move()
        assert movement.status is Status.SUCCESS
        filled = {name: rows for name, rows in world.destination.tables.items() if rows or name in state}
        assert filled == state
        assert movement.totals.upserts == sum(
            before.get(name, {}).get(number) != text for name, rows in state.items() for number, text in rows.items()
        )
        assert movement.totals.deletes == sum(
            number not in state.get(name, {}) for name, rows in before.items() for number in rows
        )
        before = {name: dict(rows) for name, rows in state.items()}
    assert set(world.destination.loads.values()) <= {1}


@on_trio
async def test_every_stored_event_file_is_reported_once() -> None:
    world = World({"a": table(*range(10))})
    await world.move()
    stored = [event.id.chunk for event in world.reporter.events if isinstance(event, EventFileStored)]
    assert stored == [0, 1]


@pytest.mark.parametrize("most", [200, 1_000_000])
async def test_few_lines_wait_to_be_compressed_however_long_that_takes(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Blocks the first compression until more lines wait than may; where all may wait, until more do than otherwise."""
    waiting: list[int] = []
    many = threading.Event()
    add, compress = ChunkWriter.add_upserts, EventFileWriter.compress

    def watched(self: ChunkWriter, lines: bytes, count: int, *, arrays: bool = False) -> None:
        add(self, lines, count, arrays=arrays)
        waiting.append(sum(map(len, self._uncompressed)))
        if waiting[-1] > min(most, 1000):
            many.set()

    def slowly(self: EventFileWriter, added: Sequence[bytes]) -> None:
        assert many.wait(60)
        compress(self, added)

    monkeypatch.setattr(chunk_writer, "MAX_UNCOMPRESSED_BYTES", most)
    monkeypatch.setattr(ChunkWriter, "add_upserts", watched)
    monkeypatch.setattr(EventFileWriter, "compress", slowly)
    world = World({"a": table(*range(90))}, limits=dataclasses.replace(SMALL, event_file_rows=1000))
    movement = await world.move()
    assert (movement.status, movement.totals.files_exported) == (Status.SUCCESS, 1)
    assert world.destination.tables == world.tables
    assert (max(waiting) < 500) == (most == 200)
