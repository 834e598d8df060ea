"""An SQLite database as a destination: rows, mark and rejected records in one transaction an Event File."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence, Set
from contextlib import AbstractContextManager, asynccontextmanager, closing, nullcontext
from functools import partial
from pathlib import Path
from typing import TypeVar, TypeVarTuple

import anyio
import apsw
from anyio.to_thread import run_sync

from pipeline.connectors.sql.contents import with_contents
from pipeline.connectors.sql.large_objects import KIND as LARGE_OBJECT
from pipeline.connectors.sql.large_objects import as_schema_objects, large_object_technology
from pipeline.connectors.sql.object_ledger import COLUMNS, ObjectLedger
from pipeline.connectors.sql.retry import everything, kept_records, retry_rejected_records, retry_stream
from pipeline.connectors.sql.schema_objects import SchemaObject
from pipeline.connectors.sql.schema_stream import object_technology, read_records
from pipeline.connectors.sqlite.connection import (
    BUSY_TIMEOUT_SECONDS,
    ensure_untouched,
    location_of,
    open_destination,
    open_reader,
)
from pipeline.connectors.sqlite.loading.binding import bind_tagged
from pipeline.connectors.sqlite.loading.ensure_table import ensure_table
from pipeline.connectors.sqlite.loading.file_load import FileLoad
from pipeline.connectors.sqlite.loading.import_ledger import ImportLedger
from pipeline.connectors.sqlite.loading.post_load import (
    create_constraints,
    create_indexes,
    foreign_key_violations,
    raise_sequence,
    table_items,
)
from pipeline.connectors.sqlite.loading.schema_evolution import HOLDER, ManagedTables
from pipeline.connectors.sqlite.loading.schema_objects import SchemaObjects
from pipeline.connectors.sqlite.loading.target import Target
from pipeline.connectors.sqlite.schema.objects import TECHNOLOGY
from pipeline.connectors.sqlite.schema.streams import sqlite_native
from pipeline.connectors.sqlite.schema.tables import ensure_ledger_names
from pipeline.domain.ids import EventFileId, FlowName, StreamName
from pipeline.domain.inventory import Fate, InventoryItem
from pipeline.domain.planning.import_guard import reason_to_give_way
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
    Violation,
)
from pipeline.sqlite_access import translated

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class SqliteDestination:
    """The database file at `path`, created when it is missing.

    Commits survive a loss of power (`synchronous=FULL`). A new file has SQLite's default rollback journal, which loads a
    quarter faster than a write-ahead log, since new pages are written once; an existing file keeps its mode. Foreign keys
    are not enforced during the load, and triggers do not fire.
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
            with translated(self.location):
                await run_sync(ensure_ledger_names, connection)
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
    """An open database. One call at a time uses its one connection; SQLite has one writer in any case."""

    def __init__(self, connection: apsw.Connection, flow: FlowName, location: str) -> None:
        self._connection = connection
        self._ledger = ImportLedger(connection, flow)
        self._managed = ManagedTables(connection)
        self._objects = ObjectLedger(
            lambda sql, values: connection.execute(sql, values).fetchall(), "_pipeline_objects", flow
        )
        self._location = location
        self._lock = anyio.Lock()

    def takes_arrays(self, stream: StreamName) -> bool:
        return not stream.startswith("@")

    async def marks(self) -> Mapping[EventFileId, Mark]:
        async with self._lock:
            return await self._run(self._location, self._ledger.marks)

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        place, file = self._place(file.entry.id.stream), with_contents(file)
        async with self._lock:
            await self._run(place, self._choose_encoding, file)
            async with self._transaction(place, file.committing):
                reason = await self._run(place, self._reason_to_give_way, file, after)
                if reason is not None:
                    return GaveWay(reason)
                schema = file.header.schema
                technology = object_technology(schema) or large_object_technology(schema)
                if technology is not None:
                    blocks = [block async for block in file.blocks]
                    return await self._run(place, self._store_objects, file, technology, blocks)
                if await self._run(place, self._is_superseded, file):
                    async for _ in file.blocks:
                        pass  # read to the end, which checks the file
                    mark = Mark(0, 0, movement=file.movement)
                    await self._run(place, self._ledger.mark, file.entry.id, mark)
                    return Loaded(mark)
                load, target = await self._run(place, self._prepare, file)
                columns, line = file.header.schema.column_names, 2
                async for block in file.blocks:
                    line += await self._run(place, load.apply, block, file.entry.id, columns, line)
                return await self._run(place, self._complete, file, load, target)

    async def loaded_streams(self, flow: FlowName) -> Set[StreamName]:
        async with self._lock:
            return await self._run(self._location, self._ledger.loaded_streams, flow)

    async def retry_rejected(self) -> Sequence[Rejection]:
        return await self._retry(None)

    async def retry_chosen(self, chosen: Choose) -> Sequence[Rejection]:
        return await self._retry(chosen)

    async def _retry(self, chosen: Choose | None) -> Sequence[Rejection]:
        """Retry the chosen records; with None all those whose reason may have ended."""

        def retry() -> Sequence[Rejection]:
            self._ledger.create()
            return retry_rejected_records(self._ledger, partial(self._retry_stream, chosen), chosen or everything)

        async with self._lock:
            if not await self._run(self._location, self._ledger.exists):
                return []
            async with self._transaction(self._location):
                return await self._run(self._location, retry)

    async def rejected(self) -> Sequence[KeptRecord]:
        async with self._lock:
            if not await self._run(self._location, self._ledger.exists):
                return []
            await self._run(self._location, self._ledger.create)  # an earlier release may have created it
            return await self._run(self._location, kept_records, self._ledger)

    async def correct_rejected(self, corrected: Sequence[KeptRecord]) -> int:
        async with self._lock, self._transaction(self._location):
            return await self._run(self._location, self._ledger.correct, corrected)

    async def fence(self, movement: int) -> None:
        async with self._lock, self._transaction(self._location):
            await self._run(self._location, self._ledger.create)
            await self._run(self._location, self._ledger.fence, movement)

    async def finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        async with self._lock:
            async with self._transaction(self._location):
                violations = await self._run(self._location, self._create_missing, streams)
            return violations + await self._run(
                self._location, lambda: list(foreign_key_violations(self._connection, streams))
            )

    def _store_objects(self, file: FileToLoad, technology: str, blocks: Sequence[bytes]) -> Loaded:
        self._ledger.create()
        self._connection.execute(f"CREATE TABLE IF NOT EXISTS _pipeline_objects ({COLUMNS}) WITHOUT ROWID")
        read = read_records if object_technology(file.header.schema) else as_schema_objects
        counts = [self._objects.store(read(block), technology) for block in blocks]
        mark = Mark(sum(up for up, _ in counts), sum(down for _, down in counts), movement=file.movement)
        self._ledger.mark(file.entry.id, mark)
        return Loaded(mark)

    async def ensure_objects(self, *, rows_changed: bool) -> Sequence[InventoryItem]:
        async with self._lock:
            if not await self._run(self._location, self._ledger.exists):
                return []
            items = await self._run(self._location, lambda: table_items(self._connection, self._ledger.schemas()))
            if not await self._run(self._location, self._has_objects):
                return items
            async with self._transaction(self._location):
                return [*items, *await self._run(self._location, self._ensure_objects)]

    def _has_objects(self) -> bool:
        return bool(self._connection.execute("SELECT 1 FROM sqlite_schema WHERE name = '_pipeline_objects'").fetchall())

    def _ensure_objects(self) -> Sequence[InventoryItem]:
        wanted, before = self._objects.wanted(), self._objects.created()
        here = SchemaObjects(self._connection, before, self._managed.drops_former)
        items = here.apply(wanted.get(TECHNOLOGY, []))
        self._objects.remember_created(before, here.ours)
        foreign = [one for technology, objects in wanted.items() if technology != TECHNOLOGY for one in objects]
        return [*items, *(_foreign_item(one) for one in foreign)]

    def _place(self, stream: StreamName) -> str:
        return f"{self._location}, table {stream}"

    def _choose_encoding(self, file: FileToLoad) -> None:
        """Give an empty database the source's encoding. SQLite ignores the statement in any other."""
        wanted = sqlite_native(file.header.schema).get("encoding")
        if wanted in ("UTF-16le", "UTF-16be"):
            self._connection.execute(f"PRAGMA encoding = '{wanted}'").fetchall()

    def _reason_to_give_way(self, to_load: FileToLoad, after: Sequence[EventFileId]) -> str | None:
        file = to_load.entry.id
        exists = self._ledger.exists()
        marked = self._ledger.marked_among([file, *after]) if exists else ()
        latest = self._ledger.latest_movement(file.stream) if exists else 0
        fenced = self._ledger.fenced() if exists else 0
        return reason_to_give_way(file, to_load.movement, after, marked=marked, latest_movement=latest, fenced=fenced)

    def _is_superseded(self, file: FileToLoad) -> bool:
        """Whether these are the deletes of a table that was renamed in case alone, whose rows have come under its new name."""
        is_gone = file.entry.upserts == 0 and bool(sqlite_native(file.header.schema)) and self._ledger.exists()
        return is_gone and self._ledger.is_superseded(file.entry.id.stream)

    def _prepare(self, file: FileToLoad) -> tuple[FileLoad, Target]:
        schema = file.header.schema
        self._ledger.create()
        if sqlite_native(schema):
            self._ledger.drop_other_case(schema.stream)
            self._make_place(schema.stream)
        target, is_latest = self._managed.ensure(schema, file.header.export_time)
        if is_latest:
            self._ledger.set_schema(schema)
        return FileLoad(self._connection, self._ledger, target, schema, self._place(schema.stream)), target

    def _make_place(self, stream: StreamName) -> None:
        """Drop what was made here under the name of a table that is new at the source."""
        held = self._connection.execute(f"SELECT type = 'table' AND rootpage > 0 {HOLDER}", (stream,)).get
        if held is None or held:
            return
        self._managed.drops_former(stream)
        if self._has_objects():
            before = self._objects.created()
            here = SchemaObjects(self._connection, before, self._managed.drops_former)
            here.make_place(stream)
            self._objects.remember_created(before, here.ours)

    def _retry_stream(self, chosen: Choose | None, schema: StreamSchema) -> None:
        target = ensure_table(self._connection, schema)
        load = FileLoad(self._connection, self._ledger, target, schema, self._place(schema.stream))
        unless = [load.definition] if chosen is None and load.definition is not None else []
        retry_stream(self._ledger, load, schema.stream, chosen=chosen or everything, unless=unless)

    def _complete(self, file: FileToLoad, load: FileLoad, target: Target) -> Loaded:
        load.finish(file.entry.id)
        rejections = tuple(self._ledger.rejections(file.entry.id))
        mark = Mark(load.upserts, load.deletes, len(rejections), len(file.opened), file.movement)
        self._ledger.mark(file.entry.id, mark)
        return Loaded(mark, rejections, target.skipped)

    def _create_missing(self, streams: Sequence[StreamName]) -> list[Violation]:
        violations = list(self._managed.retry_rebuilds(streams))
        schemas = self._ledger.schemas() if self._ledger.exists() else ()
        for schema in (schema for schema in schemas if schema.stream in streams):
            native = sqlite_native(schema)
            if native:
                violations += create_indexes(self._connection, self._managed, schema)
                raise_sequence(self._connection, schema.stream, native)
            else:
                violations += create_constraints(self._connection, self._managed, schema)
        return violations

    @asynccontextmanager
    async def _transaction(
        self, place: str, committing: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> AsyncIterator[None]:
        """Commit the work of the block; roll it back when the block raises or is cancelled."""
        await self._run(place, self._connection.execute, "BEGIN IMMEDIATE")
        try:
            yield
            with committing():
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


_OTHER_FORMS = {
    "collation": "text sorts by its bytes",
    "domain": "values have the base type, without its checks",
    "extension": "values of its types are text",
    "schema": "its tables have its name as a prefix",
    "type": "values are text",
}


def _foreign_item(one: SchemaObject) -> InventoryItem:
    """Return what becomes of an object of another technology."""
    if one.kind == "sequence" and one.facts.get("table") is not None:
        return InventoryItem(one.kind, one.name, Fate.OTHER_FORM, "SQLite numbers the rows of a table by itself")
    if one.kind in _OTHER_FORMS:
        return InventoryItem(one.kind, one.name, Fate.OTHER_FORM, _OTHER_FORMS[one.kind])
    if one.kind == LARGE_OBJECT:
        return InventoryItem(one.kind, one.name, Fate.NOT_MOVED, "SQLite has no large objects")
    return InventoryItem(one.kind, one.name, Fate.NOT_MOVED, "it is written in the language of another database")
