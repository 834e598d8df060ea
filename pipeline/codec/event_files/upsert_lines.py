"""Whole rows to upsert lines and back, a block at a time: the quick way for rows of plain values.

A row is a tuple of values, one for each column. msgspec writes and reads it as a structure, without a dictionary in
between, which takes a third of the time (docs/decisions/0007). What is not plain goes the other way, value by value
(`values.py`); both ways give the same bytes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from typing import Annotated, Any

import msgspec

from pipeline.codec.values import count_lines
from pipeline.domain.keys import KeyValue

Row = tuple[KeyValue, ...]

_Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Finite = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
_Plain = _Integer | float | str | None
"""The types whose values JSON holds as they are; of floats, only the finite ones. Lines can hold no others: none is looked for."""
_BODY = attrgetter("upsert")
_UNWRITABLE = re.compile(r'["\\\x00-\x1f]')
"""Characters that msgspec takes in no name of a member."""


class _PlainRows(msgspec.Struct, gc=False, array_like=True):
    """A list of rows as the only member: what a structure holds is looked up by the class, what a list holds at each call anew."""

    rows: list[tuple[_Integer | _Finite | str | None, ...]]


class UpsertLines:
    """The upsert lines of a stream with these columns, which `upsert_lines_for` has found fit."""

    def __init__(self, columns: Sequence[str]) -> None:
        names = [f"column_{place}" for place in range(len(columns))]
        renamed = dict(zip(names, columns, strict=True))
        self._body: Any = msgspec.defstruct(
            "Body", [(name, _Plain) for name in names], rename=renamed, gc=False, forbid_unknown_fields=True
        )
        self._record: Any = msgspec.defstruct("Record", [("upsert", self._body)], gc=False, forbid_unknown_fields=True)
        self._decoder = msgspec.json.Decoder(self._record)
        self._encoder = msgspec.json.Encoder()

    def encode(self, rows: Sequence[Row]) -> bytes:
        """Return a line for each row, each ending in a line feed. All values must be plain, and floats finite."""
        record, body = self._record, self._body
        return self._encoder.encode_lines([record(body(*row)) for row in rows])

    def decode(self, block: bytes) -> list[KeyValue] | None:
        """Return the values of all rows, one row after the other; None when a line is anything but a whole row of plain values.

        Lists of rows would be made, only to be taken apart by a statement for many of them.
        """
        try:
            records: list[Any] = self._decoder.decode_lines(block)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None
        if len(records) != count_lines(block):
            return None
        return list(chain.from_iterable(map(msgspec.structs.astuple, map(_BODY, records))))


def are_plain(rows: Sequence[Row]) -> bool:
    """Whether JSON holds all values of all rows as they are."""
    try:
        msgspec.convert((rows,), _PlainRows)
    except msgspec.ValidationError:
        return False
    return True


def upsert_lines_for(columns: Sequence[str]) -> UpsertLines | None:
    """Return the quick way for these columns; None when the name of one keeps them from it."""
    return None if any(map(_UNWRITABLE.search, columns)) else UpsertLines(columns)
