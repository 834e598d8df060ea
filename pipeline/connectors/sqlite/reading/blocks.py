"""Blocks of rows of a table: packed, and hashed and turned into keys and JSON on demand.

Some dozen rows are packed to one byte string, since most rows of most Movements are unchanged: to keep millions of small
objects for the life of a block takes more time than to pack them. What the caller has used of a block is prepared for the
next one while that is read.
"""

from __future__ import annotations

import math
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import itemgetter
from struct import Struct
from typing import Any

import msgspec
import orjson
from anyio.to_thread import run_sync
from xxhash import xxh3_64_digest, xxh3_64_intdigest, xxh3_128

from pipeline.codec.event_files.event_file import MAX_LINE_BYTES, too_long
from pipeline.codec.event_files.upsert_lines import UpsertLines, are_plain, upsert_lines_for
from pipeline.codec.values import to_json
from pipeline.domain.keys import Key, KeyValue, RawText
from pipeline.domain.schema import StreamSchema
from pipeline.ports.source import UpsertSink

Row = tuple[KeyValue, ...]

pack: Callable[[Row], bytes] = msgspec.msgpack.Encoder().encode
_pack_all: Callable[[Sequence[Row]], bytes] = msgspec.msgpack.Encoder().encode
_unpack_row: Callable[[bytes], Row] = msgspec.msgpack.Decoder(tuple).decode
_unpack: Callable[[bytes], list[Row]] = msgspec.msgpack.Decoder(list[tuple]).decode  # type: ignore[type-arg]
_ARRAY = Struct(">BI")
"""The beginning of an array in MessagePack (https://github.com/msgpack/msgpack/blob/master/spec.md), with its length.

msgspec writes equal values as equal bytes, in every release. A packed row shows where it ends, so consecutive rows can be
read in one way only, and digested as one string. A shorter array begins with fewer bytes: of up to `_FEW` items with one,
of up to 65,535 with `_BEGIN_BYTES`.
"""
LARGE_BLOCK_BYTES = 64 * 1024 * 1024
"""A smaller block has no row whose line could be too long, even if each byte becomes an escape of six."""
_FEW = 15
_BEGIN_BYTES = 3
_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATACLASS


class RowForm:
    """How the rows of a stream are hashed, where their keys are, and how they become lines."""

    def __init__(self, schema: StreamSchema) -> None:
        self.names = schema.column_names
        self.seed = xxh3_64_intdigest(orjson.dumps(schema.column_names))
        self.upsert_lines: UpsertLines | None = upsert_lines_for(schema.column_names)
        places = [schema.column_names.index(name) for name in schema.primary_keys]
        self.key_part: Callable[[Row], Any] = itemgetter(*places)
        """Returns the key of a row: a value if the key is one column, a tuple otherwise."""
        self._is_single = len(places) == 1

    def key(self, row: Row) -> Key:
        """Return the key of a row."""
        return (self.key_part(row),) if self._is_single else self.key_part(row)

    def keys(self, parts: Sequence[Any]) -> Sequence[Key]:
        """Return the keys of rows from the results of `key_part`."""
        return list(zip(parts, strict=True)) if self._is_single else parts

    def too_long(self, row: Row) -> tuple[str, str] | None:
        """Return why the line of a row would be too long, and its largest column; None when it is not."""
        sizes = [_json_size(value) for value in row]
        if sum(sizes) <= MAX_LINE_BYTES:
            return None
        return too_long(sum(sizes)), self.names[sizes.index(max(sizes))]

    def lines(self, rows: Sequence[Row], *, arrays: bool) -> bytes:
        """Return an upsert line for each row: with names, or as arrays."""
        fast = self.upsert_lines
        if fast is not None and are_plain(rows):
            return fast.encode_arrays(rows) if arrays else fast.encode(rows)
        return b"".join([self._line(row, arrays=arrays) for row in rows])

    def _line(self, row: Row, *, arrays: bool) -> bytes:
        values: Sequence[object] = list(map(to_json, row)) if math.inf in row or -math.inf in row else row
        record = {"upsert": values if arrays else dict(zip(self.names, values, strict=True))}
        return orjson.dumps(record, _tagged, _OPTIONS)


@dataclass(slots=True)
class Demand:
    """What the caller asked of the latest block: keys or hashes of single rows, the JSON of most rows, and that as arrays."""

    rows: bool = False
    lines: bool = False
    arrays: bool = False


class Gathered:
    """The rows of a block while it is read: packed, a batch at a time, with what the caller is expected to ask for.

    Everything is derived here, while the values are in the processor's cache, so that they need not be kept.
    """

    def __init__(self, form: RowForm, demand: Demand, pack_row: Callable[[Row], bytes]) -> None:
        """`pack_row` packs rows. Rows packed by `pack_slowly` are also kept, since they cannot be unpacked."""
        whole = pack_row is pack_slowly
        self.form = form
        self.pack_row = pack_row
        self.count = 0
        self.size = 0
        self.batches: list[tuple[int, bytes]] = []
        self.packed: list[bytes] | None = [] if demand.rows else None
        self.key_parts: list[Any] | None = [] if demand.rows else None
        self.lines: list[bytes] | None = [] if demand.lines else None
        self.arrays = demand.arrays
        self.whole: list[Row] | None = [] if whole else None
        self._hasher = xxh3_128(seed=form.seed)

    def add(self, batch: Sequence[Row]) -> int:
        """Add fewer than 65,536 rows; return their size in bytes."""
        if self.packed is None and self.pack_row is pack:
            joined = _pack_all(batch)[_BEGIN_BYTES if len(batch) > _FEW else 1 :]
        else:
            packed = list(map(self.pack_row, batch))
            joined = b"".join(packed)
            if self.packed is not None and self.key_parts is not None:
                self.packed += packed
                self.key_parts += map(self.form.key_part, batch)
        self._hasher.update(joined)
        self.count += len(batch)
        self.size += len(joined)
        if self.size > LARGE_BLOCK_BYTES:
            self.lines = None  # `upserts` looks at each row
        elif self.lines is not None:
            self.lines.append(self.form.lines(batch, arrays=self.arrays))
        if self.whole is not None:
            self.whole += batch
        elif batch:
            self.batches.append((len(batch), joined))
        return len(joined)

    def pack_slowly(self) -> None:
        """Pack the following rows on the slow path."""
        self.rows()
        self.pack_row = pack_slowly

    def digest(self) -> bytes:
        """Return the digest of the packed rows."""
        return self._hasher.digest()

    def rows(self) -> Sequence[Row]:
        """Return the rows, unpacked."""
        if self.whole is None:
            self.whole = [row for count, joined in self.batches for row in _unpack(_ARRAY.pack(0xDD, count) + joined)]
            self.batches = []
        return self.whole


class SqliteRowBlock:
    """Consecutive rows of one table."""

    def __init__(self, rows: Gathered, demand: Demand) -> None:
        """Hold rows. `demand` records what the caller asks of the block."""
        self._gathered = rows
        self._form = rows.form
        self._demand = demand
        self._digest = rows.digest()

    def __len__(self) -> int:
        return self._gathered.count

    def digest(self) -> bytes:
        return self._digest

    def last_key(self) -> Key:
        gathered = self._gathered
        if gathered.whole is not None:
            return self._form.key(gathered.whole[-1])
        count, joined = gathered.batches[-1]
        return self._form.key(_unpack(_ARRAY.pack(0xDD, count) + joined)[-1])

    def keys(self) -> Sequence[Key]:
        return self._form.keys(self.key_parts())

    def key_parts(self) -> Sequence[Any]:
        """Return the result of `RowForm.key_part` for each row."""
        self._demand.rows = True
        if self._gathered.key_parts is None:
            self._gathered.key_parts = list(map(self._form.key_part, self._gathered.rows()))
        return self._gathered.key_parts

    def row_hashes(self) -> bytes:
        self._demand.rows = True
        if self._gathered.packed is None:
            self._gathered.packed = list(map(self._gathered.pack_row, self._gathered.rows()))
        return b"".join(map(xxh3_64_digest, self._gathered.packed, repeat(self._form.seed)))

    async def upserts(self, positions: Sequence[int], sink: UpsertSink) -> bytes:
        return await self._upserts(positions, sink, arrays=False)

    async def upsert_arrays(self, positions: Sequence[int], sink: UpsertSink) -> bytes:
        return await self._upserts(positions, sink, arrays=True)

    async def _upserts(self, positions: Sequence[int], sink: UpsertSink, *, arrays: bool) -> bytes:
        self._demand.lines, self._demand.arrays = 2 * len(positions) > len(self), arrays
        if self._gathered.size > LARGE_BLOCK_BYTES:
            return await run_sync(self._lines_of_large_rows, positions, sink, arrays)
        if self._gathered.lines is None or self._gathered.arrays is not arrays:
            return await run_sync(self._lines, positions, arrays)
        lines = b"".join(self._gathered.lines)
        if len(positions) == len(self):
            return lines
        each = lines.splitlines(keepends=True)  # no JSON value contains a line feed or a carriage return
        return b"".join([each[at] for at in positions])

    def _lines_of_large_rows(self, positions: Sequence[int], sink: UpsertSink, arrays: bool) -> bytes:
        lines = []
        for at, row in zip(positions, self.rows_at(positions), strict=True):
            if found := self._form.too_long(row):
                sink.reject(at, *found)
            else:
                lines.append(self._form.lines([row], arrays=arrays))
        return b"".join(lines)

    def _lines(self, positions: Sequence[int], arrays: bool) -> bytes:
        return self._form.lines(self.rows_at(positions), arrays=arrays)

    def rows_at(self, positions: Sequence[int]) -> Sequence[Row]:
        """Return the rows at these ascending positions."""
        gathered = self._gathered
        if len(positions) == len(self):
            return gathered.rows()
        if gathered.whole is None and gathered.packed is not None:
            return [_unpack_row(gathered.packed[at]) for at in positions]
        rows = gathered.rows()
        return [rows[at] for at in positions]


def _json_size(value: KeyValue) -> int:
    """Return about how many bytes a value takes in a line."""
    match value:
        case bytes() | RawText():
            return 4 * len(value if isinstance(value, bytes) else value.data) // 3
        case str():
            return len(value)
        case _:
            return 0


def pack_slowly(row: Row) -> bytes:
    """Return the bytes to hash: those of the fast path, but with `RawText` as a tuple, which no other value is."""
    return pack(tuple([(value.data,) if isinstance(value, RawText) else value for value in row]))  # type: ignore[misc]


def _tagged(value: object) -> dict[str, str]:
    match value:
        case bytes():
            return {"$bytes": b2a_base64(value, newline=False).decode()}
        case RawText(data):
            return {"$text": b2a_base64(data, newline=False).decode()}
        case _:
            raise TypeError(type(value).__name__)
