"""A source and a destination in memory, and a process that can die at any call of a port."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import anyio
import anyio.lowlevel
import orjson

from pipeline.codec.values import key_text
from pipeline.domain.comparison.diff import count_up_to
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import EventFileId, FlowName, Label, StreamName
from pipeline.domain.keys import Key, order
from pipeline.domain.planning.import_guard import reason_to_give_way
from pipeline.domain.schema import Column, StreamSchema
from pipeline.ports.destination import (
    DestinationSession,
    FileToLoad,
    GaveWay,
    Loaded,
    LoadOutcome,
    Mark,
    Rejection,
    Violation,
)
from pipeline.ports.ranged_source import Known, KnownRange
from pipeline.ports.source import RowBlock, Snapshot, StoreBinary

T = TypeVar("T")
Table = dict[int, str]
Tables = dict[str, Table]
Rejected = dict[tuple[str, int], tuple[Rejection, str]]


class CrashError(BaseException):
    """The process has died."""


@dataclass
class Faults:
    """Counts the calls of ports, and dies before (even number) or after (odd number) a call, or at a call by its name."""

    crash_at: int | None = None
    crash_on: str | None = None
    calls: int = 0
    dead: bool = False
    trace: list[str] = field(default_factory=list)

    def _moment(self, name: str) -> None:
        if self.dead:
            raise CrashError(name)
        self.trace.append(name)
        if self.calls == self.crash_at or name == self.crash_on:
            self.dead = True
            raise CrashError(name)
        self.calls += 1

    async def call(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        """Await `work`; the process may die before it or right after it."""
        self._moment(f"before {name}")
        result = await work()
        self._moment(f"after {name}")
        return result


@dataclass
class ManualClock:
    """A clock that advances by a millisecond whenever it is read."""

    moment: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        """Return the present moment."""
        self.moment += timedelta(milliseconds=1)
        return self.moment


@dataclass
class MemoryBlock:
    """Rows `(number, text)` of a table with key `number`."""

    rows: Sequence[tuple[int, str]]

    def __len__(self) -> int:
        return len(self.rows)

    def keys(self) -> Sequence[Key]:
        return [(number,) for number, _ in self.rows]

    def digest(self) -> bytes:
        return hashlib.blake2b(self.row_hashes(), digest_size=16).digest()

    def last_key(self) -> Key:
        return (self.rows[-1][0],)

    def row_hashes(self) -> bytes:
        return b"".join(hashlib.blake2b(repr(row).encode(), digest_size=8).digest() for row in self.rows)

    async def upserts(self, positions: Sequence[int], store_binary: StoreBinary) -> bytes:
        await anyio.lowlevel.checkpoint()
        return b"".join(
            orjson.dumps({"upsert": {"number": self.rows[at][0], "text": self.rows[at][1]}}) + b"\n" for at in positions
        )


@dataclass
class MemorySource:
    """Tables of numbered texts. A snapshot is a copy."""

    tables: Tables
    faults: Faults = field(default_factory=Faults)
    block_rows: int = 3
    location: str = "memory:source"
    exists: bool = True

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[Snapshot]:
        if not self.exists:
            raise ConfigurationError(f"{self.location} does not exist")
        copy = {name: dict(table) for name, table in self.tables.items()}
        yield await self.faults.call("source.open_snapshot", lambda: _soon(_MemorySnapshot(copy, self)))


async def _soon(value: T) -> T:
    await anyio.lowlevel.checkpoint()
    return value


@dataclass
class _MemorySnapshot:
    tables: Tables
    source: MemorySource

    async def streams(self) -> Sequence[StreamSchema]:
        return [schema_of(name) for name in sorted(self.tables)]

    @asynccontextmanager
    async def open_rows(self, schema: StreamSchema) -> AsyncIterator[AsyncIterable[RowBlock]]:
        async with self.open_rows_along(schema, lambda ahead: None) as opened:
            yield opened

    @asynccontextmanager
    async def open_rows_along(self, schema: StreamSchema, known: Known) -> AsyncIterator[AsyncIterable[RowBlock]]:
        rows = sorted(self.tables[schema.stream].items(), key=lambda row: order((row[0],)))

        async def blocks() -> AsyncGenerator[RowBlock, None]:
            at = 0
            while at < len(rows):
                block = MemoryBlock(cut(rows[at:], known(0), self.source.block_rows))
                at += len(block)
                yield await self.source.faults.call("source.rows", lambda block=block: _soon(block))  # type: ignore[misc]

        async with aclosing(blocks()) as opened:
            yield opened


def cut(rows: Sequence[tuple[int, str]], known: KnownRange | None, most: int) -> Sequence[tuple[int, str]]:
    """Return the rows of the next block: `most`, or the known ones if these are not twice as many."""
    wished = 0 if known is None else count_up_to([(number,) for number, _ in rows], known.until)
    return rows[: wished if 0 < wished <= 2 * most else most]


def schema_of(name: str) -> StreamSchema:
    """Return the schema of a table of numbered texts. Each table is a group."""
    columns = (Column("number", "integer", nullable=False), Column("text", "text"))
    return StreamSchema(StreamName(name), Label(name), columns, ("number",))


@dataclass
class MemoryDestination:
    """Tables and marks that change together. `refuses` returns why a row is rejected, or None."""

    tables: Tables = field(default_factory=dict)
    marks: dict[FlowName, dict[EventFileId, Mark]] = field(default_factory=lambda: defaultdict(dict))
    loads: Counter[EventFileId] = field(default_factory=Counter)
    faults: Faults = field(default_factory=Faults)
    refuses: Callable[[int, str], str | None] = lambda number, text: None
    rejected: dict[FlowName, Rejected] = field(default_factory=lambda: defaultdict(dict))
    location: str = "memory:destination"
    can_be_made: bool = True

    def marked(self) -> set[EventFileId]:
        """Return the Event Files that any Flow has imported."""
        return {file for marks in self.marks.values() for file in marks}

    @asynccontextmanager
    async def open(self, flow: FlowName) -> AsyncIterator[DestinationSession]:
        if not self.can_be_made:
            raise ConfigurationError(f"{self.location} cannot be made")
        yield _MemorySession(self, flow)


@dataclass
class _MemorySession:
    at: MemoryDestination
    flow: FlowName

    async def marks(self) -> Mapping[EventFileId, Mark]:
        return await self.at.faults.call("destination.marks", lambda: _soon(dict(self.at.marks[self.flow])))

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        records = [orjson.loads(line) async for block in file.blocks for line in block.splitlines()]

        async def commit() -> LoadOutcome:
            await anyio.lowlevel.checkpoint()
            marks, id_ = self.at.marks[self.flow], file.entry.id
            latest = max((mark.movement for other, mark in marks.items() if other.stream == id_.stream), default=0)
            reason = reason_to_give_way(id_, file.movement, after, marked=marks, latest_movement=latest)
            return self._apply(file, records) if reason is None else GaveWay(reason)

        return await self.at.faults.call(f"destination.load {file.entry.id}", commit)

    def _apply(self, file: FileToLoad, records: Sequence[dict[str, dict[str, object]]]) -> Loaded:
        table = self.at.tables.setdefault(file.entry.id.stream, {})
        rejected = self.at.rejected[self.flow]
        rejections: list[Rejection] = []
        for line, record in enumerate(records, start=2):
            ((kind, row),) = record.items()
            number = int(str(row["number"]))
            place = (str(file.entry.id.stream), number)
            rejected.pop(place, None)
            if kind == "delete":
                table.pop(number, None)
            elif reason := self.at.refuses(number, str(row["text"])):
                rejections.append(Rejection(file.entry.id, line, key_text((number,)), reason))
                rejected[place] = (rejections[-1], str(row["text"]))
            else:
                table[number] = str(row["text"])
        deletes = sum("delete" in record for record in records)
        mark = Mark(len(records) - deletes - len(rejections), deletes, rejected=len(rejections), movement=file.movement)
        self.at.marks[self.flow][file.entry.id] = mark
        self.at.loads[file.entry.id] += 1
        return Loaded(mark, tuple(rejections))

    async def retry_rejected(self) -> Sequence[Rejection]:
        rejected = self.at.rejected[self.flow]
        for (stream, number), (_, text) in list(rejected.items()):
            if self.at.refuses(number, text) is None:
                self.at.tables[stream][number] = text
                del rejected[stream, number]
        return [rejection for rejection, _ in rejected.values()]

    async def finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        return await self.at.faults.call("destination.finish", lambda: _soon([]))
