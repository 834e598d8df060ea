"""A PostgreSQL database as a destination: rows, marks and records set aside in one transaction an Event File."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from typing import TypeVar, TypeVarTuple

import anyio
from anyio.to_thread import run_sync

from pipeline.connectors.postgres.ddl.ensure_table import ensure_table
from pipeline.connectors.postgres.ddl.post_load import finish_streams
from pipeline.connectors.postgres.loading.batches import Step
from pipeline.connectors.postgres.loading.file_load import FileLoad
from pipeline.connectors.postgres.loading.import_ledger import ImportLedger, create_ledger, lock_definitions, read_marks
from pipeline.connectors.postgres.loading.retry_rejected import retry_rejected_records
from pipeline.connectors.postgres.loading.target import Target, target_of
from pipeline.connectors.postgres.session.connection import LOCK_TIMEOUT_SECONDS, Connection, connect
from pipeline.connectors.postgres.session.errors import translated
from pipeline.connectors.postgres.session.location import parse_location
from pipeline.connectors.postgres.session.pool import APPLICATION_NAME, Connections
from pipeline.domain.event_file import Header
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import EventFileId, FlowName, StreamName
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import FileToLoad, GaveWay, Loaded, LoadOutcome, Mark, Rejection, Violation

MAX_CONNECTIONS = 8
"""How many files are loaded at once at most: more than the processors of most servers, fewer than their connections."""

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class PostgresDestination:
    """The database that `url` names, which must be there; what is kept of the Flow is in its schema `_pipeline`.

    The connections are synchronous and work in threads, so this runs on asyncio and on trio.
    """

    def __init__(
        self,
        url: str,
        *,
        lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._location = parse_location(url)
        self._lock_timeout_seconds = lock_timeout_seconds
        self._max_connections = max_connections

    @property
    def location(self) -> str:
        return self._location.url

    @asynccontextmanager
    async def open(self, flow: FlowName) -> AsyncIterator[PostgresDestinationSession]:
        connections = Connections(
            self._location, limit=self._max_connections, lock_timeout_seconds=self._lock_timeout_seconds
        )
        try:
            session = PostgresDestinationSession(connections, flow, self.location)
            await session.create_ledger()
            yield session
        finally:
            connections.close()

    async def read_marks(self, flow: FlowName, *, wait_seconds: float) -> Mapping[EventFileId, Mark]:
        return await run_sync(self._read_marks, flow, wait_seconds, abandon_on_cancel=True)

    def _read_marks(self, flow: FlowName, wait_seconds: float) -> Mapping[EventFileId, Mark]:
        settings = {"statement_timeout": f"{round(wait_seconds * 1000)}", "default_transaction_read_only": "on"}
        connection = connect(
            self._location,
            application_name=APPLICATION_NAME,
            lock_timeout_seconds=wait_seconds,
            settings=settings,
            connect_timeout_seconds=max(2, round(wait_seconds)),
        )
        with closing(connection), translated(self.location):
            return read_marks(connection, flow)


class PostgresDestinationSession:
    """An open database. Each call has a connection of its own while it lasts; a lost one is replaced at the next call."""

    def __init__(self, connections: Connections, flow: FlowName, location: str) -> None:
        self._connections = connections
        self._flow = flow
        self._location = location
        self._targets: dict[StreamName, tuple[StreamSchema, Target]] = {}

    async def create_ledger(self) -> None:
        """Make the tables that this session remembers in, unless they are there."""
        async with self._connections.borrow() as connection:
            await self._run(self._location, create_ledger, connection)

    async def marks(self) -> Mapping[EventFileId, Mark]:
        async with self._connections.borrow() as connection:
            return await self._run(self._location, ImportLedger(connection, self._flow).marks)

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        place = f"{self._location}, stream {file.entry.id.stream}"
        async with self._connections.borrow() as connection:
            bookkeeping = ImportLedger(connection, self._flow)
            reason = await self._run(place, _reason_to_give_way, bookkeeping, file.entry.id, after)
            if reason is not None:
                return GaveWay(reason)
            target = await self._run(place, self._target, connection, bookkeeping, file.header)
            try:
                return await self._load(connection, bookkeeping, target, file, place)
            except BaseException:
                self._targets.pop(file.entry.id.stream, None)
                raise

    async def _load(
        self, connection: Connection, bookkeeping: ImportLedger, target: Target, file: FileToLoad, place: str
    ) -> LoadOutcome:
        reason = await self._run(place, _begin, connection, bookkeeping, file)
        if reason is not None:
            return GaveWay(reason)
        load = await self._run(place, self._file_load, connection, bookkeeping, target, file)
        with unwrap_exception_group():
            await self._load_blocks(place, file, load)
        loaded = await self._run(place, _complete, bookkeeping, load, target, file)
        with anyio.CancelScope(shield=True):
            await self._run(place, connection.execute, "COMMIT")
        return loaded

    async def _load_blocks(self, place: str, file: FileToLoad, load: FileLoad) -> None:
        """Apply the blocks in order; one batch, of some 15 MB in memory, is made while the one before it goes in."""
        send, receive = anyio.create_memory_object_stream[Sequence[Step]]()

        async def decode() -> None:
            line = 2
            async with send:
                async for block in file.blocks:
                    count, steps = await run_sync(load.decode, block, line, file.entry.id)
                    line += count
                    if steps:
                        await send.send(steps)
                await send.send(await run_sync(load.decode_rest))

        with receive:  # until both tasks have ended, so that neither sees the other's end as an error
            async with anyio.create_task_group() as group:
                group.start_soon(decode)
                async for steps in receive:
                    await self._run(place, load.apply, steps)

    async def retry_rejected(self) -> Sequence[Rejection]:
        async with self._connections.borrow() as connection:
            bookkeeping = ImportLedger(connection, self._flow)
            return await self._run(
                self._location, retry_rejected_records, connection, bookkeeping, self._connections.as_replica
            )

    async def finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        async with self._connections.borrow() as connection:
            bookkeeping = ImportLedger(connection, self._flow)
            return await self._run(
                self._location, _finish, connection, bookkeeping, streams, self._connections.as_replica
            )

    def _target(self, connection: Connection, bookkeeping: ImportLedger, header: Header) -> Target:
        """Return the stream's table, made and committed if it was missing: files of one stream may load side by side."""
        schema = header.schema
        known = self._targets.get(schema.stream)
        if known is not None and known[0] == schema:
            return known[1]
        with connection.transaction():
            lock_definitions(connection)
            before = bookkeeping.schema_to_follow_from(schema.stream, header.export_time)
            table, is_ours = ensure_table(connection, schema, before)
            bookkeeping.remember_schema(schema, as_of=header.export_time, is_ours=is_ours)
        target = target_of(table, schema)
        self._targets[schema.stream] = (schema, target)
        return target

    def _file_load(
        self, connection: Connection, bookkeeping: ImportLedger, target: Target, file: FileToLoad
    ) -> FileLoad:
        is_snapshot = file.entry.is_snapshot
        return FileLoad(
            connection,
            bookkeeping,
            target,
            file.entry.id.stream,
            is_snapshot=is_snapshot,
            inserts_only=is_snapshot and target.row_key is not None and bookkeeping.is_first_snapshot(file.entry.id),
            may_replace=self._connections.as_replica or not target.table.referenced,
        )

    async def _run(self, place: str, work: Callable[[*_Ts], _T], *arguments: *_Ts) -> _T:
        with translated(place):
            return await run_sync(work, *arguments)


def _reason_to_give_way(bookkeeping: ImportLedger, file: EventFileId, after: Sequence[EventFileId]) -> str | None:
    unmarked = bookkeeping.unmarked_of([file, *after])
    if file not in unmarked:
        return f"Event File {file} has been imported already"
    missing = next((before for before in after if before in unmarked), None)
    return None if missing is None else f"Event File {missing}, which comes before {file}, is not imported yet"


def _begin(connection: Connection, bookkeeping: ImportLedger, file: FileToLoad) -> str | None:
    """Begin the transaction and claim the file's mark; return why not, if somebody else has got it or has gone on.

    That the files before it are marked was seen before this; a mark is never taken back.
    """
    stream = file.entry.id.stream
    bookkeeping.go_on_to(stream, file.movement)
    connection.execute("BEGIN; SET CONSTRAINTS ALL IMMEDIATE")
    if bookkeeping.has_gone_on(stream, file.movement):
        return f"a later Movement than {file.movement} has imported other files of {stream} by now"
    if not bookkeeping.claim(file.entry.id, file.movement):
        return f"Event File {file.entry.id} has been imported already"
    return None


def _finish(
    connection: Connection, bookkeeping: ImportLedger, streams: Sequence[StreamName], as_replica: bool
) -> Sequence[Violation]:
    ours = [stream for stream in streams if bookkeeping.is_ours(stream)]
    return finish_streams(connection, bookkeeping.schemas(), set(streams), set(ours), as_replica)


def _complete(bookkeeping: ImportLedger, load: FileLoad, target: Target, file: FileToLoad) -> Loaded:
    load.finish(file.entry.id)
    rejections = tuple(bookkeeping.rejections(file.entry.id))
    mark = Mark(load.upserts, load.deletes, len(rejections), movement=file.movement)
    bookkeeping.complete(file.entry.id, mark)
    return Loaded(mark, rejections, target.skipped)
