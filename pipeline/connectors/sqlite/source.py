"""An SQLite database as a source: its tables, in one read transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import apsw
from anyio.to_thread import run_sync

from pipeline.connectors.sqlite.blocks import SqliteRowBlock
from pipeline.connectors.sqlite.connection import (
    BUSY_TIMEOUT_SECONDS,
    FileIdentity,
    ensure_untouched,
    location_of,
    open_reader,
)
from pipeline.connectors.sqlite.errors import translated
from pipeline.connectors.sqlite.rows import SqliteRows, register_order
from pipeline.connectors.sqlite.schema import encoding_of, read_table, stream_schema, table_names
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.schema import StreamSchema
from pipeline.ports.source import End, anywhere


class SqliteSource:
    """Every ordinary table of the database file at `path` is a stream. The file is never changed.

    A snapshot is one read transaction. In WAL mode it hinders no writer (but while it is open the log cannot be
    reset, and grows with what is written). In the older rollback-journal mode SQLite lets a writer commit only when
    nobody reads: there an app that writes waits until the export has ended, or fails with "database is locked".
    """

    def __init__(self, path: Path, *, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS) -> None:
        self._path = path
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
            snapshot.close()

    def _begin(self) -> SqliteSnapshot:
        connection, identity = open_reader(self._path, self._busy_timeout_seconds)
        try:
            with translated(self.location):
                connection.execute("BEGIN; SELECT count(*) FROM sqlite_schema").fetchall()
                return SqliteSnapshot(connection, self._path, identity)
        except BaseException:
            connection.close(True)
            raise


class SqliteSnapshot:
    """The state of a database at the moment it was opened. Several tables may be read side by side."""

    def __init__(self, connection: apsw.Connection, path: Path, identity: FileIdentity | None) -> None:
        """Read through `connection`, which is in a transaction; `identity` is what `open_reader` returned with it."""
        self._connection = connection
        self._path = path
        self._ensure_untouched = partial(ensure_untouched, path, identity)
        self._lock = anyio.Lock()
        self._encoding = encoding_of(connection)
        register_order(connection, self._encoding)

    async def streams(self) -> Sequence[StreamSchema]:
        async with self._lock:
            return await run_sync(self._streams)

    @asynccontextmanager
    async def open_rows(
        self, schema: StreamSchema, end: End = anywhere
    ) -> AsyncIterator[AsyncIterator[SqliteRowBlock]]:
        place = f"{location_of(self._path)}, table {schema.stream}"
        async with self._lock:
            with translated(place):
                table = await run_sync(read_table, self._connection, schema.stream)
        if not table.key_is_never_null and table.rowid is None:
            raise ConfigurationError(
                f"{place} cannot be read: it has no primary key without NULL, and columns of its own hide rowid, "
                "_rowid_ and oid; rename one of them, or leave the table out with --exclude"
            )
        rows = SqliteRows(
            self._connection,
            self._lock,
            table,
            schema,
            place=place,
            encoding=self._encoding,
            ensure_untouched=self._ensure_untouched,
            end=end,
        )
        async with aclosing(rows):
            yield rows

    def close(self) -> None:
        """End the transaction and close the file."""
        self._connection.close(True)

    def _streams(self) -> Sequence[StreamSchema]:
        with translated(location_of(self._path)):
            tables = [read_table(self._connection, name) for name in table_names(self._connection)]
            schemas = [stream_schema(self._connection, table) for table in tables]
        self._ensure_untouched()
        return schemas
