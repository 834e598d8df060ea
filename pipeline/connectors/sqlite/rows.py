"""Rows of a table as blocks: read in key order, hashed as they come, turned into JSON when asked.

A block keeps its rows packed, since most rows of most Movements are never looked at: millions of small objects that
live as long as a block take more time than packing them. As soon as a block's rows have become JSON, the next block is
kept as it is.

There are two ways to read. The quick one takes values as SQLite hands them out. It cannot take text that is not valid
UTF-8: at the first such value the rest of the table is read the careful way, which takes text as bytes. Both give
equal rows equal hashes. A UTF-16 database is always read the careful way, since SQLite's own conversion would silently
alter text that is not valid UTF-16.
"""

from __future__ import annotations

import math
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, repeat
from operator import itemgetter
from typing import Any, Self

import anyio
import apsw
import msgspec
import orjson
from anyio.to_thread import run_sync
from xxhash import xxh3_64_digest, xxh3_64_intdigest

from pipeline.codec.upsert_lines import PLAIN_TYPES, UpsertLines, upsert_lines_for
from pipeline.codec.values import to_json
from pipeline.connectors.sqlite.connection import quoted
from pipeline.connectors.sqlite.errors import translated
from pipeline.connectors.sqlite.schema import Table, order_terms
from pipeline.domain.keys import Key, KeyValue, RawText
from pipeline.domain.schema import StreamSchema
from pipeline.ports.source import StoreBinary

BLOCK_ROWS = 8000
BLOCK_BYTES = 2 * 1024 * 1024
BATCH_ROWS = 64
LARGE_ROW_BYTES = BLOCK_BYTES // BATCH_ROWS
"""A block ends with the batch that reaches one of the first two: so it holds at most that much and one batch.

After a row of `LARGE_ROW_BYTES`, and at the start of a table, a batch is one row.
"""

Row = tuple[KeyValue, ...]

_pack: Callable[[Row], bytes] = msgspec.msgpack.Encoder().encode
_unpack: Callable[[bytes], Row] = msgspec.msgpack.Decoder(tuple).decode
"""MessagePack: one value has one form there, in every release (https://github.com/msgpack/msgpack/blob/master/spec.md)."""
_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATACLASS
_CODECS = {"UTF-8": "utf-8", "UTF-16le": "utf-16-le", "UTF-16be": "utf-16-be"}


@dataclass(slots=True)
class _Demand:
    """Whether the rows of the latest block became JSON: then those of the next one are not packed to be unpacked again."""

    is_high: bool = False


class SqliteRowBlock:
    """Consecutive rows of one table, with the key and the hash of each."""

    def __init__(
        self,
        schema: StreamSchema,
        upsert_lines: UpsertLines | None,
        rows: Sequence[Row] | Sequence[bytes],
        keys: Sequence[Any],
        hashes: bytes,
        demand: _Demand,
    ) -> None:
        """Hold `rows`, packed or not, which go through `upsert_lines` when all their values are plain.

        `keys` are values where the key is one column, and tuples otherwise.
        """
        self._schema = schema
        self._upsert_lines = upsert_lines
        self._rows = rows
        self._keys = keys
        self._hashes = hashes
        self._demand = demand

    def __len__(self) -> int:
        return len(self._rows)

    def keys(self) -> Sequence[Key]:
        return list(zip(self._keys, strict=True)) if len(self._schema.primary_keys) == 1 else self._keys

    def row_hashes(self) -> bytes:
        return self._hashes

    async def upserts(self, positions: Sequence[int], store_binary: StoreBinary) -> bytes:
        self._demand.is_high = 2 * len(positions) > len(self._rows)
        return await run_sync(self._lines, positions)

    def _lines(self, positions: Sequence[int]) -> bytes:
        chosen = self._rows if len(positions) == len(self._rows) else [self._rows[at] for at in positions]
        rows = [_unpack(row) if isinstance(row, bytes) else row for row in chosen]
        if self._upsert_lines is not None and _are_plain(rows):
            return self._upsert_lines.encode(rows)
        return b"".join([self._line(row) for row in rows])

    def _line(self, row: Row) -> bytes:
        values: Iterable[object] = map(to_json, row) if math.inf in row or -math.inf in row else row
        record = {"upsert": dict(zip(self._schema.column_names, values, strict=True))}
        return orjson.dumps(record, _tagged, _OPTIONS)


def _are_plain(rows: Sequence[Row]) -> bool:
    """Whether JSON holds all values as they are. Looks at a column at a time, and for infinities only among floats."""
    for column in zip(*rows, strict=True):
        kinds = set(map(type, column))
        if not kinds <= PLAIN_TYPES or (float in kinds and (math.inf in column or -math.inf in column)):
            return False
    return True


@dataclass(slots=True)
class _Rows:
    """The rows of a block on the way in: packed, to be hashed, and as they are where they are wanted like that."""

    whole: list[Row] | None
    packed: list[bytes] = field(default_factory=list)
    keys: list[Any] = field(default_factory=list)

    def unpack(self) -> None:
        """Keep the rows as they are from here on: those that come cannot be unpacked."""
        if self.whole is None:
            self.whole = [_unpack(row) for row in self.packed]


class SqliteRows:
    """The rows of one table from the first key on, as an asynchronous iterator of blocks, for one task."""

    def __init__(
        self,
        connection: apsw.Connection,
        lock: anyio.Lock,
        table: Table,
        schema: StreamSchema,
        *,
        place: str,
        encoding: str,
        ensure_untouched: Callable[[], None],
    ) -> None:
        """Read with `connection`, one thread at a time under `lock`; `ensure_untouched` raises after a read in vain."""
        self._connection = connection
        self._lock = lock
        self._table = table
        self._schema = schema
        self._place = place
        self._codec = _CODECS[encoding]
        self._careful = encoding != "UTF-8"
        self._ensure_untouched = ensure_untouched
        self._seed = xxh3_64_intdigest(orjson.dumps(schema.column_names))
        self._upsert_lines = upsert_lines_for(schema.column_names)
        self._cursor: apsw.Cursor | None = None
        self._rows: Iterator[Row] = iter(())
        self._key_of = itemgetter(*map(schema.column_names.index, schema.primary_keys))
        self._demand = _Demand()
        self._read_count = 0
        self._batch_rows = 1

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SqliteRowBlock:
        async with self._lock:
            block = await run_sync(self._read_block)
        if block is None:
            raise StopAsyncIteration
        return block

    async def aclose(self) -> None:
        """Give back the statement, so that the transaction can end. Idempotent."""
        with anyio.CancelScope(shield=True):
            async with self._lock:
                if self._cursor is not None:
                    self._cursor.close(True)

    def _read_block(self) -> SqliteRowBlock | None:
        with translated(self._place):
            if self._cursor is None:
                self._start()
            rows = _Rows([] if self._demand.is_high or self._careful else None)
            self._demand.is_high = False
            while not self._fill(rows):
                self._careful = True
                rows.unpack()
                self._start()
        self._ensure_untouched()
        if not rows.packed:
            return None
        seed = self._seed
        hashes = b"".join(map(xxh3_64_digest, rows.packed, repeat(seed)))
        kept = rows.packed if rows.whole is None else rows.whole
        return SqliteRowBlock(self._schema, self._upsert_lines, kept, rows.keys, hashes, self._demand)

    def _fill(self, rows: _Rows) -> bool:
        """Add rows until the block is full or the table at its end; False when only the careful way leads on."""
        pack: Callable[[Row], bytes] = _pack_carefully if self._careful else _pack
        left = BLOCK_BYTES - sum(map(len, rows.packed))
        count = len(rows.packed)
        try:
            while left > 0 and len(rows.packed) < BLOCK_ROWS and (batch := list(islice(self._rows, self._batch_rows))):
                data = list(map(pack, batch))
                rows.packed += data
                rows.keys += map(self._key_of, batch)
                if rows.whole is not None:
                    rows.whole += batch
                sizes = list(map(len, data))
                left -= sum(sizes)
                self._batch_rows = BATCH_ROWS if max(sizes) < LARGE_ROW_BYTES else 1
        except UnicodeDecodeError:
            return False
        finally:
            self._read_count += len(rows.packed) - count
        return True

    def _start(self) -> None:
        """Open the rows after those already read. Skipping them again is paid once a table, if at all."""
        if self._cursor is not None:
            self._cursor.close(True)
        self._cursor = self._connection.cursor()
        self._cursor.execute(self._select(), (self._read_count,))
        self._rows = map(self._decoded, self._cursor) if self._careful else self._cursor

    def _select(self) -> str:
        values = [f"t.{quoted(name)}" for name in self._schema.column_names]
        if self._careful:
            text_as_bytes = "CASE typeof({0}) WHEN 'text' THEN CAST({0} AS BLOB) ELSE {0} END, typeof({0}) = 'text'"
            values = [text_as_bytes.format(value) for value in values]
        order = order_terms(self._table, self._schema, text_is_utf8=self._codec == "utf-8")
        return (
            f"SELECT {', '.join(values)} FROM main.{quoted(self._table.name)} AS t ORDER BY {order} LIMIT -1 OFFSET ?"
        )

    def _decoded(self, row: Sequence[KeyValue]) -> Row:
        values = zip(row[::2], row[1::2], strict=True)
        return tuple([decoded_text(value, self._codec) if is_text else value for value, is_text in values])


def decoded_text(data: KeyValue, codec: str) -> KeyValue:
    """Return the bytes of a text as a string, or as `RawText` where they are not valid in `codec`."""
    assert isinstance(data, bytes)
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        return RawText(data)


def order_bytes(codec: str, data: bytes) -> bytes:
    """Return the bytes by which `pipeline.domain.keys.order` compares a text that is stored as `data`."""
    match decoded_text(data, codec):
        case RawText(raw):
            return raw
        case str(text):
            return text.encode()
        case other:
            raise AssertionError(other)


def register_order(connection: apsw.Connection, encoding: str) -> None:
    """Make `pipeline_order(bytes)` known to SQLite, for the ORDER BY of a UTF-16 database."""
    codec = _CODECS[encoding]

    def pipeline_order(*values: apsw.SQLiteValue) -> bytes:
        (data,) = values
        assert isinstance(data, bytes)
        return order_bytes(codec, data)

    connection.create_scalar_function("pipeline_order", pipeline_order, 1, deterministic=True)


def _pack_carefully(row: Row) -> bytes:
    """Return the bytes to hash: those of the quick way, except that `RawText` is a tuple, which no value else is."""
    return _pack(tuple([(value.data,) if isinstance(value, RawText) else value for value in row]))  # type: ignore[misc]


def _tagged(value: object) -> dict[str, str]:
    match value:
        case bytes():
            return {"$bytes": b2a_base64(value, newline=False).decode()}
        case RawText(data):
            return {"$text": b2a_base64(data, newline=False).decode()}
        case _:
            raise TypeError(type(value).__name__)
