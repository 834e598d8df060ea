"""Values of records as values of a COPY in CSV: most JSON text is CSV text already, the rest is rewritten."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec
import orjson

from pipeline.codec.event_files.array_lines import ARRAY, BETWEEN, END
from pipeline.codec.values import count_lines, from_json
from pipeline.connectors.postgres.loading.rejection.reasons import InvalidRecordError
from pipeline.domain.errors import DamagedError
from pipeline.domain.keys import KeyValue, RawText

COPY_OPTIONS = "(FORMAT csv, ESCAPE '\\', NULL 'null', ENCODING 'UTF8')"

TAG = b'{"$'
"""Begins a tagged object and nothing else: within a string the quote would be escaped."""
_FLOATS = ((b'{"$float":"nan"}', b"NaN"), (b'{"$float":"inf"}', b"Infinity"), (b'{"$float":"-inf"}', b"-Infinity"))
_ESCAPED = re.compile(rb'\\[^"\\]')
_CODE_POINTS = re.compile(rb"(?:\\u[0-9a-fA-F]{4})+")
_PROTECTED = b"\xff"
"""Replaces two backslashes while other escapes are resolved: UTF-8 has no such byte."""
_SIMPLE_ESCAPES = ((rb"\n", b"\n"), (rb"\t", b"\t"), (rb"\r", b"\r"), (rb"\b", b"\b"), (rb"\f", b"\f"), (rb"\/", b"/"))


class Holds(Enum):
    """How the column of the destination reads a value."""

    TEXT = "text"
    """By its text, as the column's type does."""
    BYTES = "bytes"
    ANY = "any"
    """By its JSON, of whatever kind it is."""


@dataclass(frozen=True, slots=True)
class LineColumn:
    """A column of the stream. `holds` is None for a column that is not loaded. `into`: its name here, if it has another."""

    name: str
    holds: Holds | None
    into: str = ""

    @property
    def column(self) -> str:
        """The name of the column of the destination's table."""
        return self.into or self.name


class TaggedBytes(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    data: bytes = msgspec.field(name="$bytes")


def special_places(columns: Iterable[LineColumn]) -> list[tuple[int, Callable[[Any], bytes]]]:
    """Return the places whose values are rewritten, and the functions that do it."""
    how: dict[Holds | None, Callable[[Any], bytes]] = {Holds.BYTES: _hex, Holds.ANY: _as_string}
    return [(place, how[column.holds]) for place, column in enumerate(columns) if column.holds in how]


def _hex(value: TaggedBytes | None) -> bytes:
    return b"null" if value is None else b"\\x" + value.data.hex().encode()


def with_floats(row: bytes) -> bytes:
    """Return CSV with PostgreSQL's text for floats that JSON cannot hold."""
    if TAG in row:
        for tagged, text in _FLOATS:
            row = row.replace(tagged, text)
    return row


def _as_string(raw: Any) -> bytes:
    """Return JSON text as a JSON string that holds it."""
    text = bytes(raw)
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"' if text != b"null" else text


def value_csv(value: object, column: LineColumn) -> bytes:
    """Return a parsed value as CSV with JSON's escapes. InvalidRecordError when the column cannot hold it."""
    if column.holds is Holds.ANY:
        try:
            return b"null" if value is None else orjson.dumps(orjson.dumps(value).decode())
        except orjson.JSONEncodeError as error:
            raise _invalid(column, "JSON that is nested too deep") from error
    try:
        return _scalar_csv(from_json(value), column)
    except DamagedError as error:
        raise _invalid(column, str(error)) from error


def _invalid(column: LineColumn, reason: str) -> InvalidRecordError:
    return InvalidRecordError(f"column {column.name}: {reason}", column.name)


def _scalar_csv(value: KeyValue, column: LineColumn) -> bytes:
    match value:
        case bytes() if column.holds is Holds.BYTES:
            return b"\\x" + value.hex().encode()
        case bytes():
            raise _invalid(column, "bytes, in a column that does not hold bytes")
        case RawText():
            raise _invalid(column, "text that is not valid in its encoding")
        case _ if column.holds is Holds.BYTES and value is not None:
            raise _invalid(column, "a value that is not bytes, in a column that holds bytes")
        case float() if value != value:
            return b"NaN"
        case float() if value in (float("inf"), float("-inf")):
            return b"Infinity" if value > 0 else b"-Infinity"
        case _:
            return orjson.dumps(value)


class _AnyUpsert(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    upsert: msgspec.Raw


_ANY_UPSERTS = msgspec.json.Decoder(_AnyUpsert)


def array_values(block: bytes) -> tuple[int, bytes] | None:
    """Return the number of upserts in a block of arrays, and their values, each row ending in a line feed, or None.

    It is None unless each line is JSON, and an array of strings, numbers, booleans and nulls. How many there are is not
    checked: COPY does it.
    """
    if not block.startswith(ARRAY) or not block.endswith(END):
        return None
    values = block[len(ARRAY) : -len(END)].replace(BETWEEN, b"\n")
    if _has_nested(values):
        return None
    try:
        count = len(_ANY_UPSERTS.decode_lines(block))
    except msgspec.MsgspecError:
        return None
    return (count, values + b"\n") if count_lines(values) == count - 1 else None


def _has_nested(values: bytes) -> bool:
    """Whether rows of JSON values may have an array or an object among them, or a second member of the record.

    One would stand at the start of a row or after a comma. No string has a quoted word, since its quotes are escaped.
    """
    for opening in (b"[", b"{"):
        if opening in values and (values.startswith(opening) or b"," + opening in values or b"\n" + opening in values):
            return True
    return b"[" in values and b'"upsert"' in values


def copy_data(rows: Sequence[bytes]) -> bytes:
    """Return rows with JSON's escapes as the bytes of a COPY with the options `COPY_OPTIONS`."""
    return resolved(b"\n".join(rows) + b"\n")


def resolved(data: bytes) -> bytes:
    """Return rows with JSON's escapes, each ending in a line feed, as the bytes of a COPY with the options `COPY_OPTIONS`."""
    if b"\\" not in data or not _ESCAPED.search(data):  # a byte is found several times faster than a pattern
        return data
    if _PROTECTED in data:  # not UTF-8, so the server rejects it
        return data
    data = data.replace(rb"\\", _PROTECTED)
    for escape, meaning in _SIMPLE_ESCAPES:
        data = data.replace(escape, meaning)
    if rb"\u" in data:
        data = _CODE_POINTS.sub(_characters, data)
    return data.replace(_PROTECTED, rb"\\")


def _characters(escapes: re.Match[bytes]) -> bytes:
    text = orjson.loads(b'"' + escapes[0] + b'"')
    return str(text).replace("\\", "\\\\").replace('"', '\\"').encode()
