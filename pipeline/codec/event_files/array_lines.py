"""Upserts whose values stand in an array, in the order of the header's columns (format version 2).

Such a line is a third shorter, and needs no names to be looked up. A caller that takes records by name gets `NamedLines`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any

import msgspec
import orjson

from pipeline.codec.values import count_lines

ARRAY = b'{"upsert":['
"""Begins the line of an upsert that is an array. It has no blanks between values."""
BETWEEN = b']}\n{"upsert":['
"""Stands between the values of two such lines, and nowhere within one: JSON escapes line feeds."""
END = b"]}\n"
_BODY = attrgetter("upsert")
_values: Any = msgspec.structs.astuple


def array_record(fields: Sequence[type | Any], **other: Any) -> Any:
    """Return the type of an upsert whose values stand in an array, one of each type of `fields`.

    `other` are further members of a record, with their types, which may be missing.
    """
    names = [(f"column_{place}", type_) for place, type_ in enumerate(fields)]
    body: Any = msgspec.defstruct("Array", names, array_like=True, forbid_unknown_fields=True, gc=False)
    members = [("upsert", body | None, None), *((name, type_ | None, None) for name, type_ in other.items())]
    return msgspec.defstruct(
        "ArrayRecord", members if other else [("upsert", body)], gc=False, forbid_unknown_fields=True
    )


def joined(rows: bytes) -> bytes:
    """Return rows of JSON values, each ending in a line feed, as lines."""
    return ARRAY + rows[:-1].replace(b"\n", BETWEEN) + END if rows else b""


def joined_each(rows: Iterable[bytes]) -> bytes:
    """Return one or more rows of JSON values, without line feeds, as lines."""
    return ARRAY + BETWEEN.join(rows) + END


class NamedLines:
    """Turns upserts that are arrays of values for these columns into objects."""

    def __init__(self, columns: Sequence[str]) -> None:
        names = [orjson.dumps(name).replace(b"%", b"%%") for name in columns]
        self._template = b'{"upsert":{%b}}\n' % b",".join([name + b":%b" for name in names])
        self._decoder = msgspec.json.Decoder(array_record([msgspec.Raw] * len(columns)))

    def of(self, block: bytes) -> bytes:
        """Return the same whole lines with names. Lines that are no such arrays stay as they are, for the caller to judge."""
        if ARRAY not in block:
            return block
        try:
            records: list[Any] = self._decoder.decode_lines(block)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            records = []
        if len(records) != count_lines(block):
            return b"".join([self._line(line) + b"\n" for line in block.split(b"\n")[:-1]])
        return self._template * len(records) % tuple(chain.from_iterable(map(_values, map(_BODY, records))))

    def _line(self, line: bytes) -> bytes:
        try:
            values = _values(self._decoder.decode(line).upsert)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return line
        named: bytes = self._template % values
        return named[:-1]


def with_names(record: Any, columns: Sequence[str]) -> Any:
    """Return a parsed record with names, if it is an upsert of an array with a value for each column."""
    match record:
        case {"upsert": list(values), **rest} if not rest and len(values) == len(columns):
            return {"upsert": dict(zip(columns, values, strict=True))}
        case _:
            return record
