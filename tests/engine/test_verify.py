"""A verification says exactly where destination and source differ, and reads both once in constant memory."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.comparison.report import Against, Finding, StreamReport
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import StreamName
from pipeline.domain.keys import Key
from pipeline.engine.verify.stream_comparison import DifferenceSink, StreamComparison
from pipeline.engine.verify.verifier import VerifyRequest
from pipeline.ports.ranged_source import Known
from pipeline.ports.source import RowBlock
from tests.engine.mover_world import FLOW
from tests.engine.verified_world import VerifiedWorld, numbered
from tests.fakes.rows import MemoryBlock, Table
from tests.loops import on_trio

_tables = st.dictionaries(st.integers(0, 30), st.sampled_from("ab"))


@on_trio
async def test_after_a_movement_all_is_equal() -> None:
    world = VerifiedWorld({"users": numbered(*range(20)), "empty": {}})
    await world.move()
    found = await world.verify()
    assert found.equal
    assert [(s.stream, s.source.rows, s.destination.rows) for s in found.streams] == [
        ("empty", 0, 0),
        ("users", 20, 20),
    ]
    assert all(stream.source.digest == stream.destination.digest for stream in found.streams)
    assert (found.movement.number, found.movement.status) == (1, "SUCCESS")


@settings(max_examples=60, deadline=None)
@given(_tables, _tables, st.integers(1, 7))
@on_trio
async def test_every_difference_is_found_and_no_other(source: Table, there: Table, block_rows: int) -> None:
    world = VerifiedWorld({"users": dict(source)}, block_rows=block_rows)
    await world.move()
    world.destination.tables["users"] = dict(there)
    found_keys: list[tuple[Key, Finding]] = []
    found = await world.verify(note=lambda stream, difference: found_keys.append((difference.key, difference.finding)))
    expected = [
        ((key,), Finding.EXTRA if key not in source else Finding.MISSING if key not in there else Finding.DIFFERENT)
        for key in sorted(source.keys() | there.keys())
        if source.get(key) != there.get(key)
    ]
    assert found_keys == expected
    (report,) = found.streams
    assert report.differences == len(expected)
    assert found.equal == (source == there)
    assert (report.source.digest == report.destination.digest) == (source == there)
    assert (report.source.rows, report.destination.rows) == (len(source), len(there))


@on_trio
async def test_the_report_names_key_columns_and_range() -> None:
    world = VerifiedWorld({"users": numbered(*range(30))})
    await world.move()
    world.destination.tables["users"][13] = "other"
    del world.destination.tables["users"][14]
    (report,) = (await world.verify()).streams
    assert [(d.key, d.finding, d.columns) for d in report.examples] == [
        ((13,), Finding.DIFFERENT, ("text",)),
        ((14,), Finding.MISSING, ()),
    ]
    assert 0 < report.ranges_differing < report.ranges
    for one in report.differing:
        assert one.source.digest != one.destination.digest
        assert one.after is None or one.after < (14,)
        assert one.until is not None


@on_trio
async def test_many_differences_are_counted_and_the_first_are_named() -> None:
    world = VerifiedWorld({"users": numbered(*range(100))})
    await world.move()
    world.destination.tables["users"] = numbered(*range(100), text="other")
    (report,) = (await world.verify(VerifyRequest(examples=5))).streams
    assert (report.different, report.missing, report.extra, len(report.examples)) == (100, 0, 0, 5)


@on_trio
async def test_a_stream_that_the_destination_lacks_is_absent_even_if_it_has_no_rows() -> None:
    world = VerifiedWorld({"users": numbered(1), "empty": {}})
    await world.move()
    world.destination.tables.clear()
    found = await world.verify()
    assert [(s.stream, s.absent, s.equal, s.missing) for s in found.streams] == [
        ("empty", True, False, 0),
        ("users", True, False, 1),
    ]


@on_trio
async def test_a_stream_that_the_source_no_longer_has_must_be_empty_at_the_destination() -> None:
    world = VerifiedWorld({"users": numbered(1), "pets": numbered(1, 2)})
    await world.move()
    del world.tables["pets"]
    found = await world.verify()
    assert [(s.stream, s.gone, s.extra) for s in found.differing] == [("pets", True, 2)]
    await world.move()
    assert (await world.verify()).equal


@on_trio
async def test_streams_that_the_flow_does_not_move_are_named_and_not_compared() -> None:
    world = VerifiedWorld({"users": numbered(1), "logs": numbered(1)}, exclude=("logs",))
    await world.move()
    world.destination.tables["own"] = numbered(1)
    found = await world.verify()
    assert found.equal
    assert [stream.stream for stream in found.streams] == ["users"]
    assert (found.not_selected, found.only_at_destination) == (("logs",), ("own",))


@on_trio
async def test_the_only_option_of_one_movement_does_not_limit_the_flow() -> None:
    world = VerifiedWorld({"users": numbered(1), "pets": numbered(1)})
    await world.move()
    world.only = ("pets",)
    await world.move()
    world.destination.tables["users"].clear()
    assert [stream.stream for stream in (await world.verify()).differing] == ["users"]


@on_trio
async def test_a_new_table_at_the_source_is_a_difference() -> None:
    world = VerifiedWorld({"users": numbered(1)})
    await world.move()
    world.tables["pets"] = numbered(1, 2, 3)
    (report,) = (await world.verify()).differing
    assert (report.stream, report.absent, report.missing) == ("pets", True, 3)


@on_trio
async def test_only_the_streams_asked_for_are_compared() -> None:
    world = VerifiedWorld({"users": numbered(1), "pets": numbered(1)})
    await world.move()
    found = await world.verify(VerifyRequest(streams=("u*",)))
    assert [stream.stream for stream in found.streams] == ["users"]
    with pytest.raises(ConfigurationError, match="No stream of this Flow matches 'typo'"):
        await world.verify(VerifyRequest(streams=("typo",)))


@on_trio
async def test_rejected_records_are_known_differences() -> None:
    world = VerifiedWorld({"users": numbered(*range(6))})
    world.destination.rejects = lambda number, text: "no threes" if number == 3 else None
    await world.move()
    world.tables["users"][5] = "changed"
    await world.move()  # the record is still set aside, by an earlier Movement
    del world.destination.tables["users"][1]
    (report,) = (await world.verify()).streams
    assert (report.missing, report.rejected) == (2, 1)
    assert [(d.key, d.rejected) for d in report.examples] == [((1,), None), ((3,), "no threes")]


@on_trio
async def test_the_source_is_not_read_when_the_stored_state_is_compared() -> None:
    world = VerifiedWorld({"users": numbered(*range(20))})
    await world.move()
    world.tables["users"] = numbered(*range(50), text="changed")
    stored = VerifyRequest(against=Against.STORED)
    assert (await world.verify(stored)).equal
    assert not (await world.verify()).equal
    world.destination.tables["users"][7] = "changed there"
    (report,) = (await world.verify(stored)).differing
    assert [(d.key, d.finding) for d in report.examples] == [((7,), Finding.DIFFERENT)]


@on_trio
async def test_a_flow_without_a_movement_is_a_configuration_error() -> None:
    world = VerifiedWorld({"users": {}})
    await world.flows.connect(FLOW, "memory:source", "memory:destination")
    with pytest.raises(ConfigurationError, match="has no Movement yet"):
        await world.verify()


@dataclass
class _Counted:
    """Gives `count` rows in blocks of 10, and counts how many blocks are alive at once."""

    count: int
    text: str
    alive: int = 0
    most_alive: int = 0
    blocks: list[weakref.ref[MemoryBlock]] = field(default_factory=list)

    @asynccontextmanager
    async def open(self, known: Known | None = None) -> AsyncIterator[AsyncIterable[RowBlock]]:
        async def blocks() -> AsyncGenerator[RowBlock, None]:
            for start in range(0, self.count, 10):
                await anyio.lowlevel.checkpoint()
                yield self._block([(number, self.text) for number in range(start, start + 10)])

        async with aclosing(blocks()) as opened:
            yield opened

    def _block(self, rows: Sequence[tuple[int, str]]) -> RowBlock:
        block = MemoryBlock(rows)
        self.alive += 1
        self.most_alive = max(self.most_alive, self.alive)
        weakref.finalize(block, self._gone)
        return block

    def _gone(self) -> None:
        self.alive -= 1


@pytest.mark.parametrize("text", ["same", "other"])
@on_trio
async def test_few_blocks_are_in_memory_however_many_rows_there_are(text: str) -> None:
    source, copy = _Counted(5_000, "same"), _Counted(5_000, text)
    kept: list[int] = []

    sink = DifferenceSink(keep=3, note=lambda difference: kept.append(1))
    report = await StreamComparison(StreamReport(StreamName("t")), None, sink).run(source.open(), copy.open)
    assert report.differences == len(kept) == (0 if text == "same" else 5_000)
    assert len(report.examples) <= 3
    assert len(report.differing) <= 100
    assert max(source.most_alive, copy.most_alive) <= 3
