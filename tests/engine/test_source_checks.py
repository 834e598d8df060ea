"""A source that breaks a rule of its port is named, and nothing of its stream is deleted or lost."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random

import pytest

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import Label
from pipeline.domain.keys import Key
from pipeline.domain.movement import Movement, Status
from pipeline.domain.schema import Column, StreamSchema
from pipeline.engine.movers.mover import Mover
from pipeline.ports.source import RowBlock, Snapshot, UpsertSink
from tests.engine.mover_world import FLOW
from tests.engine.wider_world import WiderWorld, numbered
from tests.fakes.rows import MemoryBlock, Table, schema_of
from tests.loops import on_trio

Rows = Sequence[tuple[int, str]]


@dataclass
class BlockSource:
    """A source whose streams and blocks are exactly these, right or wrong."""

    blocks: Sequence[RowBlock]
    schemas: Sequence[StreamSchema] = field(default_factory=lambda: [schema_of("a")])
    location: str = "memory:source"

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[Snapshot]:
        yield self

    async def streams(self) -> Sequence[StreamSchema]:
        return self.schemas

    @asynccontextmanager
    async def open_rows(self, schema: StreamSchema) -> AsyncIterator[AsyncIterable[RowBlock]]:
        async def blocks() -> AsyncGenerator[RowBlock, None]:
            for block in self.blocks:
                yield block

        async with aclosing(blocks()) as opened:
            yield opened


@dataclass
class WrongLastKey(MemoryBlock):
    """Says that its last row is its first."""

    def last_key(self) -> Key:
        return self.keys()[0]


@dataclass
class FewHashes(MemoryBlock):
    """Forgets the hash of its last row."""

    def row_hashes(self) -> bytes:
        return super().row_hashes()[:-8]


@dataclass
class FewLines(MemoryBlock):
    """Forgets the line of the last row that it is asked for."""

    async def upserts(self, positions: Sequence[int], sink: UpsertSink) -> bytes:
        return await super().upserts(positions[:-1], sink)


def cut(rows: Rows, size: int = 3) -> list[RowBlock]:
    """Cut rows into blocks."""
    return [MemoryBlock(rows[start : start + size]) for start in range(0, len(rows), size)]


async def move(world: WiderWorld, blocks: Sequence[RowBlock], schemas: Sequence[StreamSchema] = ()) -> Movement:
    """Move what a BlockSource gives."""
    source = BlockSource(blocks, schemas or [schema_of("a")])
    return await Mover(world.context(), FLOW, source, world.destination, "worker").run()


async def moved(rows: Table) -> WiderWorld:
    """Return a world in which these rows of the stream `a` have been moved."""
    world = WiderWorld({"a": dict(rows)})
    await move(world, cut(sorted(rows.items())))
    assert world.destination.tables == world.tables
    return world


ROWS = sorted(numbered(*range(20)).items())
BROKEN = {
    "a block before the one before": ([*cut(ROWS[6:]), *cut(ROWS[:6])], r"key \[[02]\] came after key \[19\]"),
    "two blocks changed places": ([*cut(ROWS[:3]), *cut(ROWS[6:9]), *cut(ROWS[3:6])], r"key \[[35]\] came after key \[8\]"),
    "a row in the wrong block": ([*cut(ROWS[:3]), *cut([ROWS[1], *ROWS[3:]])], r"\[1\] came after key \[2\]"),
    "rows of a block changed places": ([MemoryBlock([ROWS[0], ROWS[2], ROWS[1], ROWS[3]])], r"\[1\] came after key \[2\]"),
    "a key twice in a block": ([MemoryBlock([ROWS[0], ROWS[1], ROWS[1]])], r"key \[1\] came twice"),
    "a key twice in two blocks": ([*cut(ROWS[:3]), *cut(ROWS[2:])], r"key \[2\] came twice"),
    "a block twice": ([*cut(ROWS[:3]), *cut(ROWS[:3])], r"key \[0\] came after key \[2\]"),
    "a block without rows": ([MemoryBlock([])], "it gave a block without rows"),
    "a wrong last key": ([WrongLastKey(ROWS)], r"last key is \[0\], and its last row has key \[19\]"),
    "fewer hashes than rows": ([FewHashes(ROWS)], "20 rows, 20 keys and 19 hashes"),
    "fewer lines than rows": ([FewLines(ROWS)], r"\d+ rows came with \d+ lines"),
}  # fmt: skip


@pytest.mark.parametrize(("blocks", "message"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("before", [{}, dict(ROWS), numbered(*range(20), text="other")], ids=["new", "same", "other"])
@on_trio
async def test_a_source_that_breaks_a_rule_is_named_and_nothing_is_deleted(
    blocks: Sequence[RowBlock], message: str, before: Table
) -> None:
    if "lines" in message and before == dict(ROWS):
        pytest.skip("no line is asked for")
    world = await moved(before)
    for _ in range(2):
        movement = await move(world, blocks)
        assert movement.status is Status.INCOMPLETE
        assert re.search(message, movement.problems[0])
        assert world.destination.tables.get("a", {}).keys() >= before.keys()


@on_trio
async def test_an_unsorted_source_loses_no_rows() -> None:
    """Silently, a diff of an unsorted source would delete each row that comes late."""
    documents = sorted(numbered(*range(3000)).items())
    world = await moved(dict(documents))
    Random(7).shuffle(documents)
    assert "must be unique and in ascending order" in (await move(world, cut(documents, 100))).problems[0]
    assert len(world.destination.tables["a"]) == 3000


@on_trio
async def test_a_source_that_breaks_a_rule_once_is_moved_right_afterwards() -> None:
    world = await moved(dict(ROWS))
    changed = numbered(*range(20), text="changed")
    wrong = [*cut(sorted(changed.items())[6:]), *cut(sorted(changed.items())[:6])]
    assert (await move(world, wrong)).status is Status.INCOMPLETE
    await move(world, cut(sorted(changed.items())))
    assert world.destination.tables == {"a": changed}


@on_trio
async def test_a_stream_keeps_its_label() -> None:
    world = await moved(dict(ROWS))
    with pytest.raises(ConfigurationError, match="'a' has the label 'b', and 'a' in earlier Movements"):
        await move(world, cut(ROWS), [replace(schema_of("a"), label=Label("b"))])


@pytest.mark.parametrize(
    ("schemas", "message"),
    [
        ([schema_of("a"), schema_of("a")], "stream 'a' twice"),
        ([replace(schema_of("a"), primary_keys=())], "stream 'a' has no primary key"),
        ([replace(schema_of("a"), primary_keys=("id",))], "primary key of stream 'a' names columns that it does not have: id"),
        ([replace(schema_of("a"), primary_keys=("number", "number"))], "names a column twice"),
        ([replace(schema_of("a"), columns=(Column("number", "integer"),) * 2)], "stream 'a' has a column twice"),
    ],
)  # fmt: skip
@on_trio
async def test_streams_that_cannot_be_told_apart_are_named_before_anything_is_created(
    schemas: Sequence[StreamSchema], message: str
) -> None:
    world = WiderWorld({})
    with pytest.raises(ConfigurationError, match=message):
        await move(world, [], schemas)
    assert await world.flows.list_flows() == []
