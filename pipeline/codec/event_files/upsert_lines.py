"""Whole rows to upsert lines and back, a block at a time: the fast path for rows of plain values.

A row is a tuple with one value a column. msgspec encodes and decodes it as a structure, without a dictionary in
between, in a third of the time. Other values are converted one by one (`values.py`). Both paths produce the same bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import Annotated, Any

import msgspec

from pipeline.codec.event_files.array_lines import ARRAY, array_record
from pipeline.codec.values import count_lines
from pipeline.codec.wire import can_name_members
from pipeline.domain.keys import KeyValue

Row = tuple[KeyValue, ...]

_Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Finite = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
_Plain = _Integer | float | str | None
"""Values that JSON holds as they are. Non-finite floats are excluded elsewhere: a line cannot hold them."""
_BODY = attrgetter("upsert")


class _PlainRows(msgspec.Struct, gc=False, array_like=True):
    """Rows as the only member of a structure: msgspec caches the type of a structure, but not that of a list."""

    rows: list[tuple[_Integer | _Finite | str | None, ...]]


class _ArrayRecord(msgspec.Struct, gc=False):
    upsert: Row


class UpsertLines:
    """Encodes and decodes the upsert lines of a stream. Use `upsert_lines_for` to create one."""

    def __init__(self, columns: Sequence[str]) -> None:
        names = [f"column_{place}" for place in range(len(columns))]
        renamed = dict(zip(names, columns, strict=True))
        self._body: Any = msgspec.defstruct(
            "Body", [(name, _Plain) for name in names], rename=renamed, gc=False, forbid_unknown_fields=True
        )
        self._record: Any = msgspec.defstruct("Record", [("upsert", self._body)], gc=False, forbid_unknown_fields=True)
        self._decoder = msgspec.json.Decoder(self._record)
        self._array_decoder = msgspec.json.Decoder(array_record([_Plain] * len(columns)))
        self._encoder = msgspec.json.Encoder()

    def encode(self, rows: Sequence[Row]) -> bytes:
        """Return one line a row, each ending in a line feed. All values MUST be plain, and floats finite."""
        record, body = self._record, self._body
        return self._encoder.encode_lines([record(body(*row)) for row in rows])

    def encode_arrays(self, rows: Sequence[Row]) -> bytes:
        """Return what `encode` returns, but with the values of a row in an array."""
        return self._encoder.encode_lines(list(map(_ArrayRecord, rows)))

    def decode(self, block: bytes) -> list[KeyValue] | None:
        """Return the values of all rows in one list; None unless every line is a whole row of plain values.

        All of them have names, or all are arrays.

        A flat list serves a statement for many rows without creating a list for each.
        """
        try:
            decoder = self._array_decoder if block.startswith(ARRAY) else self._decoder
            records: list[Any] = decoder.decode_lines(block)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        if len(records) != count_lines(block):
            return None
        return list(chain.from_iterable(map(msgspec.structs.astuple, map(_BODY, records))))


def are_plain(rows: Sequence[Row]) -> bool:
    """Whether JSON can hold all values of these rows as they are."""
    try:
        msgspec.convert((rows,), _PlainRows)
    except msgspec.ValidationError:
        return False
    return True


def upsert_lines_for(columns: Sequence[str]) -> UpsertLines | None:
    """Return the fast path for these columns; None when msgspec does not accept one of their names."""
    return UpsertLines(columns) if can_name_members(columns) else None
