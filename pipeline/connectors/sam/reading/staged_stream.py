"""The rows of one table while its files are read: of each key the latest, in a temporary SQLite database.

Rows are in the order of the listing. With `order=sequence`, a row does not replace one with a higher sequence number.
Deletes stay in the database until the end, so that an older upsert in a later file does not undo them.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator, Sequence
from typing import Any

import apsw
import orjson

from pipeline.codec.values import shorten
from pipeline.connectors.sam.header import SamHeader
from pipeline.connectors.sam.options import SamOptions
from pipeline.connectors.sam.reading.column_types import (
    Convert,
    Kinds,
    column_type,
    conversion,
    is_time,
    kind_of,
    staged,
)
from pipeline.connectors.sam.reading.contents import CONTENT
from pipeline.connectors.sam.reading.json_rows import INTEGERS, LineError, Members, check_names, parse_row
from pipeline.connectors.sam.reading.lines import Line
from pipeline.domain.errors import UnreadableError
from pipeline.domain.ids import Label, StreamName
from pipeline.domain.schema import Column, StreamSchema

_MAPPING_KEY = ("migrationScopeId", "entityType", "sourceId")
_TRUE, _FALSE = (True, 1, "true", "TRUE", "1"), (None, False, 0, "false", "FALSE", "0", "")
_INTEGER = re.compile(r"-?[0-9]{1,19}")
MOST_KEY_COLUMNS = 1990
"""SQLite's tables have at most 2,000 columns (https://www.sqlite.org/limits.html, 2); a row has some beside its key."""
Record = tuple[Any, ...]
Where = tuple[str, int]
"""A file, and the number of a line in it."""


class _ColumnError(Exception):
    """The value of a column that cannot be staged, and why."""

    def __init__(self, reason: str, column: str) -> None:
        super().__init__(reason)
        self.column = column


class StagedStream:
    """The rows of the table `name`, staged in a table of `connection` with this `number`."""

    def __init__(self, connection: apsw.Connection, number: int, name: str, options: SamOptions) -> None:
        self.name, self.error = name, ""
        self._db, self._table, self._options = connection, f"stream_{number}", options
        self._columns: dict[str, int] = {}
        self._declared: dict[str, str] = {}
        self._not_null: set[str] = set()
        self._kinds: list[int] = []
        self._times: list[bool] = []
        self._key: tuple[str, ...] = ()
        self._schema: StreamSchema | None = None
        self._is_foreign = False
        self._deleted, self._sequence = options["deleted"], options["sequence"]
        self._special = {self._deleted, self._sequence} - {""}
        self._decimal_keys: set[str] = set()

    # Files ------------------------------------------------------------------------------------------------------------

    def begin_file(self, header: SamHeader, name: str) -> None:
        """Prepare for the rows of a file. UnreadableError when its key is another than that of the files before."""
        key = self._key_of(header)
        if not key:
            raise UnreadableError(f"the header of the file {name} names no columns, so its rows have no key")
        if header.schema is not None and key != header.schema.primary_keys:
            raise UnreadableError(
                f"the file {name} was written by pipeline, with the key {', '.join(header.schema.primary_keys)}, and its "
                f"deletes have no other column; leave out the option key.{self.name}"
            )
        if len(key) > MOST_KEY_COLUMNS:
            raise UnreadableError(
                f"the file {name} has a key of {len(key):,} columns, and {MOST_KEY_COLUMNS:,} are possible; name fewer with "
                f"the option key.{self.name}=COLUMN,COLUMN"
            )
        if self._key and key != self._key:
            raise UnreadableError(
                f"the file {name} has the key {', '.join(key)}, and the files before it {', '.join(self._key)}; name the "
                f"key columns with the option key.{self.name}=COLUMN,COLUMN"
            )
        if not self._key:
            self._key = key
            self._create()
        self._declared |= header.columns
        self._not_null = self._not_null & header.not_null if self._columns else set(header.not_null)
        self._schema = header.schema or self._schema
        self._is_foreign |= header.schema is None
        own = self._schema.columns if self._schema is not None else ()
        self._decimal_keys = {it.name for it in own if it.type == "decimal" and it.name in key}
        for column in header.columns:
            self._position(column)

    def restart(self) -> None:
        """Forget all rows: another snapshot begins."""
        if self._key:
            self._db.execute(f"DELETE FROM {self._table}")

    def _key_of(self, header: SamHeader) -> tuple[str, ...]:
        columns = [name for name in header.columns if name not in self._special]
        if given := self._options.keys.get(self.name):
            return given
        if header.primary_keys:
            return header.primary_keys
        if (default := self._options.default_key) and set(default) <= set(columns):
            return default
        if ids := [name for name in columns if name.lower() == "id"]:
            return (ids[0],)
        return _MAPPING_KEY if set(_MAPPING_KEY) <= set(columns) else tuple(columns)

    def _create(self) -> None:
        keys = ", ".join(self._key_columns())
        self._db.execute(
            f"CREATE TABLE {self._table} ({keys}, sequence, deleted, data, reason, reason_column, PRIMARY KEY ({keys}))"
        )

    def _key_columns(self) -> list[str]:
        return [f"k{at}" for at in range(len(self._key))]

    def _position(self, column: str) -> int:
        at = self._columns.get(column)
        if at is None:
            at = self._columns[column] = len(self._columns)
            self._kinds.append(0)
            self._times.append(is_time(self._declared.get(column, "")))
        return at

    # Rows -------------------------------------------------------------------------------------------------------------

    def add(self, lines: Sequence[Line], name: str) -> None:
        """Add the rows of a file, in order. UnreadableError names the file and the line that has none, or no key."""
        rows = [self._record(number, line, name) for number, line in lines]
        marks = ", ".join("?" * (len(self._key) + 5))
        by_sequence = self._options["order"] == "sequence"
        newer = "WHERE sequence IS NULL OR excluded.sequence IS NULL OR excluded.sequence >= sequence"
        self._db.executemany(
            f"INSERT INTO {self._table} VALUES ({marks}) ON CONFLICT DO UPDATE SET sequence = excluded.sequence, "
            "deleted = excluded.deleted, data = excluded.data, reason = excluded.reason, "
            f"reason_column = excluded.reason_column {newer if by_sequence else ''}",
            rows,
        )

    def _record(self, number: int, line: bytes, name: str) -> Record:
        where = (name, number)
        try:
            row, is_plain = parse_row(line)
            row, deleted = self._unwrapped(row)
            if not is_plain:
                check_names(row)
            repeated = row.repeated if isinstance(row, Members) else set()
            key = tuple([self._key_value(row, column, repeated, where) for column in self._key])
        except LineError as error:
            raise UnreadableError(f"{_shown(where)}: {error}") from None
        reason, column = "", None
        if repeated:
            column = min(repeated)
            reason = f"the member {column!r} comes twice with different values ({_shown(where)}); export the row again"
        sequence = row.pop(self._sequence, None) if self._sequence else None
        mark = row.pop(self._deleted, None) if self._deleted else None
        if mark in _TRUE:
            deleted = True
        elif mark not in _FALSE:
            reason, column = f"{shorten(mark)} is neither true nor false ({_shown(where)})", self._deleted
        number_ = _sequence(sequence)
        if number_ is None and sequence is not None:
            reason, column = f"{shorten(sequence)} is no integer of 64 bits ({_shown(where)})", self._sequence
        data = None
        if not deleted and not reason:
            try:
                data = self._data(row, is_plain=is_plain)
            except _ColumnError as error:
                reason, column = f"{error} ({_shown(where)}); correct it in the app", error.column
        # A row with a doubtful mark is rejected and not deleted.
        return (*key, number_, deleted and not reason, data, reason, column)

    def _unwrapped(self, row: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """Return the row in a record of the form upsert or delete, and whether it is a delete."""
        if len(row) == 1:
            ((action, body),) = row.items()
            if action in ("upsert", "delete") and action not in self._columns and isinstance(body, dict):
                if isinstance(row, Members) and action in row.twice:
                    raise LineError(f"it has several members {action!r}")
                return body, action == "delete"
        return row, False

    def _key_value(self, row: dict[str, Any], column: str, repeated: set[str], where: Where) -> Any:
        value = row.get(column)
        if column not in self._decimal_keys and column not in repeated and _is_plain_key(value):
            return value
        if value is None or column in repeated:
            fault = "is missing or null" if value is None else "comes twice"
            raise UnreadableError(
                f"{_shown(where)}: {column!r}, which belongs to the key, {fault}; name other key columns with the option "
                f"key.{self.name}=COLUMN,COLUMN, or leave the table out with --exclude"
            )
        match staged(value, tagged=self._schema is not None):
            case {"$number": str(text)}:
                is_real = column not in self._decimal_keys and kind_of(value, is_time=False) == Kinds.REAL
                return float(text) if is_real else text
            case {"$bytes": str(text)}:
                return b64decode(text)
            case dict() as tagged:
                raise UnreadableError(
                    f"{_shown(where)}: {column!r}, which belongs to the key, is no plain value: {shorten(tagged)}"
                )
            case int() as plain if plain not in INTEGERS:
                return str(plain)
            case plain:
                return str(plain) if column in self._decimal_keys else plain

    def _data(self, row: dict[str, Any], *, is_plain: bool) -> bytes:
        """Return the staged values by position; columns that no header names are columns, too."""
        values: list[Any] = [None] * len(self._columns)
        kinds, times, tagged, inferred = self._kinds, self._times, self._schema is not None, self._is_foreign
        for column, value in row.items():
            if value is None:
                continue
            at = self._columns.get(column)
            if at is None:
                at = self._position(column)
                values += [None] * (at + 1 - len(values))
            if inferred:
                kinds[at] |= kind_of(value, is_time=times[at])
            plain = is_plain and not isinstance(value, dict | list)
            try:
                values[at] = value if plain else staged(value, tagged=tagged)
            except LineError as error:
                raise _ColumnError(f"the member {column!r}: {error}", column) from None
        return orjson.dumps(values)

    # The result -------------------------------------------------------------------------------------------------------

    def schema(self) -> StreamSchema:
        """Return the schema of the rows that were read. That of this software's files is theirs."""
        if self._schema is not None and not self._is_foreign:
            return self._schema
        key = self._key or ("id",)
        names = dict.fromkeys([*(name for name in self._columns if name not in self._special), *key])
        columns = [
            Column(name, self._type(name), nullable=name not in key and name not in self._not_null) for name in names
        ]
        if self.has_content:
            columns.append(Column(CONTENT, "binary"))
        return StreamSchema(StreamName(self.name), Label(self.name), tuple(columns), key)

    def _type(self, name: str) -> str:
        at = self._columns.get(name)
        return column_type(self._declared.get(name, ""), 0 if at is None else self._kinds[at])

    @property
    def has_content(self) -> bool:
        """Whether the rows name binary files, whose content belongs to them."""
        return self._is_foreign and self._options["binary"] in self._columns and CONTENT not in self._columns

    @property
    def binary_columns(self) -> list[str]:
        """The columns with ids of contents that this software has written."""
        columns = self._schema.columns if self._schema is not None and not self._is_foreign else ()
        return [it.name for it in columns if it.type == "binary"]

    def conversions(self, schema: StreamSchema) -> list[tuple[str, int, Convert]]:
        """Return for each column its name, its position in the staged values, and how these become values of a record."""
        inferred = schema is not self._schema
        return [
            (it.name, self._columns.get(it.name, -1), conversion(it.type, inferred=inferred))
            for it in schema.columns
            if it.name != CONTENT or not self.has_content
        ]

    def finish(self) -> None:
        """Give decimal keys their text form, by which they are ordered."""
        types = {it.name: it.type for it in self.schema().columns}
        for at, column in enumerate(self._key):
            if types.get(column) == "decimal":
                self._db.execute(f"UPDATE {self._table} SET k{at} = CAST(k{at} AS TEXT) WHERE typeof(k{at}) <> 'text'")

    def row_count(self) -> int:
        """Return the number of rows that are not deleted."""
        return (
            int(str(self._db.execute(f"SELECT count(*) FROM {self._table} WHERE NOT deleted").get)) if self._key else 0
        )

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield key values, staged values as JSON, reason and column of each row that is not deleted, in key order."""
        keys = ", ".join(self._key_columns())
        return iter(
            self._db.execute(
                f"SELECT {keys}, data, reason, reason_column FROM {self._table} WHERE NOT deleted ORDER BY {keys}"
            )
        )


def _shown(where: Where) -> str:
    name, number = where
    return f"the file {name}, line {number}"


def _is_plain_key(value: object) -> bool:
    """Whether a value is a key as it is: most are."""
    kind = type(value)
    return (kind is int and value in INTEGERS) or (kind is str and str(value).isascii())


def _sequence(value: object) -> int | None:
    """Return a sequence number; None for what is none."""
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        value = int(value)
    return value if type(value) is int and value in INTEGERS else None
