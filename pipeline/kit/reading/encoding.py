"""Rows of an author's type as upsert lines with their keys. Values are checked against the annotations of the fields."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, NamedTuple

import msgspec
import orjson

from pipeline.codec.event_files.upsert_lines import Row, are_plain, upsert_lines_for
from pipeline.codec.values import JsonValue, key_text, to_json
from pipeline.domain.errors import UnreadableError
from pipeline.domain.keys import Key, KeyValue
from pipeline.domain.schema import Column
from pipeline.kit.configuration.secret import without_secrets
from pipeline.kit.declared import DeclaredStream
from pipeline.kit.reading.text_forms import decimal_key, encoder_of
from pipeline.log_events import log
from pipeline.masking import masked
from pipeline.ports.source import RowRejection

_INTEGER = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_REAL = float | Annotated[int, msgspec.Meta(ge=-(2**53), le=2**53)]
"""What is in a column of type real without a look at the value: a float, or an integer that a float is equal to."""
_CHECKED = {"boolean": bool, "integer": int, "real": float, "text": str, "bytes": bytes}
_INTEGERS = range(-(2**63), 2**63)
NOTHING_REJECTED: Mapping[int, RowRejection] = {}


def _type_of(column: Column) -> Any:
    kind: Any = {"integer": _INTEGER, "real": _REAL}.get(column.type, _CHECKED.get(column.type, Any))
    return kind | None if column.nullable and kind is not Any else kind


class EncodedRow(NamedTuple):
    """A row: its key, and its line without the line feed."""

    key: Key
    line: bytes


new_row: Callable[[tuple[Key, bytes]], EncodedRow] = partial(tuple.__new__, EncodedRow)
"""Makes a row of a key and a line in half the time."""


def rejected_line(key: Mapping[str, object], reason: str, column: str | None, *, absent: bool = False) -> bytes:
    """Return the line of a row that cannot be given. `absent`: the app's last list did not have it."""
    return orjson.dumps({"rejected": key, "reason": reason, "column": column, **({"absent": True} if absent else {})})


def rejection_in(line: bytes) -> RowRejection | None:
    """Return why the row of a line is rejected; None for one that is not."""
    if not line.startswith(b'{"rejected":'):
        return None
    record = orjson.loads(line)
    return RowRejection(record["reason"], record["column"])


class RowEncoder:
    """Encodes the rows of one stream. Errors name the author's function, the key and the column."""

    def __init__(self, declared: DeclaredStream) -> None:
        self._declared = declared
        self._read = declared.row.read
        columns = declared.row.columns
        self._names = [column.name for column in columns]
        self._key = [self._names.index(name) for name in declared.key]
        self._encoders = [encoder_of(field.column.type, field.python) for field in declared.row.fields]
        for at in self._key:
            if columns[at].type == "decimal":
                self._encoders[at] = decimal_key
        self._encodes = any(self._encoders)
        plain = [at for at, encode in enumerate(self._encoders) if encode is None]
        self._integers = {at: int for at in plain if columns[at].type == "integer"}
        self._real_key = {at: float for at in plain if columns[at].type == "real" and at in self._key}
        self._known = frozenset(self._names) if declared.row.is_mapping else None
        self._lines = upsert_lines_for(self._names)
        kinds = zip(columns, self._encoders, strict=True)
        types = tuple([Any if encode else _type_of(column) for column, encode in kinds])
        checked: Any = list[tuple[types]]  # type: ignore[valid-type]  # the columns are known only here
        self._checked = msgspec.defstruct("Rows", [("rows", checked)], array_like=True, gc=False)

    def values(self, rows: Sequence[object]) -> list[tuple[Any, ...]]:
        """Return the values of rows, checked, and written in their text forms."""
        try:
            values = [self._read(row) for row in rows]
        except (AttributeError, TypeError, KeyError) as error:
            raise self._wrong_row(rows, error) from error
        if self._known is not None:
            self._name_undeclared(rows, self._known)
        try:
            msgspec.convert((values,), self._checked)
        except (msgspec.ValidationError, UnicodeEncodeError):  # its message may not hold the value
            for row in values:
                self._check(row)
            values = [self._with_numbers(row, self._integers) for row in values]
        if self._real_key:
            values = [self._with_numbers(row, self._real_key) for row in values]
            for row in values:
                if any(math.isnan(row[at]) for at in self._real_key):
                    raise self._error(row, "has a key that is not a number")
        if not self._encodes:
            return values
        return [self._encoded(row) for row in values]

    def encode(
        self, values: Sequence[Row], rejected: Mapping[int, RowRejection] = NOTHING_REJECTED
    ) -> list[EncodedRow]:
        """Return the rows of these values as lines; those at the positions `rejected` as rejected records."""
        if rejected:
            return [
                self._rejected(row, rejected[at]) if at in rejected else self.encode([row])[0]
                for at, row in enumerate(values)
            ]
        lines = self._plain_lines(values)
        if lines is None:
            values = [tuple(map(_exact, row)) for row in values]
            lines = [self._line(row) for row in values]
        if len(self._key) == 1:
            (at,) = self._key
            keys: Iterator[Key] = zip([row[at] for row in values])  # tuples of one value
        else:
            keys = map(operator.itemgetter(*self._key), values)
        return list(map(new_row, zip(keys, lines, strict=False)))

    def _with_numbers(self, row: tuple[Any, ...], places: Mapping[int, type]) -> tuple[Any, ...]:
        """Return a row with numbers of the types of these columns: True is an integer to Python, and 2 a float."""
        values = list(row)
        for at, kind in places.items():
            if values[at] is not None and type(values[at]) is not kind:
                values[at] = kind(_exact(values[at]))
        return tuple(values)

    def deletes(self, keys: Sequence[object]) -> list[EncodedRow]:
        """Return the delete records of these keys. UnreadableError when one has other values than the key has."""
        found = []
        for given in keys:
            parts = given if isinstance(given, tuple) else (given,)
            try:
                key = tuple([self._key_part(at, part) for at, part in zip(self._key, parts, strict=True)])
            except (TypeError, ValueError, AttributeError) as error:
                raise UnreadableError(
                    f"{self._declared.line}: {without_secrets(repr(given))[:100]} is no key of the stream {self._declared.name!r}"
                ) from error
            found.append(EncodedRow(key, orjson.dumps({"delete": self._body(key)})))
        return found

    def _key_part(self, at: int, value: Any) -> KeyValue:
        """Return a value of a key as rows have it. TypeError or ValueError when it is of another type."""
        if encode := self._encoders[at]:
            return encode(value)
        kind: Any = _CHECKED[self._declared.row.columns[at].type]
        if not isinstance(value, kind) and not (kind is float and type(value) is int):
            raise TypeError(value)
        if type(value) is int and value not in _INTEGERS:
            raise ValueError(value)
        part: KeyValue = kind(value) if kind in (int, float) else value
        return part

    def _rejected(self, row: Row, why: RowRejection) -> EncodedRow:
        key = tuple([row[at] for at in self._key])
        return EncodedRow(key, rejected_line(self._body(key), masked(why.reason), why.column))

    def _body(self, key: Key) -> dict[str, JsonValue]:
        return {name: to_json(value) for name, value in zip(self._declared.key, key, strict=True)}

    def not_text(self, error: UnicodeEncodeError) -> UnreadableError:
        """Return the error of a key, or a version of a content, that is no valid text."""
        return UnreadableError(
            f"{self._declared.line}: a row of the stream {self._declared.name!r} has a key or a version that is no valid "
            f"text: {masked(error.object)[:80]!r}"
        )

    def _plain_lines(self, values: Sequence[Row]) -> list[bytes] | None:
        """Return the lines on the fast path; None when a value is of another class, or text is no Unicode."""
        if self._lines is None or not are_plain(values):
            return None
        try:
            return self._lines.encode(values).split(b"\n")
        except (UnicodeEncodeError, TypeError):
            return None

    def _line(self, row: Row) -> bytes:
        body = {name: to_json(value) for name, value in zip(self._names, row, strict=True)}
        try:
            return orjson.dumps({"upsert": body})
        except (orjson.JSONEncodeError, TypeError) as error:
            raise self._error(row, f"cannot be written: {error}") from error

    def _encoded(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        encoded = list(row)
        for at, encode in enumerate(self._encoders):
            if encode is None:
                continue
            if row[at] is None:
                self._check_none(row, at)
                encoded[at] = "null" if self._is_json_null(at) else None
            else:
                try:
                    encoded[at] = encode(row[at])
                except (TypeError, ValueError, AttributeError, OverflowError) as error:
                    raise self._error(row, f"has in the column {self._names[at]!r} {error}") from error
        return tuple(encoded)

    def _name_undeclared(self, rows: Sequence[Any], known: frozenset[str]) -> None:
        """Log once that rows have members which no column is declared for: they are not moved."""
        row = next((row for row in rows if not known.issuperset(row)), None)
        if row is not None:
            self._known = None
            undeclared = sorted(str(name) for name in set(row) - known)
            log.warning("members_undeclared", stream=self._declared.name, members=undeclared, at=self._declared.line)

    def _check(self, row: tuple[Any, ...]) -> None:
        """Raise the error of a row that has a value of another type than its column, if it has one."""
        for at, (field, value) in enumerate(zip(self._declared.row.fields, row, strict=True)):
            column, name = field.column, self._names[at]
            if value is None:
                self._check_none(row, at)
                continue
            kind = _CHECKED.get(column.type)
            if kind is None or self._encoders[at]:
                continue
            if not isinstance(value, kind) and not (kind is float and type(value) is int):
                shown = type(value).__name__
                raise self._error(row, f"has in the column {name!r} a value of the type {shown}, not {kind.__name__}")
            if type(value) is int and value not in _INTEGERS:
                raise self._error(
                    row, f"has in the column {name!r} an integer of more than 64 bits. Declare it as Decimal"
                )
            if type(value) is int and kind is float and float(value) != value:
                raise self._error(
                    row, f"has in the column {name!r} an integer that no float is equal to. Declare it as int"
                )

    def _check_none(self, row: tuple[Any, ...], at: int) -> None:
        if not self._declared.row.fields[at].column.nullable and not self._is_json_null(at):
            kind = "key" if at in self._key else "value"
            raise self._error(row, f"has no {kind} in the column {self._names[at]!r}")

    def _is_json_null(self, at: int) -> bool:
        """Whether None in a column is the JSON value null: in a field of the type `Json`, without `| None`."""
        field = self._declared.row.fields[at]
        return field.python is Any and not field.column.nullable

    def _wrong_row(self, rows: Sequence[object], error: Exception) -> UnreadableError:
        wanted = getattr(self._declared.row.type_, "__name__", str(self._declared.row.type_))
        found = next((row for row in rows if not self._is_readable(row)), None)
        return UnreadableError(
            f"{self._declared.line}: the stream {self._declared.name!r} gave a row of the type {type(found).__name__}, "
            f"not {wanted} ({error}). Return rows of that type"
        )

    def _is_readable(self, row: object) -> bool:
        try:
            self._read(row)
        except (AttributeError, TypeError, KeyError):
            return False
        return True

    def _error(self, row: tuple[Any, ...], fault: str) -> UnreadableError:
        key: Sequence[object] = [row[at] for at in self._key]
        plain: list[KeyValue] = [_shown(value) for value in key]
        return UnreadableError(
            f"{self._declared.line}: the row with key {key_text(tuple(plain))} of the stream {self._declared.name!r} {fault}"
        )


def _shown(value: object) -> KeyValue:
    """Return a part of a key as a message shows it."""
    if isinstance(value, float | bytes) or (isinstance(value, int) and value in _INTEGERS):
        return value
    return without_secrets(str(value))[:300]


def _exact(value: Any) -> Any:
    """Return a value of a class of the author's, such as a subclass of `str`, as one of the class below it."""
    if type(value) is bool:
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    for kind, plain in _EXACT.items():
        if isinstance(value, kind):
            return value if type(value) is kind else plain(value)
    return value


_EXACT: Mapping[type, Callable[[Any], object]] = {
    str: str.__str__, int: int.__int__, float: float.__float__, bytes: bytes.__bytes__
}  # fmt: skip
"""How a value becomes one of exactly this class, whatever a subclass has made of its own conversions."""
