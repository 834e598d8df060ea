"""A PostgreSQL database as a source: its tables, in one exported snapshot."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from functools import partial

import anyio
from anyio.to_thread import run_sync

from pipeline.connectors.postgres.reading.connections import SnapshotConnections
from pipeline.connectors.postgres.reading.large_objects import large_object_blocks
from pipeline.connectors.postgres.reading.large_rows import without_large_rows
from pipeline.connectors.postgres.reading.ranges import ReadPlan, is_small, plan_reading, read_sizes
from pipeline.connectors.postgres.reading.rows import open_table
from pipeline.connectors.postgres.reading.selects import TableSelect
from pipeline.connectors.postgres.schema.catalog import read_tables
from pipeline.connectors.postgres.schema.definitions import definitions_of
from pipeline.connectors.postgres.schema.large_objects import has_large_objects
from pipeline.connectors.postgres.schema.objects.catalog import TECHNOLOGY, as_written, read_objects
from pipeline.connectors.postgres.schema.streams import Stream, read_streams
from pipeline.connectors.postgres.session.connection import Connection, connect
from pipeline.connectors.postgres.session.errors import table_errors, translated
from pipeline.connectors.postgres.session.location import parse_location
from pipeline.connectors.sql.identifiers import literal, qualified
from pipeline.connectors.sql.large_objects import large_object_stream
from pipeline.connectors.sql.schema_objects import SchemaObject
from pipeline.connectors.sql.schema_stream import blocks_of, schema_stream
from pipeline.domain.errors import ConfigurationError, UnreadableError
from pipeline.domain.ids import FlowName, StreamName
from pipeline.domain.inventory import Fate, InventoryItem
from pipeline.domain.keys import Key
from pipeline.domain.schema import LARGE_OBJECT_STREAM, SCHEMA_STREAM, StreamSchema
from pipeline.ports.source import RowBlock

_MODE = "ISOLATION LEVEL REPEATABLE READ READ ONLY"
_DATABASE = """
SELECT pg_export_snapshot(), pg_is_in_recovery(), getdatabaseencoding() = 'UTF8',
       coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') = 'c' AND datcollate IN ('C', 'POSIX')
       OR to_jsonb(d) ->> 'datlocprovider' = 'b' AND to_jsonb(d) ->> 'datlocale' IN ('C', 'C.UTF-8')
FROM pg_database AS d WHERE datname = current_database()
"""

_LONG_MESSAGE = "SELECT repeat(' ', 100000)"
"""libpq receives at most as much at a time as the longest message that it has received: rows come 128 KB at a time, not 16."""


@dataclass(frozen=True, slots=True)
class _Exported:
    """An exported snapshot: its name, whether the server is a standby, and how the database stores and sorts text."""

    name: str
    in_recovery: bool
    utf8: bool
    default_is_c: bool


_NONE: Mapping[Key, int] = {}
_Catalog = tuple[list[Stream], list[SchemaObject], bool]
"""The streams of a database, its schema objects, and whether it has large objects."""


def _read_catalog(connection: Connection, *, generated: bool, grants: bool, copy_of: FlowName | None) -> _Catalog:
    streams, objects = read_streams(connection, generated=generated), read_objects(connection, grants=grants)
    if copy_of is not None:
        objects = as_written(connection, objects, copy_of)
    return streams, objects, has_large_objects(connection)


class PostgresSource:
    """The database at `url`, each table of which is a stream. Reading changes nothing.

    A snapshot is one REPEATABLE READ, READ ONLY transaction, whose snapshot the other connections take over. It locks
    each table in ACCESS SHARE mode, as pg_dump does: the app reads and writes on, and only what would remove or rewrite
    a table (DROP, TRUNCATE, most of ALTER TABLE, VACUUM FULL) waits until the export has ended.
    """

    def __init__(
        self, url: str, *, generated: bool = False, grants: bool = False, copy_of: FlowName | None = None
    ) -> None:
        """Read the database; with `generated`, generated columns too, to be compared; with `grants`, owners and privileges.

        `copy_of`: it is the copy of this Flow, and definitions are those of the source where PostgreSQL has only written
        them in another way.
        """
        self._place = parse_location(url)
        self._catalog = partial(_read_catalog, generated=generated, grants=grants, copy_of=copy_of)

    @property
    def location(self) -> str:
        return self._place.url

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[PostgresSnapshot]:
        connection = await run_sync(self._connect)
        try:
            exported = await run_sync(self._begin, connection)
            with closing(SnapshotConnections(partial(self._join, exported.name))) as readers:
                yield PostgresSnapshot(self.location, connection, exported, readers, self._catalog)
        finally:
            connection.close()

    def _connect(self) -> Connection:
        return connect(self._place, "pipeline export")

    def _begin(self, connection: Connection) -> _Exported:
        """Lock, then take the snapshot: a table that TRUNCATE empties after the snapshot would seem empty in it."""
        with translated(self.location):
            tables = [row for row in read_tables(connection) if row["readable"]]
            names = [("" if row["partitioned"] else "ONLY ") + qualified(row["schema"], row["name"]) for row in tables]
            connection.begin(_MODE)
            if names:
                connection.execute(f"LOCK TABLE {', '.join(names)} IN ACCESS SHARE MODE".encode())
            (values,) = connection.execute(_DATABASE)
        return _Exported(*values)

    def _join(self, snapshot: str) -> Connection:
        """Return another connection that sees the same state."""
        connection = self._connect()
        try:
            with translated(self.location):
                connection.begin(_MODE)
                connection.execute(f"SET TRANSACTION SNAPSHOT {literal(snapshot)}; {_LONG_MESSAGE}".encode())
        except BaseException:
            connection.close()
            raise
        return connection


_ROW_ESTIMATES = "SELECT oid, reltuples::bigint FROM pg_class WHERE reltuples >= 0 AND oid IN"
"""A table that was never analysed has -1 (https://www.postgresql.org/docs/current/catalog-pg-class.html)."""


class PostgresSnapshot:
    """The state of a database at one moment. Several tables may be read concurrently, with connections of their own."""

    def __init__(
        self,
        location: str,
        connection: Connection,
        exported: _Exported,
        readers: SnapshotConnections,
        catalog: Callable[[Connection], _Catalog],
    ) -> None:
        """Read the catalog through `connection`, which has exported its snapshot, and rows through the `readers`."""
        self._location, self._connection, self._exported, self._readers = location, connection, exported, readers
        self._catalog = catalog
        self._lock = anyio.Lock()
        self._streams: dict[StreamName, Stream] = {}
        self._sizes: Mapping[int, int] = {}
        self._objects: Sequence[SchemaObject] = ()
        self._has_large_objects = False

    async def streams(self) -> Sequence[StreamSchema]:
        async with self._lock:
            found, self._objects, self._has_large_objects = await run_sync(self._read_catalog)
        self._streams = {stream.schema.stream: stream for stream in found}
        special = [schema_stream(TECHNOLOGY)] if any(not one.reason for one in self._objects) else []
        if self._has_large_objects:
            special.append(large_object_stream(TECHNOLOGY))
        return sorted([*special, *(stream.schema for stream in found)], key=lambda schema: schema.stream)

    async def omissions(self) -> Sequence[InventoryItem]:
        return [InventoryItem(it.kind, it.name, Fate.NOT_MOVED, it.reason) for it in self._objects if it.reason]

    async def row_estimates(self, streams: Sequence[StreamName]) -> Mapping[StreamName, int]:
        """Return what the statistics of the tables say, as far as they have been gathered."""
        async with self._lock:
            return await run_sync(self._row_estimates, streams)

    def _row_estimates(self, streams: Sequence[StreamName]) -> Mapping[StreamName, int]:
        oids = {found.table.oid: name for name in streams if (found := self._streams.get(name)) is not None}
        special: dict[StreamName, int] = {}
        if SCHEMA_STREAM in streams:
            special[SCHEMA_STREAM] = len(self._objects)
        if not oids:
            return special
        with translated(self._location):
            rows = self._connection.execute(f"{_ROW_ESTIMATES} ({', '.join(map(str, oids))})".encode())
        return {**special, **{oids[int(str(oid))]: int(float(str(count))) for oid, count in map(tuple, rows)}}

    async def definitions(self) -> Mapping[StreamName, Mapping[str, str]]:
        return {name: definitions_of(stream.native) for name, stream in self._streams.items()}

    @asynccontextmanager
    async def open_rows(self, schema: StreamSchema) -> AsyncIterator[AsyncIterator[RowBlock]]:
        if not self._streams and not self._objects:
            await self.streams()
        if schema.stream == SCHEMA_STREAM:
            yield blocks_of([one for one in self._objects if not one.reason])
            return
        if schema.stream == LARGE_OBJECT_STREAM:
            with closing(await self._readers.take()) as connection:
                yield large_object_blocks(connection, self._location)
            return
        stream = self._streams[schema.stream]
        place = f"{self._location}, table {schema.stream}"
        table, key = stream.table, stream.schema.primary_keys
        if key != schema.primary_keys and frozenset(schema.primary_keys) in table.unique_keys:
            table = replace(table, key=schema.primary_keys)
        elif key != schema.primary_keys:
            raise ConfigurationError(
                f"{place}: its key is {', '.join(key)}, so its rows cannot be read in the order of "
                f"{', '.join(schema.primary_keys)}; give it that primary key, or leave the table out with --exclude"
            )
        any_keys = frozenset(it.name for it in schema.columns if it.type == "any" and it.name in schema.primary_keys)
        select = TableSelect(table, place, self._exported.utf8, self._exported.default_is_c, any_keys)
        self._ensure_readable(select)
        async with self._lock:
            self._sizes = self._sizes or await run_sync(self._read_sizes, place)
            size = self._sizes[table.oid]
            plan, too_large = ReadPlan(), _NONE
            if not is_small(size):
                plan, select, too_large = await run_sync(self._plan, select, size)
        async with open_table(select, plan, self._readers, too_large) as blocks:
            yield blocks

    def _read_catalog(self) -> _Catalog:
        with translated(self._location):
            return self._catalog(self._connection)

    def _ensure_readable(self, select: TableSelect) -> None:
        if not select.table.readable:
            raise UnreadableError(
                "the privilege SELECT is missing; have its owner grant it, or leave the table out with --exclude",
                "table",
            )
        if select.table.unlogged and self._exported.in_recovery:
            raise UnreadableError(
                "it is UNLOGGED, and a standby does not get its rows; name the primary server, or leave the table out with "
                "--exclude",
                "table",
            )

    def _read_sizes(self, place: str) -> Mapping[int, int]:
        readable = [one.table.oid for one in self._streams.values() if one.table.readable]
        with translated(place):
            return read_sizes(self._connection, readable)

    def _plan(self, select: TableSelect, size: int) -> tuple[ReadPlan, TableSelect, Mapping[Key, int]]:
        """Return how to read a table, and the bytes of its rows that are too large, by key."""
        with table_errors(select.place), self._connection.transaction():
            plan = plan_reading(self._connection, select, size)
            return plan, *without_large_rows(self._connection, select, size)
