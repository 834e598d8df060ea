"""A PostgreSQL database as a destination: one transaction an Event File, for its rows, mark and rejected records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence, Set
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

import anyio
from anyio.to_thread import run_sync

from pipeline.connectors.postgres.ddl.across.local_names import LocalNames, renamed_columns
from pipeline.connectors.postgres.ddl.across.widening import widened_columns
from pipeline.connectors.postgres.ddl.objects import SchemaObjects
from pipeline.connectors.postgres.loading.batches import Step
from pipeline.connectors.postgres.loading.claims import (
    claim,
    complete,
    fence_flow,
    is_collision,
    reason_not_to_begin,
    turn_of,
)
from pipeline.connectors.postgres.loading.file_load import FileLoad
from pipeline.connectors.postgres.loading.finishing import (
    finish,
    kept_tables,
    missing_definitions,
    replace_tables,
    unfilled_columns,
)
from pipeline.connectors.postgres.loading.import_ledger import ImportLedger, create_ledger, lock_definitions, read_marks
from pipeline.connectors.postgres.loading.integrity.circles import Circles
from pipeline.connectors.postgres.loading.integrity.references import References
from pipeline.connectors.postgres.loading.integrity.side_effects import SideEffects, read_side_effects
from pipeline.connectors.postgres.loading.large_objects import LargeObjectLoad
from pipeline.connectors.postgres.loading.rejection.facts import read_facts
from pipeline.connectors.postgres.loading.tables.stream_tables import StreamTables
from pipeline.connectors.postgres.loading.tables.value_kinds import MisfitError
from pipeline.connectors.postgres.loading.target import Target
from pipeline.connectors.postgres.schema.objects.catalog import PRE_DATA_KINDS, TECHNOLOGY
from pipeline.connectors.postgres.session.connection import Connection, connect
from pipeline.connectors.postgres.session.errors import translated
from pipeline.connectors.postgres.session.location import parse_location
from pipeline.connectors.postgres.session.pool import APPLICATION_NAME, ConnectionPool
from pipeline.connectors.sql.contents import with_contents
from pipeline.connectors.sql.large_objects import large_object_technology
from pipeline.connectors.sql.object_ledger import ObjectLedger
from pipeline.connectors.sql.retry import everything, kept_records, retry_rejected_records, retry_stream
from pipeline.connectors.sql.schema_objects import SchemaObject
from pipeline.connectors.sql.schema_stream import object_technology, read_records
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import EventFileId, FlowName, StreamName
from pipeline.domain.inventory import Fate, InventoryItem
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import (
    Choose,
    FileToLoad,
    GaveWay,
    KeptRecord,
    Loaded,
    LoadOutcome,
    Mark,
    Rejection,
    Reopen,
    Violation,
)

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

_AS_THE_APP = "SET LOCAL search_path TO DEFAULT; SET CONSTRAINTS ALL IMMEDIATE"
"""Checks and triggers of the app run while rows are loaded. Names without a schema are found as the app finds them."""


class PostgresDestination:
    """The database that `url` names, which must exist. The import ledger of the Flow is in its schema `_pipeline`."""

    def __init__(self, url: str) -> None:
        self._place = parse_location(url)

    @property
    def location(self) -> str:
        return self._place.url

    @asynccontextmanager
    async def open(self, flow: FlowName) -> AsyncIterator[PostgresDestinationSession]:
        pool = ConnectionPool(self._place)
        try:
            async with pool.borrow() as connection:
                with translated(self.location):
                    await run_sync(create_ledger, connection)
            yield PostgresDestinationSession(pool, flow, self.location)
        finally:
            pool.close()

    async def read_marks(self, flow: FlowName, *, wait_seconds: float) -> Mapping[EventFileId, Mark]:
        return await run_sync(self._read_marks, flow, wait_seconds, abandon_on_cancel=True)

    def _read_marks(self, flow: FlowName, wait_seconds: float) -> Mapping[EventFileId, Mark]:
        limit = f"{round(wait_seconds * 1000)}ms"
        settings = {"statement_timeout": limit, "lock_timeout": limit, "transaction_read_only": "on"}
        timeout = max(2, round(wait_seconds))
        connection = connect(self._place, APPLICATION_NAME, settings=settings, connect_timeout_seconds=timeout)
        with closing(connection), translated(self.location):
            return read_marks(connection, flow)


class PostgresDestinationSession:
    """An open database. Each call has a connection of its own; one that is lost is replaced for the next call."""

    def __init__(self, pool: ConnectionPool, flow: FlowName, location: str) -> None:
        self._pool = pool
        self._flow = flow
        self._location = location
        self._tables = StreamTables()
        self._alone: set[StreamName] = set()
        """The streams whose loads have collided here. From then on each of them is alone."""

    def takes_arrays(self, stream: StreamName) -> bool:
        return not stream.startswith("@")

    async def marks(self) -> Mapping[EventFileId, Mark]:
        return await self._on_connection(lambda connection, ledger: ledger.marks())

    async def loaded_streams(self, flow: FlowName) -> Set[StreamName]:
        return await self._on_connection(lambda connection, ledger: ledger.loaded_streams(flow))

    async def fence(self, movement: int) -> None:
        await self._on_connection(partial(fence_flow, self._location, movement))

    async def retry_rejected(self) -> Sequence[Rejection]:
        return await self._on_connection(partial(self._retry_rejected, None))

    async def retry_chosen(self, chosen: Choose) -> Sequence[Rejection]:
        return await self._on_connection(partial(self._retry_rejected, chosen))

    async def rejected(self) -> Sequence[KeptRecord]:
        return await self._on_connection(lambda connection, ledger: kept_records(ledger))

    async def correct_rejected(self, corrected: Sequence[KeptRecord]) -> int:
        def correct(connection: Connection, ledger: ImportLedger) -> int:
            with connection.transaction():
                return ledger.correct(corrected)

        return await self._on_connection(correct)

    async def finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        return await self._on_connection(partial(finish, streams=streams, as_replica=self._pool.as_replica))

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        place, file = f"{self._location}, stream {file.entry.id.stream}", with_contents(file)
        technology = object_technology(file.header.schema)
        if technology is not None:
            blocks = [block async for block in file.blocks]
            return await self._on_connection(
                lambda connection, ledger: self._load_objects(connection, ledger, file, after, technology, blocks)
            )
        try:
            return await self._load_rows(place, file, after)
        except MisfitError as misfit:
            kinds = misfit.kinds
        await self._on_connection(
            lambda connection, ledger: self._tables.widen(connection, ledger, file.header.schema, kinds)
        )
        return Reopen()

    async def _load_rows(self, place: str, file: FileToLoad, after: Sequence[EventFileId]) -> LoadOutcome:
        async with self._pool.borrow() as connection:
            ledger = ImportLedger(connection, self._flow)
            if large_object_technology(file.header.schema) is not None:
                return await self._load_large_objects(place, connection, ledger, file, after)
            try:
                load = await self._run(place, self._begin, connection, ledger, file, after)
                if not isinstance(load, FileLoad):
                    return load
                with unwrap_exception_group():
                    await self._load_blocks(place, file, load)
                loaded = await self._run(place, complete, ledger, load, file)
                with anyio.CancelScope(shield=True), file.committing():
                    await self._run(place, connection.execute, "COMMIT")
            except BaseException as error:
                self._tables.forget(file.entry.id.stream)
                if is_collision(error):
                    self._alone.add(file.entry.id.stream)
                raise
            return loaded

    def _begin(
        self, connection: Connection, ledger: ImportLedger, file: FileToLoad, after: Sequence[EventFileId]
    ) -> FileLoad | GaveWay | Reopen:
        """Begin the transaction and claim the file's mark, with the table created.

        A mark is never taken back, so those of the files before it are checked before the transaction.
        """
        if reason := reason_not_to_begin(ledger, file, after):
            return GaveWay(reason)
        stream = self._tables.ready(connection, ledger, file.header)
        target = stream.target
        id_ = file.entry.id
        ledger.advance_movement(id_.stream, file.movement)
        connection.begin()
        turn = turn_of(self._flow, id_.stream, alone=id_.stream in self._alone)
        connection.execute(f"{turn}; {_AS_THE_APP}")
        if reason := claim(ledger, file):
            return GaveWay(reason)
        if not self._tables.is_current(connection, stream):
            return Reopen()
        is_snapshot = file.entry.is_snapshot
        effects = self._side_effects(connection, target)
        return FileLoad(
            connection,
            ledger,
            replace(target, keeps_keys=is_snapshot),
            effects,
            self._references(connection, target),
            partial(read_facts, connection, target, file.header.schema, acts=effects.act),
            is_snapshot=is_snapshot,
            inserts_only=is_snapshot and target.row_key is not None and ledger.is_first_snapshot(id_),
            kinds=stream.kinds,
        )

    async def _load_large_objects(
        self, place: str, connection: Connection, ledger: ImportLedger, file: FileToLoad, after: Sequence[EventFileId]
    ) -> LoadOutcome:
        def begin() -> str | None:
            if reason := reason_not_to_begin(ledger, file, after):
                return reason
            ledger.advance_movement(file.entry.id.stream, file.movement)
            connection.begin()
            return claim(ledger, file)

        if reason := await self._run(place, begin):
            return GaveWay(reason)
        loaded = await LargeObjectLoad(connection, ledger, file, place).run()
        with anyio.CancelScope(shield=True), file.committing():
            await self._run(place, connection.execute, "COMMIT")
        return loaded

    def _load_objects(
        self,
        connection: Connection,
        ledger: ImportLedger,
        file: FileToLoad,
        after: Sequence[EventFileId],
        technology: str,
        blocks: Sequence[bytes],
    ) -> LoadOutcome:
        """Store schema objects, and create those that tables may need. `ensure_objects` creates the others."""
        if reason := reason_not_to_begin(ledger, file, after):
            return GaveWay(reason)
        ledger.advance_movement(file.entry.id.stream, file.movement)
        objects = self._object_ledger(connection)
        with connection.transaction():
            if reason := claim(ledger, file):
                return GaveWay(reason)
            counts = [objects.store(read_records(block), technology) for block in blocks]
            mark = Mark(sum(up for up, _ in counts), sum(down for _, down in counts), movement=file.movement)
            ledger.complete(file.entry.id, mark)
        if technology == TECHNOLOGY:
            early = [one for one in objects.wanted().get(TECHNOLOGY, ()) if one.rank < PRE_DATA_KINDS]
            self._apply(connection, objects, early, rows_changed=False, drop=False)
        return Loaded(mark)

    def _object_ledger(self, connection: Connection) -> ObjectLedger:
        def execute(statement: str, parameters: Sequence[object]) -> list[tuple[Any, ...]]:
            cursor = connection.execute(statement.replace("?", "%s").encode(), parameters)
            return cursor.fetchall() if cursor.description else []

        return ObjectLedger(execute, "_pipeline.objects", self._flow)

    def _apply(
        self,
        connection: Connection,
        objects: ObjectLedger,
        wanted: Sequence[SchemaObject],
        *,
        rows_changed: bool,
        drop: bool = True,
    ) -> list[InventoryItem]:
        before = objects.created()
        with connection.transaction():
            lock_definitions(connection)
            here = SchemaObjects(connection, before)
            items = here.apply(wanted, refresh=rows_changed, drop=drop)
            objects.remember_created(before, here.ours)
        return items

    async def ensure_objects(self, *, rows_changed: bool) -> Sequence[InventoryItem]:
        def ensure(connection: Connection, ledger: ImportLedger) -> Sequence[InventoryItem]:
            objects = self._object_ledger(connection)
            wanted = objects.wanted()
            items = [
                InventoryItem(one.kind, one.name, Fate.NOT_MOVED, f"it is written for {technology}")
                for technology, others in wanted.items()
                if technology != TECHNOLOGY
                for one in others
            ]
            schemas = ledger.schemas()
            items += renamed_columns(schemas)
            created = ledger.created()
            names = LocalNames(connection, lambda: {schema.stream for schema in schemas})
            items += missing_definitions(connection, names, schemas)
            items += widened_columns(connection, names, [it for it in schemas if it.stream in created])
            items += unfilled_columns(connection, names, schemas)
            own = wanted.get(TECHNOLOGY, [])
            if own or objects.created():
                replace_tables(connection, ledger, schemas, own)
                items += self._apply(connection, objects, own, rows_changed=rows_changed)
            return [*items, *kept_tables(connection, ledger, schemas)]

        return await self._on_connection(ensure)

    def _side_effects(self, connection: Connection, target: Target) -> SideEffects:
        oid = target.table.oid
        return read_side_effects(connection, [oid], as_replica=self._pool.as_replica)[oid]

    def _references(self, connection: Connection, target: Target) -> References | None:
        return None if self._pool.as_replica else References(connection, target)

    async def _load_blocks(self, place: str, file: FileToLoad, load: FileLoad) -> None:
        """Apply the blocks in order. The next batch, of some 15 MB in memory, is made while one is applied."""
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

        with receive:  # until both tasks have ended, so that neither takes the other's end for an error
            async with anyio.create_task_group() as group:
                group.start_soon(decode)
                async for steps in receive:
                    await self._run(place, load.apply, steps)

    def _retry_rejected(
        self, chosen: Choose | None, connection: Connection, ledger: ImportLedger
    ) -> Sequence[Rejection]:
        """Retry the chosen records; with None all those whose reason may have ended."""

        def open_load(schema: StreamSchema) -> FileLoad:
            connection.execute(_AS_THE_APP)
            target = replace(self._tables.for_retry(connection, ledger, schema), keeps_keys=True)
            effects = self._side_effects(connection, target)
            facts = partial(read_facts, connection, target, schema, acts=effects.act)
            return FileLoad(connection, ledger, target, effects, self._references(connection, target), facts)

        def retry(schema: StreamSchema) -> None:
            with connection.transaction():
                load = open_load(schema)
                unless = list(load.facts.texts.values()) if chosen is None else ()
                retry_stream(ledger, load, schema.stream, chosen=chosen or everything, unless=unless)
                load.end()

        left = retry_rejected_records(ledger, retry, chosen or everything)
        if left and chosen is None and not self._pool.as_replica:
            Circles(connection, ledger, open_load).retry()
            left = ledger.rejections()
        return left

    async def _on_connection(self, work: Callable[[Connection, ImportLedger], _T]) -> _T:
        async with self._pool.borrow() as connection:
            return await self._run(self._location, work, connection, ImportLedger(connection, self._flow))

    async def _run(self, place: str, work: Callable[[*_Ts], _T], *arguments: *_Ts) -> _T:
        with translated(place):
            return await run_sync(work, *arguments)
