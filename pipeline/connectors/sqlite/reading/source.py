"""An SQLite database as a source: its tables, in one read transaction."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence, Set
from contextlib import ExitStack, aclosing, asynccontextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import apsw
from anyio.to_thread import run_sync

from pipeline.connectors.sql.schema_objects import SchemaObject
from pipeline.connectors.sql.schema_stream import blocks_of, schema_stream
from pipeline.connectors.sqlite.connection import (
    BUSY_TIMEOUT_SECONDS,
    ensure_untouched,
    location_of,
    open_reader,
)
from pipeline.connectors.sqlite.reading.key_order import register_order
from pipeline.connectors.sqlite.reading.rows import Opened, TableReading, read_blocks
from pipeline.connectors.sqlite.schema.indexes import broken_keys
from pipeline.connectors.sqlite.schema.objects import TECHNOLOGY, read_objects, unmovable_table
from pipeline.connectors.sqlite.schema.row_estimates import row_estimates
from pipeline.connectors.sqlite.schema.streams import read_definitions, stream_schema
from pipeline.connectors.sqlite.schema.tables import Table, encoding_of, read_table, table_names
from pipeline.domain.errors import PipelineError, UnreadableError
from pipeline.domain.event_file import KeyRange
from pipeline.domain.ids import StreamName
from pipeline.domain.inventory import Fate, InventoryItem
from pipeline.domain.schema import SCHEMA_STREAM, SPECIAL_STREAMS, StreamSchema
from pipeline.ports.ranged_source import Known, UnchangedRows
from pipeline.ports.source import RowBlock
from pipeline.processes.processors import has_spare_processor
from pipeline.sqlite_access import table_errors, translated

if TYPE_CHECKING:
    from pipeline.connectors.sqlite.reading.scan_worker import ScanWorker

LEAST_BYTES = 64 * 1024 * 1024
"""A smaller database is scanned about as fast as a scan worker starts."""
Rows = AsyncGenerator[RowBlock, None] | AsyncGenerator[RowBlock | UnchangedRows, None]


class SqliteSource:
    """Every ordinary table of the database file at `path` is a stream. The file is never changed.

    A snapshot is one read transaction. In WAL mode it hinders no writer (but while it is open, the log cannot be reset, and
    grows with what is written). In the older rollback-journal mode a writer can commit only when no process reads: there an
    app that writes waits until the export has ended, or fails with "database is locked".
    """

    def __init__(
        self, path: Path, *, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS, generated: bool = False
    ) -> None:
        """Read the file; with `generated`, generated columns too, to be compared."""
        self._path = path
        self._generated = generated
        self._busy_timeout_seconds = busy_timeout_seconds

    @property
    def location(self) -> str:
        return location_of(self._path)

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[SqliteSnapshot]:
        snapshot = await run_sync(self._begin)
        try:
            yield snapshot
        finally:
            with anyio.CancelScope(shield=True):
                await snapshot.aclose()

    def _begin(self) -> SqliteSnapshot:
        with ExitStack() as opening:
            connection, identity = open_reader(self._path, self._busy_timeout_seconds)
            opening.callback(connection.close, True)
            worker = None if identity else scan_worker_of(self._path, self._busy_timeout_seconds)
            if worker is not None:
                opening.callback(worker.close)
            with translated(self.location):
                connection.execute("BEGIN; SELECT count(*) FROM sqlite_schema").fetchall()
                untouched = partial(ensure_untouched, self._path, identity)
                opened = Opened(connection, self.location, encoding_of(connection), untouched)
                snapshot = SqliteSnapshot(opened, worker, generated=self._generated)
            opening.pop_all()
        return snapshot


def scan_worker_of(path: Path, busy_timeout_seconds: float) -> ScanWorker | None:
    """Return a scan worker where one is of use.

    None also where the database cannot be looked at: the caller meets the same error and reports it.
    """
    try:
        if path.stat().st_size < LEAST_BYTES:
            return None
        from pipeline.connectors.sqlite.reading.scan_worker import ScanWorker  # few databases are large

        return ScanWorker(path, busy_timeout_seconds) if has_spare_processor() else None
    except (OSError, apsw.Error, PipelineError):
        return None


class SqliteSnapshot:
    """The state of a database when it was opened. Several tables may be read side by side."""

    def __init__(self, opened: Opened, worker: ScanWorker | None = None, *, generated: bool = False) -> None:
        """Read `opened`; `worker` may read a part of a large table."""
        self._generated = generated
        self._opened = opened
        self._worker = worker
        self._lock = anyio.Lock()
        self._objects: Sequence[SchemaObject] = ()
        register_order(opened.connection, opened.encoding)

    async def streams(self) -> Sequence[StreamSchema]:
        async with self._lock:
            return await run_sync(self._streams)

    async def row_estimates(self, streams: Sequence[StreamName]) -> Mapping[StreamName, int]:
        async with self._lock:
            with translated(self._opened.place):
                return await run_sync(row_estimates, self._opened.connection, streams)

    async def broken_references(self, streams: Sequence[StreamName]) -> Set[tuple[StreamName, tuple[str, ...]]]:
        async with self._lock:
            with translated(self._opened.place):
                return await run_sync(broken_keys, self._opened.connection, streams)

    async def definitions(self) -> Mapping[StreamName, Mapping[str, str]]:
        async with self._lock:
            return await run_sync(read_definitions, self._opened.connection)

    @asynccontextmanager
    async def open_rows(self, schema: StreamSchema) -> AsyncIterator[AsyncIterator[RowBlock]]:
        if schema.stream == SCHEMA_STREAM:
            if not self._objects:
                await self.streams()
            yield blocks_of([one for one in self._objects if not one.reason])
            return
        table = await self._readable(schema)
        reading = TableReading(self._opened, table, schema, KeyRange())
        async with aclosing(read_blocks(reading, self._lock)) as rows:
            yield rows

    @asynccontextmanager
    async def open_rows_along(
        self, schema: StreamSchema, known: Known
    ) -> AsyncIterator[AsyncIterator[RowBlock | UnchangedRows]]:
        if schema.stream == SCHEMA_STREAM:
            async with self.open_rows(schema) as blocks:
                yield blocks
            return
        table = await self._readable(schema)

        def open_within(covers: KeyRange) -> TableReading:
            return TableReading(self._opened, table, schema, covers)

        with self._worker.lent() if self._worker and self._opened.is_utf8 else nullcontext() as worker:
            if worker is None:
                rows: Rows = read_blocks(open_within(KeyRange()), self._lock, known)
            else:
                from pipeline.connectors.sqlite.reading.parallel_scan import ParallelScan  # of large databases alone

                rows = ParallelScan(schema, known, worker, open_within, self._lock).blocks()
            async with aclosing(rows):
                yield rows

    async def _readable(self, schema: StreamSchema) -> Table:
        """Return the table of a stream; UnreadableError when its rows have no key."""
        opened = self._opened
        place = f"{opened.place}, table {schema.stream}"
        async with self._lock:
            with translated(place), table_errors():
                table = await run_sync(read_table, opened.connection, schema.stream)
        if not table.key_is_never_null and table.rowid is None:
            raise UnreadableError(
                "it has no primary key without NULL, and its columns hide rowid, _rowid_ and oid; rename one of them, or "
                "leave the table out with --exclude",
                "table",
            )
        return table

    async def aclose(self) -> None:
        """End the transaction and close the file."""
        if self._worker is not None:
            await self._worker.aclose()
        self._opened.connection.close(True)

    def _streams(self) -> Sequence[StreamSchema]:
        connection = self._opened.connection
        with translated(self._opened.place):
            tables = [read_table(connection, name) for name in table_names(connection)]
            schemas = [stream_schema(connection, table, generated=self._generated) for table in tables]
            self._objects = read_objects(connection)
            self._objects += [unmovable_table(one.stream) for one in schemas if one.stream in SPECIAL_STREAMS]
            schemas = [one for one in schemas if one.stream not in SPECIAL_STREAMS]
        self._opened.ensure_untouched()
        if any(not one.reason for one in self._objects):
            schemas = sorted([schema_stream(TECHNOLOGY), *schemas], key=lambda schema: schema.stream)
        return schemas

    async def omissions(self) -> Sequence[InventoryItem]:
        return [InventoryItem(it.kind, it.name, Fate.NOT_MOVED, it.reason) for it in self._objects if it.reason]
