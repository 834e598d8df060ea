"""An app that fits an Importer: rows of its own types, which change, and the Exporter that reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from pipeline.domain.errors import ConfigurationError
from pipeline.kit.declared import Handler
from pipeline.kit.exporter import Exporter
from pipeline.kit.importer import ALL_STREAMS, Importer
from pipeline.kit.row_types import Field, RowType, row_type
from pipeline.testing.torture.apps.row_values import is_key_type, key_value, some_value

MOST_KEYS = 8
OPEN_COLUMNS: Mapping[str, Any] = {"id": int, "name": str}
"""The columns of a stream whose handler takes any."""
OPEN_STREAM = "things"
"""The stream for the handler of all other streams."""
Key = tuple[Any, ...]
Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class GeneratedStream:
    """A stream for a handler. `references` are its fields that hold keys of other streams, with the names of those.

    `is_single`: its handler gets one row at a time.
    """

    name: str
    row: RowType
    key: tuple[str, ...]
    line: str
    references: Mapping[str, str]
    is_single: bool = False

    @property
    def columns(self) -> Mapping[str, Any] | None:
        """The columns of rows that are dictionaries; None for a type with fields."""
        return OPEN_COLUMNS if self.row.open else None


@dataclass
class GeneratedApp:
    """Tables with rows by their keys."""

    streams: Sequence[GeneratedStream]
    tables: dict[str, dict[Key, Values]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tables = {stream.name: {} for stream in self.streams}

    def change(self, random: Random, changes: int) -> None:
        """Insert, update and delete rows. Rows that refer to a deleted one are deleted with it."""
        for _ in range(changes):
            stream, number = random.choice(self.streams), random.randint(1, MOST_KEYS)
            key = tuple(key_value(field, number, stream.line) for field in stream.row.fields if _is_key(field, stream))
            if random.random() < 0.25:
                self._delete(stream.name, key)
            else:
                self._put(stream, key, random)

    def _put(self, stream: GeneratedStream, key: Key, random: Random) -> None:
        keys, values = iter(key), dict[str, Any]()
        for one in stream.row.fields:
            name = one.column.name
            if name in stream.key:
                values[name] = next(keys)
            elif name in stream.references:
                there = sorted(self.tables[stream.references[name]], key=repr)
                if not there and not one.column.nullable:
                    return  # there is nothing yet to which it may refer
                values[name] = random.choice(there)[0] if there else None
            else:
                values[name] = some_value(one, random)
        self.tables[stream.name][key] = values

    def _delete(self, name: str, key: Key) -> None:
        self.tables[name].pop(key, None)
        for stream in self.streams:
            for column, there in stream.references.items():
                if there == name:
                    rows = self.tables[stream.name]
                    for other in [other for other, row in rows.items() if row[column] == key[0]]:
                        self._delete(stream.name, other)

    def exporter(self, contract: str | None) -> Exporter:
        """Return the Exporter that reads the tables as they are when it begins."""
        exporter = Exporter("generated", contract=contract)
        for stream in self.streams:
            self._declare(exporter, stream)
        return exporter

    def _declare(self, exporter: Exporter, stream: GeneratedStream) -> None:
        columns = stream.columns

        async def rows(client: GeneratedApp) -> AsyncIterator[Any]:
            for values in list(client.tables[stream.name].values()):
                yield stream.row.make(values) if columns is None else values

        kind = dict if stream.row.open else stream.row.type_
        exporter.rows(stream.name, row=kind, key=stream.key, columns=columns)(rows)

    def put_rows(self, stream: GeneratedStream, rows: Sequence[Values]) -> None:
        """Let a stream have these rows and no others."""
        self.tables[stream.name] = {tuple([values[name] for name in stream.key]): values for values in rows}

    def rows(self) -> dict[str, dict[Key, Values]]:
        """Return all rows by stream and key."""
        return {name: dict(table) for name, table in self.tables.items()}


def _is_key(one: Field, stream: GeneratedStream) -> bool:
    return one.column.name in stream.key


def streams_for(
    importer: Importer, keys: Mapping[str, tuple[str, ...]], references: Mapping[str, Mapping[str, str]]
) -> Sequence[GeneratedStream]:
    """Return a stream for each handler. `keys` names the key fields of streams where the names do not show them."""
    names = {name for name in importer.handlers if name != ALL_STREAMS}
    made = [_stream(handler, names, keys, references) for handler in importer.handlers.values()]
    unknown = ", ".join(sorted(set(keys) - {stream.name for stream in made}))
    if unknown:
        raise ConfigurationError(f"A key is given for {unknown}, and the Importer has no handler of that name.")
    return made


def _stream(
    handler: Handler,
    names: set[str],
    keys: Mapping[str, tuple[str, ...]],
    references: Mapping[str, Mapping[str, str]],
) -> GeneratedStream:
    name = OPEN_STREAM if handler.stream == ALL_STREAMS else handler.stream
    row = replace(row_type(dict, OPEN_COLUMNS, handler.line), open=True) if handler.row.open else handler.row
    fields = {one.column.name: one for one in row.fields}
    key = keys.get(name) or _key_of(name, row, handler.line)
    missing = [part for part in key if part not in fields]
    if missing:
        raise ConfigurationError(
            f"{handler.line}: the row of {name!r} has no field {missing[0]!r}, which is to be its key."
        )
    guessed = {field: there for field in fields if field not in key and (there := _refers_to(field, names - {name}))}
    learned = {field: kind for field, kind in references.get(name, {}).items() if kind in names and field not in key}
    return GeneratedStream(name, row, key, handler.line, guessed | learned, handler.creates)


def _key_of(stream: str, row: RowType, line: str) -> tuple[str, ...]:
    """Return the name of the field that is most probably the key of a stream."""
    usable = [one.column.name for one in row.fields if is_key_type(one) and not one.column.nullable]
    single = stream.removesuffix("s")
    for name in ("id", f"{single}_id", f"{stream}_id", f"{single}Id", "key", "uuid", *usable):
        if name in usable:
            return (name,)
    raise ConfigurationError(f"{line}: the row of {stream!r} has no field that can be its key: a number, text or time.")


def _refers_to(field: str, streams: set[str]) -> str | None:
    """Return the stream to whose rows a field most probably refers: `project_id` to `projects`."""
    stem = field.removesuffix("_id").removesuffix("Id")
    if stem == field:
        return None
    return next(
        (name for name in (stem, f"{stem}s", f"{stem}es", f"{stem.removesuffix('y')}ies") if name in streams), None
    )
