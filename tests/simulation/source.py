"""An app whose rows are numbered texts, and a source that reads them: interrupted, throttled, changing between attempts.

A text that begins with `file:` is the content of a Binary File: its upsert names the file, not the text.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from anyio.lowlevel import checkpoint

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import Label, StreamName
from pipeline.domain.schema import Column, StreamSchema
from pipeline.ports.ranged_source import Known
from pipeline.ports.source import RowBlock, Snapshot, StoreBinary
from tests.fakes.rows import MemoryBlock, Tables, copied, next_rows, upsert_line
from tests.simulation.faults import Kind
from tests.simulation.process import Process
from tests.simulation.store import READING

OPENING = (*READING, Kind.FAIL_AFTER)
FILE_PREFIX = "file:"
COLUMNS = (Column("number", "integer", nullable=False), Column("text", "text"), Column("file", "binary"))


@dataclass
class App:
    """What outlives processes: the tables, and to which group each belongs. `exists` says whether there is such an app."""

    tables: Tables
    labels: dict[str, str] = field(default_factory=dict)
    exists: bool = True
    location: str = "simulated:source"


def schema_of(app: App, name: str) -> StreamSchema:
    """The schema of a table of numbered texts."""
    return StreamSchema(StreamName(name), Label(app.labels.get(name, name)), COLUMNS, ("number",))


@dataclass
class SimulatedSource:
    """A Source in the hands of one process."""

    app: App
    process: Process
    block_rows: int = 3

    @property
    def location(self) -> str:
        return self.app.location

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[Snapshot]:
        async def work() -> Tables:
            await checkpoint()
            if not self.app.exists:
                raise ConfigurationError(f"There is no app at {self.location}.")
            return copied(self.app.tables)

        self.process.seen = await self.process.call("source.open_snapshot", work, OPENING)
        yield SimulatedSnapshot(self, copied(self.process.seen))


@dataclass
class SimulatedSnapshot:
    """The tables as they were."""

    source: SimulatedSource
    tables: Tables

    async def streams(self) -> Sequence[StreamSchema]:
        async def work() -> Sequence[StreamSchema]:
            await checkpoint()
            return [schema_of(self.source.app, name) for name in sorted(self.tables)]

        return await self.source.process.call("source.streams", work, READING)

    @asynccontextmanager
    async def open_rows(self, schema: StreamSchema) -> AsyncIterator[AsyncIterable[RowBlock]]:
        async with self.open_rows_along(schema, lambda ahead: None) as opened:
            yield opened

    @asynccontextmanager
    async def open_rows_along(self, schema: StreamSchema, known: Known) -> AsyncIterator[AsyncIterable[RowBlock]]:
        async with aclosing(self._blocks(schema.stream, known)) as opened:
            yield opened

    async def _blocks(self, stream: StreamName, known: Known) -> AsyncGenerator[RowBlock, None]:
        """Give the rows of a stream in blocks."""
        rows, size, start = sorted(self.tables[stream].items()), self.source.block_rows, 0
        while start < len(rows):
            block = SimulatedBlock(next_rows(rows[start:], known(0), size), stream, self.source.process)
            yield await self.source.process.call(f"source.rows {stream} from {start}", _given(block), READING)
            start += len(block)


def _given(block: RowBlock) -> Callable[[], Awaitable[RowBlock]]:
    async def work() -> RowBlock:
        await checkpoint()
        return block

    return work


@dataclass
class SimulatedBlock(MemoryBlock):
    """Rows as one process reads them."""

    stream: StreamName
    process: Process

    async def upserts(self, positions: Sequence[int], store_binary: StoreBinary) -> bytes:
        return await self.process.call(
            f"source.upserts {self.stream}", lambda: MemoryBlock.upserts(self, positions, store_binary), READING
        )

    async def line(self, number: int, text: str, store_binary: StoreBinary) -> bytes:
        row: dict[str, object] = {"number": number, "text": text}
        if text.startswith(FILE_PREFIX):
            row = {"number": number, "file": await store_binary(lambda: _opened(text.encode()))}
        return upsert_line(row)


@asynccontextmanager
async def _opened(content: bytes) -> AsyncIterator[AsyncIterable[bytes]]:
    async def pieces() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(content), 5):
            await checkpoint()
            yield content[start : start + 5]

    async with aclosing(pieces()) as opened:
        yield opened
