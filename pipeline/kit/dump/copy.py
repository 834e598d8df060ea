"""What an Importer's app holds, as its `dump` gives it, read like a source, to be compared with the source of the Flow.

An object of a stream of `creates` has an id of the app's own. The id map says which row of the source it is.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import orjson
from anyio import to_thread

from pipeline.domain.comparison.readings import APP
from pipeline.domain.errors import UnreadableError
from pipeline.domain.ids import Label, StreamName
from pipeline.domain.keys import Key
from pipeline.domain.schema import Column, StreamSchema
from pipeline.kit.authors_line import line_of
from pipeline.kit.calls import open_client
from pipeline.kit.declared import Delivery, Handler
from pipeline.kit.dump.contents import content_text
from pipeline.kit.dump.dumped_rows import DumpedRow, dumped_rows
from pipeline.kit.dump.natural import key_value, record_value
from pipeline.kit.importer import Importer
from pipeline.kit.ledger.id_map import StoredIds, source_text
from pipeline.kit.ledger.kept import Kept
from pipeline.kit.loading.python_values import is_declared_json
from pipeline.kit.loading.rejected import RejectedRecords, opened_rejections
from pipeline.kit.reading.blocks import LineBlock
from pipeline.kit.reading.encoding import EncodedRow
from pipeline.kit.reading.sorting import RUN_BYTES, RowSorter
from pipeline.kit.reading.spool import batches
from pipeline.kit.values import Binary
from pipeline.ports.app_copy import Repeats
from pipeline.ports.destination import Rejection
from pipeline.temporary_database import no_room

BATCH_ROWS = 1000
KEYS_NAMED = 20
"""Objects that the Flow has not created, and keys that are there twice, of each stream, that are named; all are counted."""

ReadSchemas = Callable[[], Awaitable[Sequence[StreamSchema]]]
"""Returns the streams that the Flow has stored."""


@dataclass(slots=True)
class _Held:
    """What the app holds of one stream. `columns` are those that at least one row has."""

    schema: StreamSchema
    handler: Handler
    sorter: RowSorter
    columns: set[str] = field(default_factory=set)
    added: list[EncodedRow] = field(default_factory=list)
    unknown: int = 0
    first_unknown: list[Key] = field(default_factory=list)
    repeats: Repeats = field(default_factory=Repeats)

    @property
    def has_own_ids(self) -> bool:
        """Whether the app gives its objects ids."""
        return self.handler.delivery in (Delivery.FOUND, Delivery.AT_LEAST_ONCE)


class ImporterCopy:
    """The app that an Importer loads, as a Source. `kept` is what the Flow keeps for it."""

    def __init__(
        self, location: str, importer: Importer, settings: object | None, kept: Kept, schemas: ReadSchemas
    ) -> None:
        self.location = location
        self._importer, self._settings = importer, settings
        self._kept, self._ids, self._schemas = kept, StoredIds(kept), schemas

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[AppSnapshot]:
        """Read all that the app holds. Without a `dump` it is not opened."""
        importer = self._importer
        handled = {one.stream: one for one in await self._schemas() if importer.handler_of(one.stream) is not None}
        if importer.dump_function is None:
            yield AppSnapshot(importer, handled, {}, {}, self._ids, None)
            return
        async with AsyncExitStack() as stack:
            stack.callback(self._ids.close)
            await self._ids.refresh()
            rejected = await stack.enter_async_context(opened_rejections(self._kept))
            held: dict[StreamName, _Held] = {}
            for stream, schema in handled.items():
                handler = importer.handler_of(stream)
                assert handler is not None
                sorter = RowSorter(RUN_BYTES // len(handled))
                stack.callback(sorter.close)
                held[stream] = _Held(schema, handler, sorter)
            others: dict[StreamName, set[str]] = {}
            async with (
                open_client(importer.connection, self._settings, self.location) as client,
                aclosing(dumped_rows(importer, client)) as rows,
            ):
                async for row in rows:
                    if (stream_held := held.get(row.stream)) is None:
                        others.setdefault(row.stream, set()).update(row.row)
                    else:
                        await self._add(stream_held, row)
            for one in held.values():
                await _flush(one)
            yield AppSnapshot(importer, handled, held, others, self._ids, rejected)

    async def _add(self, held: _Held, row: DumpedRow) -> None:
        key: Any = row.key
        if held.has_own_ids:
            key = self._ids.source(row.stream, source_text(key))
            if key is None:
                held.unknown += 1
                if len(held.first_unknown) < KEYS_NAMED:
                    held.first_unknown.append((source_text(row.key),))
                return
            if len(held.schema.primary_keys) > 1:
                key = tuple(msgspec.json.decode(key))
        held.columns.update(row.row)
        values = {
            name: await self._content(held, key, name, value) if isinstance(value, Binary) else value
            for name, value in row.row.items()
        }
        held.added.append(self._encoded(held, key, values))
        if len(held.added) == BATCH_ROWS:
            await _flush(held)

    async def _content(self, held: _Held, key: Any, column: str, binary: Binary) -> str:
        function = self._importer.dump_function
        assert function is not None  # without one there is no row
        try:
            return await content_text(binary)
        except OSError as error:
            raise UnreadableError(
                f"{line_of(function)}: the content in the column {column!r} of {held.schema.stream!r}, key {key!r}, cannot be "
                f"read: {error.strerror or error}"
            ) from error

    def _encoded(self, held: _Held, key: Any, row: Mapping[str, object]) -> EncodedRow:
        function = self._importer.dump_function
        assert function is not None  # without one there is no row
        columns = {column.name: column for column in held.schema.columns}
        types = {name: column.type for name, column in columns.items()}
        names, parts = held.schema.primary_keys, key if isinstance(key, tuple) else (key,)
        try:
            found = tuple([key_value(part, columns[name]) for name, part in zip(names, parts, strict=True)])
        except (ValueError, TypeError, KeyError, SyntaxError) as error:
            raise UnreadableError(
                f"{line_of(function)}: the dump yields the key {key!r} of {held.schema.stream!r}, whose key is "
                f"{', '.join(f'{name} ({types[name]})' for name in names)}. Yield the key as the records have it"
            ) from error
        values = {name: record_value(row[name], types[name]) for name in types if name in row}
        documents = [one for one in held.schema.columns if one.type == "json" or is_declared_json(one)]
        never_null = [one.name for one in documents if not one.nullable]
        values |= {name: "null" for name in never_null if values.get(name, "") is None}  # None is the JSON value null
        values |= {name: record_value(part, "") for name, part in zip(names, found, strict=True)}
        try:
            return EncodedRow(found, orjson.dumps({"upsert": values}))
        except TypeError as error:
            raise UnreadableError(
                f"{line_of(function)}: the dump yields a row of {held.schema.stream!r} with the key {key!r} that cannot be "
                f"written: {error}. Yield values as the records have them"
            ) from error


async def _flush(held: _Held) -> None:
    added, held.added = held.added, []
    try:
        await to_thread.run_sync(held.sorter.add, added)
    except OSError as error:
        raise no_room(error.strerror or str(error)) from error


class AppSnapshot:
    """What an app held when it was read: a Snapshot, and an AppCopy."""

    def __init__(
        self,
        importer: Importer,
        handled: Mapping[StreamName, StreamSchema],
        held: Mapping[StreamName, _Held],
        others: Mapping[StreamName, set[str]],
        ids: StoredIds,
        rejected: RejectedRecords | None,
    ) -> None:
        self._importer, self._handled, self._held = importer, handled, held
        self._others, self._ids, self._rejected = others, ids, rejected
        self._kinds = ids.kinds() if held else ()
        self.why_not = ""
        if importer.dump_function is None:
            where = f"Declare one with @importer.dump ({importer.line})"
            self.why_not = f"not compared: the Importer {importer.name!r} has no dump. {where}"

    async def streams(self) -> Sequence[StreamSchema]:
        """Return the streams. A column that no row has is left out; values may have any form, of the type of their field."""
        found = []
        for stream, schema in self._handled.items():
            held = self._held.get(stream)
            seen = held.columns if held is not None and held.columns else set(schema.column_names)
            keys = set(schema.primary_keys)
            types = self._types(stream)
            columns = [
                one if one.name in keys else Column(one.name, APP, native_type=types.get(one.name, ""))
                for one in schema.columns
                if one.name in seen | keys
            ]
            columns += [Column(name, APP) for name in sorted(seen - set(schema.column_names))]
            found.append(replace(schema, columns=tuple(columns), native={"app": True}))
        for stream, names in self._others.items():
            columns = [Column(name, APP) for name in sorted(names)]
            found.append(StreamSchema(stream, Label(stream), tuple(columns), (), {"app": True}))
        return sorted(found, key=lambda schema: schema.stream)

    def _types(self, stream: StreamName) -> Mapping[str, str]:
        """Return the column types of the fields of a handler's row: what its values mean, where the source has text."""
        handler = self._importer.handler_of(stream)
        return {field.column.name: field.column.type for field in handler.row.fields} if handler is not None else {}

    @asynccontextmanager
    async def open_rows(self, schema: StreamSchema) -> AsyncIterator[AsyncIterator[LineBlock]]:
        async with aclosing(_blocks(self._held[schema.stream])) as blocks:
            yield blocks

    def handles(self, stream: StreamName) -> bool:
        return self._importer.handler_of(stream) is not None

    def rejection(self, stream: StreamName, key: str) -> Rejection | None:
        found = self._rejected.find(stream, key) if self._rejected is not None else None
        return found.rejection() if found is not None else None

    def ignored_columns(self, schema: StreamSchema) -> Sequence[str]:
        handler = self._importer.handler_of(schema.stream)
        if handler is None or handler.row.open:
            return ()
        taken = {column.name for column in handler.row.columns} | set(schema.primary_keys)
        return [name for name in schema.column_names if name not in taken]

    def unknown(self, stream: StreamName) -> tuple[int, Sequence[Key]]:
        held = self._held.get(stream)
        return (held.unknown, held.first_unknown) if held is not None else (0, ())

    def repeats(self, stream: StreamName) -> Repeats:
        held = self._held.get(stream)
        return held.repeats if held is not None else Repeats()

    async def is_id_of(self, here: object, there: object) -> bool:
        if here is None or there is None:
            return False
        source, target = source_text(here), source_text(there)
        entries = (self._ids.entry(kind, source) for kind in self._kinds)
        return any(entry is not None and entry.target == target for entry in entries)


def _rows(held: _Held) -> Iterator[EncodedRow]:
    """Yield the rows in key order. Of those with one key, the first is given, and the others are counted."""
    last, keys, first, objects = None, 0, list[Key](), 0
    is_repeated = False
    for key, line in held.sorter.entries():
        if key != last:
            last, is_repeated = key, False
            yield EncodedRow(key, line)
            continue
        objects += 1
        keys += not is_repeated
        if not is_repeated and len(first) < KEYS_NAMED:
            first.append(key)
        is_repeated = True
    held.repeats = Repeats(keys, tuple(first), objects)


async def _blocks(held: _Held) -> AsyncGenerator[LineBlock, None]:
    merged = batches(_rows(held), BATCH_ROWS)
    try:
        while batch := await to_thread.run_sync(next, merged, None):
            yield LineBlock(batch)
    except OSError as error:
        raise no_room(error.strerror or str(error)) from error
