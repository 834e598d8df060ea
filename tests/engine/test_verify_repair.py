"""A repair moves exactly what differs, by an ordinary Movement, and leaves nothing for the next one to do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.errors import TransientError
from pipeline.domain.movement import Movement
from pipeline.engine.verify import repair
from pipeline.engine.verify.verifier import VerifyRequest
from pipeline.testing.simulated.calls import Faults
from tests.engine.mover_world import FLOW
from tests.engine.verified_world import VerifiedWorld, numbered
from tests.engine.wider_world import abandon, may_crash
from tests.fakes.rows import Table
from tests.loops import on_trio

_tables = st.dictionaries(st.integers(0, 30), st.sampled_from("ab"))


def records(movement: Movement) -> tuple[int, int]:
    """How many upserts and deletes a Movement imported."""
    return movement.totals.upserts, movement.totals.deletes


@settings(max_examples=60, deadline=None)
@given(_tables, _tables)
@on_trio
async def test_a_repair_moves_exactly_what_differs(source: Table, there: Table) -> None:
    world = VerifiedWorld({"users": dict(source), "pets": numbered(1, 2)})
    await world.move()
    world.destination.tables["users"] = dict(there)
    if (await world.verify()).equal:
        return
    repaired = await world.repair()
    assert repaired.status == "SUCCESS"
    wrong = sum(there.get(key) != text for key, text in source.items())
    assert records(repaired) == (wrong, len(there.keys() - source.keys()))
    assert world.destination.tables["users"] == source
    assert (await world.verify()).equal
    again = await world.move()
    assert (again.totals.files_exported, records(again)) == (0, (0, 0))


@settings(max_examples=40, deadline=None)
@given(_tables, _tables, _tables, st.integers(0, 60))
@on_trio
async def test_a_repair_that_crashes_is_resumed_by_the_next_move(
    moved: Table, now: Table, there: Table, crash: int
) -> None:
    world = VerifiedWorld({"users": dict(moved)}, allow_deletes=("users",))
    await world.move()
    world.tables["users"] = dict(now)
    world.destination.tables["users"] = dict(there)
    if (await world.verify()).equal:
        return
    with may_crash():
        await world.repair(Faults(crash_at=crash))
    await world.move()
    if not (await world.verify()).equal:  # it had died before it began
        await world.repair()
    assert world.destination.tables["users"] == now
    assert (await world.verify()).equal
    assert (await world.move()).totals.files_exported == 0


@on_trio
async def test_an_extra_row_after_many_missing_ones_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "RANGE_ROWS", 2)
    world = VerifiedWorld({"users": numbered(1, 2, 3)})
    await world.move()
    world.tables["users"] = numbered(*range(10))
    world.destination.tables["users"][99] = "extra"
    await world.repair()
    assert world.destination.tables["users"] == world.tables["users"]


@on_trio
async def test_streams_without_differences_are_not_touched() -> None:
    world = VerifiedWorld({"users": numbered(1, 2), "pets": numbered(1), "[u]*?": numbered(1)})
    await world.move()
    world.tables["pets"][9] = "new"
    world.destination.tables["[u]*?"].clear()
    repaired = await world.repair(request=VerifyRequest(streams=("[[]u]*",)))
    assert records(repaired) == (1, 0)
    assert 9 not in world.destination.tables["pets"]
    assert records(await world.move()) == (1, 0)


@on_trio
async def test_an_absent_stream_is_created_again_with_or_without_rows() -> None:
    world = VerifiedWorld({"users": numbered(1, 2), "empty": {}})
    await world.move()
    world.destination.tables.clear()
    assert records(await world.repair()) == (2, 0)
    assert world.destination.tables == world.tables
    assert (await world.verify()).equal
    assert (await world.move()).totals.files_exported == 0


@on_trio
async def test_remaining_rows_of_a_stream_that_is_gone_are_deleted() -> None:
    world = VerifiedWorld({"users": numbered(1), "pets": numbered(1, 2)})
    await world.move()
    del world.tables["pets"]
    await world.move()
    world.destination.tables["pets"][7] = "left"
    assert records(await world.repair()) == (0, 1)
    assert (await world.verify()).equal


@on_trio
async def test_a_rejected_record_is_tried_again_and_stays_known() -> None:
    world = VerifiedWorld({"users": numbered(*range(6))})
    world.destination.rejects = lambda number, text: "no threes" if number == 3 else None
    await world.move()
    assert (await world.repair()).status == "INCOMPLETE"
    (report,) = (await world.verify()).streams
    assert (report.missing, report.rejected) == (1, 1)
    world.destination.rejects = lambda number, text: None
    assert (await world.repair()).status == "SUCCESS"
    assert (await world.verify()).equal


@on_trio
async def test_a_movement_must_settle_before_a_repair() -> None:
    world = VerifiedWorld({"users": numbered(*range(9))})
    await world.move()
    world.tables["users"][10] = "new"
    with may_crash():
        await world.move(Faults(crash_on="before queue.send"))
    with pytest.raises(TransientError, match="has not settled"):
        await world.repair()
    await world.move()
    assert (await world.verify()).equal


@on_trio
async def test_a_repair_includes_the_files_listed_by_an_unfinished_export() -> None:
    world = VerifiedWorld({"a": numbered(*range(40))})
    await abandon(world)
    assert 1 in world.destination.tables["a"]
    del world.tables["a"][1]
    await world.repair()
    assert (await world.verify()).equal


@on_trio
async def test_history_with_a_repair_in_it_brings_a_later_destination_to_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(repair, "RANGE_ROWS", 4)  # more differences in one range than are held at once
    world = VerifiedWorld({"users": numbered(*range(0, 40, 2))})
    await world.move()
    world.destination.tables["users"] = numbered(*range(1, 60, 2))
    repaired = await world.repair()
    assert records(repaired) == (20, 30)
    assert world.destination.tables == world.tables
    marks = len(world.destination.marked())
    world.destination.marks.clear()
    world.destination.tables.clear()
    await world.move()
    assert world.destination.tables == world.tables
    assert len(world.destination.marked()) == marks
    assert (await world.flows.read_flow(FLOW)).movements == 3
