"""Values of records as values of a COPY in CSV: which JSON text is CSV text already, and what becomes of the rest."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec
import orjson

from pipeline.codec.values import from_json
from pipeline.connectors.postgres.loading.rejections import InvalidRecordError
from pipeline.domain.errors import DamagedError
from pipeline.domain.keys import KeyValue, RawText

COPY_OPTIONS = "(FORMAT csv, ESCAPE '\\', NULL 'null', ENCODING 'UTF8')"

TAG = b'{"$'
"""How a tagged object begins, and nothing else does: within a string the quote would be escaped."""
_FLOATS = ((b'{"$float":"nan"}', b"NaN"), (b'{"$float":"inf"}', b"Infinity"), (b'{"$float":"-inf"}', b"-Infinity"))
_ESCAPED = re.compile(rb'\\[^"\\]')
_CODE_POINTS = re.compile(rb"(?:\\u[0-9a-fA-F]{4})+")
_PROTECTED = b"\xff"
"""Stands for two backslashes while other escapes are resolved: UTF-8 has no such byte."""
_SIMPLE_ESCAPES = ((rb"\n", b"\n"), (rb"\t", b"\t"), (rb"\r", b"\r"), (rb"\b", b"\b"), (rb"\f", b"\f"), (rb"\/", b"/"))


class Holds(Enum):
    """What the column of the destination does with a value."""

    TEXT = "text"
    """It reads the value's text by its type's own rules."""
    BYTES = "bytes"
    ANY = "any"
    """It keeps the value's JSON, of whatever kind it is."""


@dataclass(frozen=True, slots=True)
class LineColumn:
    """A column of the stream. `holds` is None for a column that does not go in."""

    name: str
    holds: Holds | None


class TaggedBytes(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    data: bytes = msgspec.field(name="$bytes")


def special_places(columns: Iterable[LineColumn]) -> list[tuple[int, Callable[[Any], bytes]]]:
    """Return the places whose values must be rewritten, and how."""
    how: dict[Holds | None, Callable[[Any], bytes]] = {Holds.BYTES: _hex, Holds.ANY: _as_string}
    return [(place, how[column.holds]) for place, column in enumerate(columns) if column.holds in how]


def _hex(value: TaggedBytes | None) -> bytes:
    return b"null" if value is None else b"\\x" + value.data.hex().encode()


def with_floats(row: bytes) -> bytes:
    """Return CSV with the floats that JSON cannot hold as PostgreSQL writes them."""
    if TAG in row:
        for tagged, text in _FLOATS:
            row = row.replace(tagged, text)
    return row


def _as_string(raw: Any) -> bytes:
    """Return JSON text as a JSON string of it."""
    text = bytes(raw)
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"' if text != b"null" else text


def value_csv(value: object, column: LineColumn) -> bytes:
    """Return a value of a parsed record as CSV with JSON's escapes. InvalidRecordError when the column cannot hold it."""
    if column.holds is Holds.ANY:
        return b"null" if value is None else orjson.dumps(_json(value, column).decode())
    try:
        return _scalar_csv(from_json(value), column)
    except DamagedError as error:
        raise InvalidRecordError(f"column {column.name}: {error}", column.name) from error


def _json(value: object, column: LineColumn) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise InvalidRecordError(f"column {column.name}: JSON that is nested too deep", column.name) from error


def _scalar_csv(value: KeyValue, column: LineColumn) -> bytes:
    match value:
        case bytes() if column.holds is Holds.BYTES:
            return b"\\x" + value.hex().encode()
        case bytes():
            raise InvalidRecordError(f"column {column.name}: bytes, in a column that does not hold bytes", column.name)
        case RawText():
            raise InvalidRecordError(f"column {column.name}: text that is not valid in its encoding", column.name)
        case _ if column.holds is Holds.BYTES and value is not None:
            raise InvalidRecordError(
                f"column {column.name}: {type(value).__name__}, in a column that holds bytes", column.name
            )
        case float() if value != value:
            return b"NaN"
        case float() if value in (float("inf"), float("-inf")):
            return b"Infinity" if value > 0 else b"-Infinity"
        case _:
            return orjson.dumps(value)


def copy_data(rows: Sequence[bytes]) -> bytes:
    """Return rows with JSON's escapes as the bytes of a COPY with the options `COPY_OPTIONS`."""
    data = b"\n".join(rows) + b"\n"
    if b"\\" not in data or not _ESCAPED.search(data):  # one byte is found several times as fast as a pattern
        return data
    if _PROTECTED in data:  # which is not UTF-8: the server says so
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
