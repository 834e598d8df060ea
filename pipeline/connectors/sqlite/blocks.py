"""A block of rows of a table: kept packed, hashed and turned into keys and JSON when asked.

Rows are packed, since most rows of most Movements are never looked at: millions of small objects that live as long as a
block take more time than packing them. What was asked of a block is got ready with the next one, as it is read.
"""

from __future__ import annotations

import math
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import itemgetter
from typing import Any

import msgspec
import orjson
from anyio.to_thread import run_sync
from xxhash import xxh3_64_digest, xxh3_64_intdigest, xxh3_128_digest

from pipeline.codec.upsert_lines import PLAIN_TYPES, UpsertLines, upsert_lines_for
from pipeline.codec.values import to_json
from pipeline.domain.keys import Key, KeyValue, RawText
from pipeline.domain.schema import StreamSchema
from pipeline.ports.source import StoreBinary

Row = tuple[KeyValue, ...]

pack: Callable[[Row], bytes] = msgspec.msgpack.Encoder().encode
_unpack: Callable[[bytes], Row] = msgspec.msgpack.Decoder(tuple).decode
"""MessagePack: one value has one form there, in every release (https://github.com/msgpack/msgpack/blob/master/spec.md).

The form of a row tells where it ends, so rows one after the other can be read in one way only, and be digested as one.
"""
_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATACLASS


class RowForm:
    """What all blocks of a stream share: how its rows are hashed, where their keys are, and how they become lines."""

    def __init__(self, schema: StreamSchema) -> None:
        self.names = schema.column_names
        self.seed = xxh3_64_intdigest(orjson.dumps(schema.column_names))
        self.upsert_lines: UpsertLines | None = upsert_lines_for(schema.column_names)
        places = [schema.column_names.index(name) for name in schema.primary_keys]
        self.key_part: Callable[[Row], Any] = itemgetter(*places)
        """The key of a row: a value where the key is one column, and a tuple otherwise."""
        self._is_single = len(places) == 1

    def key(self, row: Row) -> Key:
        """Return the key of a row."""
        return (self.key_part(row),) if self._is_single else self.key_part(row)

    def keys(self, parts: Sequence[Any]) -> Sequence[Key]:
        """Return the keys of rows, of which `parts` are what `key_part` gave."""
        return list(zip(parts, strict=True)) if self._is_single else parts


@dataclass(slots=True)
class Demand:
    """What was asked of the latest block: its keys, or the JSON of most of its rows."""

    keys: bool = False
    lines: bool = False


@dataclass(slots=True)
class Gathered:
    """The rows of a block on the way in: packed; and their keys, and they themselves, where these will be asked for."""

    form: RowForm
    packed: list[bytes]
    key_parts: list[Any] | None
    whole: list[Row] | None

    def add(self, batch: Sequence[Row], packed: list[bytes]) -> None:
        """Take some rows."""
        self.packed += packed
        if self.key_parts is not None:
            self.key_parts += map(self.form.key_part, batch)
        if self.whole is not None:
            self.whole += batch

    def keep_whole(self) -> None:
        """Keep the rows as they are from here on: those that come cannot be unpacked."""
        if self.whole is None:
            self.whole = [_unpack(row) for row in self.packed]


class SqliteRowBlock:
    """Consecutive rows of one table. Its digest is that of its packed rows, one after the other."""

    def __init__(self, rows: Gathered, demand: Demand) -> None:
        self._form = rows.form
        self._packed = rows.packed
        self._key_parts = rows.key_parts
        self._whole = rows.whole
        self._demand = demand
        self._digest = xxh3_128_digest(b"".join(rows.packed), rows.form.seed)

    def __len__(self) -> int:
        return len(self._packed)

    def digest(self) -> bytes:
        return self._digest

    def last_key(self) -> Key:
        return self._form.key(self._row(-1))

    def keys(self) -> Sequence[Key]:
        self._demand.keys = True
        if self._key_parts is None:
            rows = self._whole if self._whole is not None else map(_unpack, self._packed)
            self._key_parts = list(map(self._form.key_part, rows))
        return self._form.keys(self._key_parts)

    def row_hashes(self) -> bytes:
        return b"".join(map(xxh3_64_digest, self._packed, repeat(self._form.seed)))

    async def upserts(self, positions: Sequence[int], store_binary: StoreBinary) -> bytes:
        self._demand.lines = 2 * len(positions) > len(self)
        return await run_sync(self._lines, positions)

    def _row(self, at: int) -> Row:
        return self._whole[at] if self._whole is not None else _unpack(self._packed[at])

    def _lines(self, positions: Sequence[int]) -> bytes:
        rows = (
            self._whole if self._whole is not None and len(positions) == len(self) else list(map(self._row, positions))
        )
        if self._form.upsert_lines is not None and _are_plain(rows):
            return self._form.upsert_lines.encode(rows)
        return b"".join([self._line(row) for row in rows])

    def _line(self, row: Row) -> bytes:
        values: Iterable[object] = map(to_json, row) if math.inf in row or -math.inf in row else row
        record = {"upsert": dict(zip(self._form.names, values, strict=True))}
        return orjson.dumps(record, _tagged, _OPTIONS)


def _are_plain(rows: Sequence[Row]) -> bool:
    """Whether JSON holds all values as they are. Looks at a column at a time, and for infinities only among floats."""
    for column in zip(*rows, strict=True):
        kinds = set(map(type, column))
        if not kinds <= PLAIN_TYPES or (float in kinds and (math.inf in column or -math.inf in column)):
            return False
    return True


def pack_carefully(row: Row) -> bytes:
    """Return the bytes to hash: those of the quick way, except that `RawText` is a tuple, which no value else is."""
    return pack(tuple([(value.data,) if isinstance(value, RawText) else value for value in row]))  # type: ignore[misc]


def _tagged(value: object) -> dict[str, str]:
    match value:
        case bytes():
            return {"$bytes": b2a_base64(value, newline=False).decode()}
        case RawText(data):
            return {"$text": b2a_base64(data, newline=False).decode()}
        case _:
            raise TypeError(type(value).__name__)
