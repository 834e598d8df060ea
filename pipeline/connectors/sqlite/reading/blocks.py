"""A block of rows of a table: kept packed, hashed and turned into keys and JSON when asked.

Rows are packed, some dozen to one string of bytes, since most rows of most Movements are never looked at: millions of
small objects that live as long as a block take more time than packing them. What was asked of a block is got ready with
the next one, as it is read.
"""

from __future__ import annotations

import math
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import itemgetter
from struct import Struct
from typing import Any

import msgspec
import orjson
from anyio.to_thread import run_sync
from xxhash import xxh3_64_digest, xxh3_64_intdigest, xxh3_128

from pipeline.codec.event_files.upsert_lines import UpsertLines, are_plain, upsert_lines_for
from pipeline.codec.values import to_json
from pipeline.domain.keys import Key, KeyValue, RawText
from pipeline.domain.schema import StreamSchema
from pipeline.ports.source import StoreBinary

Row = tuple[KeyValue, ...]

pack: Callable[[Row], bytes] = msgspec.msgpack.Encoder().encode
_pack_all: Callable[[Sequence[Row]], bytes] = msgspec.msgpack.Encoder().encode
_unpack_row: Callable[[bytes], Row] = msgspec.msgpack.Decoder(tuple).decode
_unpack: Callable[[bytes], list[Row]] = msgspec.msgpack.Decoder(list[tuple]).decode  # type: ignore[type-arg]
_ARRAY = Struct(">BI")
"""MessagePack: one value has one form there, in every release (https://github.com/msgpack/msgpack/blob/master/spec.md).

The form of a row tells where it ends, so rows one after the other can be read in one way only, and be digested as one.
`_ARRAY` is what begins an array of so many. A shorter one begins with fewer bytes: up to `_FEW` with one, up to 65,535
with `_BEGIN_BYTES`.
"""
_FEW = 15
_BEGIN_BYTES = 3
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

    def lines(self, rows: Sequence[Row]) -> bytes:
        """Return an upsert line for each row."""
        if self.upsert_lines is not None and are_plain(rows):
            return self.upsert_lines.encode(rows)
        return b"".join([self._line(row) for row in rows])

    def _line(self, row: Row) -> bytes:
        values: Iterable[object] = map(to_json, row) if math.inf in row or -math.inf in row else row
        record = {"upsert": dict(zip(self.names, values, strict=True))}
        return orjson.dumps(record, _tagged, _OPTIONS)


@dataclass(slots=True)
class Demand:
    """What was asked of the latest block: about its rows one by one, and the JSON of most of them."""

    rows: bool = False
    lines: bool = False


class Gathered:
    """The rows of a block on the way in: packed, a batch at a time; and more of them where more will be asked for.

    What can be made of a row is made here, while its values are in the processor's cache, so that they need not be kept.
    """

    def __init__(self, form: RowForm, demand: Demand, pack_row: Callable[[Row], bytes]) -> None:
        """`pack_row` packs rows. Those that `pack_carefully` packs are kept as they are, since they cannot be unpacked."""
        whole = pack_row is pack_carefully
        self.form = form
        self.pack_row = pack_row
        self.count = 0
        self.size = 0
        self.batches: list[tuple[int, bytes]] = []
        self.packed: list[bytes] | None = [] if demand.rows else None
        self.key_parts: list[Any] | None = [] if demand.rows else None
        self.lines: list[bytes] | None = [] if demand.lines else None
        self.whole: list[Row] | None = [] if whole else None
        self._hasher = xxh3_128(seed=form.seed)

    def add(self, batch: Sequence[Row]) -> int:
        """Take some rows, fewer than 65,536; return how many bytes they are."""
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
        if self.lines is not None:
            self.lines.append(self.form.lines(batch))
        if self.whole is not None:
            self.whole += batch
        elif batch:
            self.batches.append((len(batch), joined))
        return len(joined)

    def pack_carefully(self) -> None:
        """Pack rows the careful way from here on."""
        self.rows()
        self.pack_row = pack_carefully

    def digest(self) -> bytes:
        """Return the digest of the packed rows, one after the other."""
        return self._hasher.digest()

    def rows(self) -> Sequence[Row]:
        """Return the rows as they are."""
        if self.whole is None:
            self.whole = [row for count, joined in self.batches for row in _unpack(_ARRAY.pack(0xDD, count) + joined)]
            self.batches = []
        return self.whole


class SqliteRowBlock:
    """Consecutive rows of one table."""

    def __init__(self, rows: Gathered, demand: Demand) -> None:
        """Hold rows. What is asked of the block is noted in `demand`."""
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
        """Return what `RowForm.key_part` gives for each row."""
        self._demand.rows = True
        if self._gathered.key_parts is None:
            self._gathered.key_parts = list(map(self._form.key_part, self._gathered.rows()))
        return self._gathered.key_parts

    def row_hashes(self) -> bytes:
        self._demand.rows = True
        if self._gathered.packed is None:
            self._gathered.packed = list(map(self._gathered.pack_row, self._gathered.rows()))
        return b"".join(map(xxh3_64_digest, self._gathered.packed, repeat(self._form.seed)))

    async def upserts(self, positions: Sequence[int], store_binary: StoreBinary) -> bytes:
        self._demand.lines = 2 * len(positions) > len(self)
        if self._gathered.lines is None:
            return await run_sync(self._lines, positions)
        lines = b"".join(self._gathered.lines)
        if len(positions) == len(self):
            return lines
        each = lines.splitlines(keepends=True)  # JSON holds no line feed and no carriage return as such
        return b"".join([each[at] for at in positions])

    def _lines(self, positions: Sequence[int]) -> bytes:
        return self._form.lines(self.rows_at(positions))

    def rows_at(self, positions: Sequence[int]) -> Sequence[Row]:
        """Return the rows at these ascending positions."""
        gathered = self._gathered
        if len(positions) == len(self):
            return gathered.rows()
        if gathered.whole is None and gathered.packed is not None:
            return [_unpack_row(gathered.packed[at]) for at in positions]
        rows = gathered.rows()
        return [rows[at] for at in positions]


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
