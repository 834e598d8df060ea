"""A PostgreSQL database as a source: its tables, in one exported snapshot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import anyio
from anyio.to_thread import run_sync

from pipeline.connectors.postgres.reading.blocks import PostgresRowBlock
from pipeline.connectors.postgres.reading.ranges import RANGE_ROWS, ReadPlan, plan_reading
from pipeline.connectors.postgres.reading.rows import open_table
from pipeline.connectors.postgres.reading.selects import TableSelect
from pipeline.connectors.postgres.schema.catalog import Stream, read_streams, read_tables
from pipeline.connectors.postgres.schema.catalog_types import Row
from pipeline.connectors.postgres.session.connection import (
    LOCK_TIMEOUT_SECONDS,
    Connection,
    connect,
    literal,
    qualified,
)
from pipeline.connectors.postgres.session.errors import translated
from pipeline.connectors.postgres.session.location import PostgresLocation, parse_location
from pipeline.domain.errors import ConfigurationError, RefusedError
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import StreamSchema

READERS = 2
"""Connections that read one large table side by side: the second hides what the server and we wait for each other."""

_APPLICATION = "pipeline export"
_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_DATABASE = """
SELECT getdatabaseencoding() = 'UTF8' AS utf8, pg_is_in_recovery() AS in_recovery,
       coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') = 'c' AND datcollate IN ('C', 'POSIX')
       OR to_jsonb(d) ->> 'datlocprovider' = 'b' AND to_jsonb(d) ->> 'datlocale' IN ('C', 'C.UTF-8') AS default_is_c
FROM pg_database AS d WHERE datname = current_database()
"""


@dataclass(frozen=True, slots=True)
class _Scope:
    """What is read: the tables of `schemas` (None: of all), by `readers` connections, about `range_rows` rows at a time."""

    schemas: Sequence[str] | None
    readers: int
    range_rows: int


@dataclass(frozen=True, slots=True)
class _Exported:
    """An exported snapshot: its name, whether it is a standby's, and how the database stores and compares text."""

    name: str
    in_recovery: bool
    utf8: bool
    default_is_c: bool


class PostgresSource:
    """Every table of the database at `url` is a stream (catalog.py says which are left out). Nothing is changed.

    A snapshot is one REPEATABLE READ, READ ONLY transaction, whose snapshot the other connections take over. It locks
    each table in ACCESS SHARE mode, as pg_dump does: reading and writing go on, and only what would remove or rewrite a
    table (DROP, TRUNCATE, most of ALTER TABLE, VACUUM FULL) waits until the export has ended.
    """

    def __init__(
        self,
        url: str,
        *,
        schemas: Sequence[str] | None = None,
        readers: int = READERS,
        range_rows: int = RANGE_ROWS,
        lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS,
    ) -> None:
        """Take the tables of `schemas` (None: of all), each with up to `readers` connections, `range_rows` rows at a time."""
        self._place = parse_location(url)
        self._scope = _Scope(schemas, readers, range_rows)
        self._lock_timeout_seconds = lock_timeout_seconds

    @property
    def location(self) -> str:
        return self._place.url

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[PostgresSnapshot]:
        connection = await run_sync(self._connect)
        try:
            exported = await run_sync(self._begin, connection)
            join = partial(self._join, exported.name)
            yield PostgresSnapshot(self._place, connection, exported, join, self._scope)
        finally:
            connection.close()

    def _connect(self) -> Connection:
        return connect(self._place, application_name=_APPLICATION, lock_timeout_seconds=self._lock_timeout_seconds)

    def _begin(self, connection: Connection) -> _Exported:
        """Lock, then look: a table that is emptied by TRUNCATE after the snapshot was taken would seem empty in it."""
        with translated(self.location):
            tables = [row for row in read_tables(connection, self._scope.schemas) if row["readable"]]
            connection.execute(_BEGIN)
            if tables:
                connection.execute(f"LOCK TABLE {', '.join(map(_lockable, tables))} IN ACCESS SHARE MODE".encode())
            (name,) = connection.execute("SELECT pg_export_snapshot()").fetchall()[0]
            ((utf8, in_recovery, default_is_c),) = connection.execute(_DATABASE).fetchall()
        return _Exported(str(name), bool(in_recovery), bool(utf8), bool(default_is_c))

    def _join(self, snapshot: str) -> Connection:
        """Return another connection that sees the same state."""
        connection = self._connect()
        try:
            with translated(self.location):
                connection.execute(f"{_BEGIN}; SET TRANSACTION SNAPSHOT {literal(snapshot)}".encode())
        except BaseException:
            connection.close()
            raise
        return connection


def _lockable(row: Row) -> str:
    return ("" if row["partitioned"] else "ONLY ") + qualified(row["schema"], row["name"])


class PostgresSnapshot:
    """The state of a database at one moment. Several tables may be read side by side, each with its own connections."""

    def __init__(
        self,
        place: PostgresLocation,
        connection: Connection,
        exported: _Exported,
        join: Callable[[], Connection],
        scope: _Scope,
    ) -> None:
        """Ask the catalog through `connection`, whose snapshot is `exported`; read rows through what `join` returns."""
        self._place, self._connection, self._exported, self._join = place, connection, exported, join
        self._scope = scope
        self._lock = anyio.Lock()
        self._streams: dict[StreamName, Stream] = {}

    async def streams(self) -> Sequence[StreamSchema]:
        async with self._lock:
            found = await run_sync(self._read_streams)
        self._streams = {stream.schema.stream: stream for stream in found}
        return [stream.schema for stream in found]

    @asynccontextmanager
    async def open_rows(self, schema: StreamSchema) -> AsyncIterator[AsyncIterator[PostgresRowBlock]]:
        if schema.stream not in self._streams:
            await self.streams()
        table, own = self._streams[schema.stream].table, self._streams[schema.stream].schema
        place = f"{self._place.url}, table {schema.stream}"
        if own.primary_keys != schema.primary_keys:
            raise ConfigurationError(
                f"{place}: its key is {', '.join(own.primary_keys)}, and its rows cannot be read in the order of "
                f"{', '.join(schema.primary_keys)}. Give it that primary key, or leave the table out."
            )
        select = TableSelect(table, self._exported.utf8, self._exported.default_is_c)
        async with self._lock:
            plan = await run_sync(self._plan, select, place)
        async with open_table(select, plan, self._join, place=place) as blocks:
            yield blocks

    def _read_streams(self) -> list[Stream]:
        with translated(self._place.url):
            return read_streams(self._connection, self._scope.schemas)

    def _plan(self, select: TableSelect, place: str) -> ReadPlan:
        if not select.table.readable:
            raise RefusedError(
                f"{place}: the privilege SELECT on it is missing; have its owner grant it, or leave it out with --exclude"
            )
        if select.table.unlogged and self._exported.in_recovery:
            raise ConfigurationError(
                f"{place}: it is UNLOGGED, and a standby does not get its rows; name the primary server, or leave it out "
                "with --exclude"
            )
        with translated(place):
            scope = self._scope
            return plan_reading(self._connection, select, range_rows=scope.range_rows, readers=scope.readers)
