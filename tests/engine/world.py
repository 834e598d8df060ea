"""A source and a destination in memory, and a process that can die at any call of a port."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import anyio
import anyio.lowlevel

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import EventFileId, FlowName, Label, StreamName
from pipeline.domain.keys import order
from pipeline.domain.schema import Column, StreamSchema
from pipeline.ports.destination import (
    DestinationSession,
    FileToLoad,
    LoadOutcome,
    Mark,
    Rejection,
    Violation,
)
from pipeline.ports.ranged_source import Known
from pipeline.ports.source import RowBlock, Snapshot
from tests.fakes.place import Place, records_of
from tests.fakes.rows import MemoryBlock, Tables, copied, next_rows

T = TypeVar("T")


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
        snapshot = _MemorySnapshot(copied(self.tables), self)
        yield await self.faults.call("source.open_snapshot", lambda: _soon(snapshot))


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
                block = MemoryBlock(next_rows(rows[at:], known(0), self.source.block_rows))
                at += len(block)
                yield await self.source.faults.call("source.rows", lambda block=block: _soon(block))  # type: ignore[misc]

        async with aclosing(blocks()) as opened:
            yield opened


def schema_of(name: str) -> StreamSchema:
    """Return the schema of a table of numbered texts. Each table is a group."""
    columns = (Column("number", "integer", nullable=False), Column("text", "text"))
    return StreamSchema(StreamName(name), Label(name), columns, ("number",))


@dataclass
class MemoryDestination(Place):
    """A Place that one process opens as its destination."""

    faults: Faults = field(default_factory=Faults)

    @asynccontextmanager
    async def open(self, flow: FlowName) -> AsyncIterator[DestinationSession]:
        if not self.can_be_made:
            raise ConfigurationError(f"{self.location} cannot be made")
        yield MemorySession(self, flow)


@dataclass
class MemorySession:
    """An open MemoryDestination."""

    at: MemoryDestination
    flow: FlowName

    async def marks(self) -> Mapping[EventFileId, Mark]:
        return await self.at.faults.call("destination.marks", lambda: _soon(dict(self.at.marks[self.flow])))

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        records = await records_of(file)

        async def work() -> LoadOutcome:
            await anyio.lowlevel.checkpoint()
            return self.at.load(self.flow, file, records, after)

        return await self.at.faults.call(f"destination.load {file.entry.id}", work)

    async def retry_rejected(self) -> Sequence[Rejection]:
        return self.at.retry_rejected(self.flow)

    async def finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        return await self.at.faults.call("destination.finish", lambda: _soon([]))
