"""An SQLite database as a destination: rows, marks and records set aside in one transaction an Event File."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import anyio
import apsw
from anyio.to_thread import run_sync

from pipeline.connectors.sql.retry import retry_blocked, retry_rejected_records, retry_stream
from pipeline.connectors.sqlite.connection import (
    BUSY_TIMEOUT_SECONDS,
    ensure_untouched,
    location_of,
    open_destination,
    open_reader,
)
from pipeline.connectors.sqlite.loading.constraints_out import create_constraints
from pipeline.connectors.sqlite.loading.file_load import FileLoad
from pipeline.connectors.sqlite.loading.import_ledger import ImportLedger
from pipeline.connectors.sqlite.loading.post_load import create_indexes, foreign_key_violations, raise_sequence
from pipeline.connectors.sqlite.loading.rejections import bind_tagged
from pipeline.connectors.sqlite.loading.schema_evolution import ManagedTables
from pipeline.connectors.sqlite.loading.target import Target, prepare_target, sqlite_native
from pipeline.domain.ids import EventFileId, FlowName, StreamName
from pipeline.domain.planning.import_guard import reason_to_give_way
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import FileToLoad, GaveWay, Loaded, LoadOutcome, Mark, Rejection, Violation
from pipeline.sqlite_access import translated

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class SqliteDestination:
    """The database file at `path`, made when it is missing.

    Commits survive the loss of power (`synchronous=FULL`). A file made here has SQLite's default rollback journal, which
    was measured to load a quarter faster than a write-ahead log, since new pages are written once; an existing file
    keeps its mode. Foreign keys are not enforced while loading. Triggers of existing tables fire.
    """

    def __init__(self, path: Path, *, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS) -> None:
        self._path = path
        self._busy_timeout_seconds = busy_timeout_seconds

    @property
    def location(self) -> str:
        return location_of(self._path)

    @asynccontextmanager
    async def open(self, flow: FlowName) -> AsyncIterator[SqliteDestinationSession]:
        connection = await run_sync(open_destination, self._path, self._busy_timeout_seconds)
        try:
            connection.convert_binding = bind_tagged
            yield SqliteDestinationSession(connection, flow, self.location)
        finally:
            connection.close(True)

    async def read_marks(self, flow: FlowName, *, wait_seconds: float) -> Mapping[EventFileId, Mark]:
        return await run_sync(self._read_marks, flow, wait_seconds, abandon_on_cancel=True)

    def _read_marks(self, flow: FlowName, wait_seconds: float) -> Mapping[EventFileId, Mark]:
        connection, identity = open_reader(self._path, wait_seconds)
        with closing(connection), translated(self.location):
            marks = ImportLedger(connection, flow).marks()
            ensure_untouched(self._path, identity)
        return marks


class SqliteDestinationSession:
    """An open database. Its one connection is used by one call at a time; SQLite has one writer in any case."""

    def __init__(self, connection: apsw.Connection, flow: FlowName, location: str) -> None:
        self._connection = connection
        self._bookkeeping = ImportLedger(connection, flow)
        self._followed = ManagedTables(connection)
        self._location = location
        self._lock = anyio.Lock()

    async def marks(self) -> Mapping[EventFileId, Mark]:
        async with self._lock:
            return await self._run(self._location, self._bookkeeping.marks)

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        place = f"{self._location}, table {file.entry.id.stream}"
        async with self._lock:
            await self._run(place, self._choose_encoding, file)
            async with self._transaction(place):
                reason = await self._run(place, self._reason_to_give_way, file, after)
                if reason is not None:
                    return GaveWay(reason)
                load, target = await self._run(place, self._prepare, file, place)
                columns, line = file.header.schema.column_names, 2
                async for block in file.blocks:
                    line += await self._run(place, load.apply, block, file.entry.id, columns, line)
                return await self._run(place, self._complete, file, load, target)

    async def retry_rejected(self) -> Sequence[Rejection]:
        async with self._lock:
            if not await self._run(self._location, self._bookkeeping.exists):
                return []
            async with self._transaction(self._location):
                return await self._run(self._location, retry_rejected_records, self._bookkeeping, self._retry_stream)

    async def finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        async with self._lock:
            async with self._transaction(self._location):
                violations = await self._run(self._location, self._make_what_is_missing, streams)
            return violations + await self._run(
                self._location, lambda: list(foreign_key_violations(self._connection, streams))
            )

    def _choose_encoding(self, file: FileToLoad) -> None:
        """Give a database that has nothing in it yet the source's encoding. SQLite ignores it in any other."""
        wanted = sqlite_native(file.header.schema).get("encoding")
        if wanted in ("UTF-16le", "UTF-16be"):
            self._connection.execute(f"PRAGMA encoding = '{wanted}'").fetchall()

    def _reason_to_give_way(self, entering: FileToLoad, after: Sequence[EventFileId]) -> str | None:
        file = entering.entry.id
        exists = self._bookkeeping.exists()
        return reason_to_give_way(
            file,
            entering.movement,
            after,
            marked=self._bookkeeping.marked_among([file, *after]) if exists else (),
            latest_movement=self._bookkeeping.latest_movement(file.stream) if exists else 0,
        )

    def _prepare(self, file: FileToLoad, place: str) -> tuple[FileLoad, Target]:
        schema = file.header.schema
        self._bookkeeping.create()
        found = self._followed.prepare(schema, file.header.export_time)
        target = prepare_target(self._connection, schema)
        self._followed.note(found, schema, file.header.export_time)
        if found.is_latest:
            self._bookkeeping.remember_schema(schema)
        return FileLoad(self._connection, self._bookkeeping, target, schema.stream, place), target

    def _retry_stream(self, schema: StreamSchema) -> None:
        target = prepare_target(self._connection, schema)
        place = f"{self._location}, table {schema.stream}"
        load = FileLoad(self._connection, self._bookkeeping, target, schema.stream, place)
        retry_stream(self._bookkeeping, load, schema.stream)

    def _complete(self, file: FileToLoad, load: FileLoad, target: Target) -> Loaded:
        if load.has_rejected:
            retry_blocked(self._bookkeeping, load, file.entry.id)
        rejections = tuple(self._bookkeeping.rejections(file.entry.id))
        mark = Mark(load.upserts, load.deletes, len(rejections), movement=file.movement)
        self._bookkeeping.mark(file.entry.id, mark)
        return Loaded(mark, rejections, target.skipped)

    def _make_what_is_missing(self, streams: Sequence[StreamName]) -> list[Violation]:
        violations = list(self._followed.catch_up(streams))
        schemas = self._bookkeeping.schemas() if self._bookkeeping.exists() else ()
        for schema in (schema for schema in schemas if schema.stream in streams):
            native = sqlite_native(schema)
            if native:
                violations += create_indexes(self._connection, schema.stream, native)
                raise_sequence(self._connection, schema.stream, native)
            else:
                violations += create_constraints(self._connection, schema)
        return violations

    @asynccontextmanager
    async def _transaction(self, place: str) -> AsyncIterator[None]:
        """Commit what is done inside, or, when that raises or is cancelled, leave everything as it was."""
        await self._run(place, self._connection.execute, "BEGIN IMMEDIATE")
        try:
            yield
            await self._run(place, self._connection.execute, "COMMIT")
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._run(place, self._rollback)
            raise

    def _rollback(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    async def _run(self, place: str, work: Callable[[*_Ts], _T], *arguments: *_Ts) -> _T:
        with translated(place):
            return await run_sync(work, *arguments)
