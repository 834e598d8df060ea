"""An app in memory, and the source that reads it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from anyio.lowlevel import checkpoint

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import StreamSchema
from pipeline.ports.ranged_source import Known
from pipeline.ports.source import RowBlock, Snapshot
from pipeline.testing.simulated.calls import UNHINDERED, Calls, value
from tests.fakes.rows import IsFile, MemoryBlock, Rejects, Tables, copied, next_rows, nothing, schema_of


@dataclass
class MemorySource:
    """Tables of numbered texts. A snapshot is a copy.

    Copies made with `replace` share the tables, so that each process can have `calls` of its own. `labels` names the
    group of a table that is not one of its own. With `is_file`, tables have a column of Binary Files. `rejects` says
    which rows cannot be given, `fails` what reading a table raises after its rows. `extra` is the number of further columns
    of a table, which are NULL in every row. `on_snapshot` is given the tables of each snapshot.
    """

    tables: Tables
    calls: Calls = UNHINDERED
    block_rows: int = 3
    location: str = "memory:source"
    exists: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)
    is_file: IsFile | None = None
    rejects: Rejects = nothing
    fails: Mapping[str, Exception] = field(default_factory=dict)
    extra: dict[str, int] = field(default_factory=dict)
    on_snapshot: Callable[[Tables], None] = lambda tables: None

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[Snapshot]:
        async def work() -> tuple[Tables, dict[str, int]]:
            await checkpoint()
            if not self.exists:
                raise ConfigurationError(f"There is no app at {self.location}.")
            return copied(self.tables), dict(self.extra)

        tables, extra = await self.calls.call("source.open_snapshot", work)
        self.on_snapshot(copied(tables))
        yield _MemorySnapshot(self, tables, extra)


@dataclass
class _MemorySnapshot:
    source: MemorySource
    tables: Tables
    extra: Mapping[str, int]

    async def streams(self) -> Sequence[StreamSchema]:
        labels, has_files = self.source.labels, self.source.is_file is not None
        schemas = [
            schema_of(name, label=labels.get(name), has_files=has_files, extra=self.extra.get(name, 0))
            for name in sorted(self.tables)
        ]
        return await self.source.calls.call("source.streams", value(schemas))

    @asynccontextmanager
    async def open_rows(self, schema: StreamSchema) -> AsyncIterator[AsyncIterable[RowBlock]]:
        async with self.open_rows_along(schema, lambda ahead: None) as opened:
            yield opened

    @asynccontextmanager
    async def open_rows_along(self, schema: StreamSchema, known: Known) -> AsyncIterator[AsyncIterable[RowBlock]]:
        async with aclosing(self._blocks(schema.stream, known)) as opened:
            yield opened

    async def _blocks(self, stream: StreamName, known: Known) -> AsyncGenerator[RowBlock, None]:
        rows, source, start = sorted(self.tables[stream].items()), self.source, 0
        while start < len(rows):
            part = next_rows(rows[start:], known(0), source.block_rows)
            block = MemoryBlock(part, stream, source.calls, source.is_file, source.rejects, self.extra.get(stream, 0))
            yield await source.calls.call(f"source.rows {stream} from {start}", value(block))
            start += len(part)
        if stream in source.fails:
            raise source.fails[stream]
