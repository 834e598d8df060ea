"""Rows of a table as blocks: read in key order, hashed as they come, turned into JSON when asked.

There are two ways to read. The quick one takes values as SQLite hands them out. It cannot take text that is not valid
UTF-8: at the first such value the rest of the table is read the careful way, which takes text as bytes. Both give
equal rows equal hashes. A UTF-16 database is always read the careful way, since SQLite's own conversion would silently
alter text that is not valid UTF-16.
"""

from __future__ import annotations

import math
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from marshal import dumps as marshal_dumps
from operator import itemgetter
from typing import Any, Self

import anyio
import apsw
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
BATCH_ROWS = 32
LARGE_ROW_BYTES = BLOCK_BYTES // BATCH_ROWS
"""A block ends with the batch that reaches one of the first two: so it holds at most that much and one batch.

After a row of `LARGE_ROW_BYTES`, and at the start of a table, a batch is one row.
"""

Row = tuple[KeyValue, ...]

_MARSHAL_VERSION = 2
"""The newest version in which equal values always have equal bytes: later ones write references to shared objects."""
_OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_PASSTHROUGH_DATACLASS
_CODECS = {"UTF-8": "utf-8", "UTF-16le": "utf-16-le", "UTF-16be": "utf-16-be"}


class SqliteRowBlock:
    """Consecutive rows of one table, with the hash of each."""

    def __init__(
        self, schema: StreamSchema, upsert_lines: UpsertLines | None, rows: Sequence[Row], hashes: bytes
    ) -> None:
        """Hold `rows`, which go through `upsert_lines` when all their values are plain."""
        self._schema = schema
        self._upsert_lines = upsert_lines
        self._rows = rows
        self._hashes = hashes

    def __len__(self) -> int:
        return len(self._rows)

    def keys(self) -> Sequence[Key]:
        places = [self._schema.column_names.index(name) for name in self._schema.primary_keys]
        if len(places) == 1:
            return [(row[places[0]],) for row in self._rows]
        return list(map(itemgetter(*places), self._rows))

    def row_hashes(self) -> bytes:
        return self._hashes

    async def upserts(self, positions: Sequence[int], store_binary: StoreBinary) -> bytes:
        return await run_sync(self._lines, positions)

    def _lines(self, positions: Sequence[int]) -> bytes:
        rows = self._rows if len(positions) == len(self._rows) else [self._rows[at] for at in positions]
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
            rows: list[Row] = []
            dumps: list[bytes] = []
            while not self._fill(rows, dumps):
                self._careful = True
                self._start()
        self._ensure_untouched()
        return self._block(rows, dumps) if rows else None

    def _block(self, rows: list[Row], dumps: list[bytes]) -> SqliteRowBlock:
        seed = self._seed
        hashes = b"".join([xxh3_64_digest(data, seed) for data in dumps])
        return SqliteRowBlock(self._schema, self._upsert_lines, rows, hashes)

    def _fill(self, rows: list[Row], dumps: list[bytes]) -> bool:
        """Add rows until the block is full or the table at its end; False when only the careful way leads on."""
        dump: Callable[[Any, int], bytes] = _dump_carefully if self._careful else marshal_dumps
        left = BLOCK_BYTES - sum(map(len, dumps))
        count = len(rows)
        try:
            while left > 0 and len(rows) < BLOCK_ROWS and (batch := list(islice(self._rows, self._batch_rows))):
                data = [dump(row, _MARSHAL_VERSION) for row in batch]
                rows += batch
                dumps += data
                sizes = list(map(len, data))
                left -= sum(sizes)
                self._batch_rows = BATCH_ROWS if max(sizes) < LARGE_ROW_BYTES else 1
        except UnicodeDecodeError:
            return False
        finally:
            self._read_count += len(rows) - count
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


def _dump_carefully(row: Row, version: int) -> bytes:
    """Return the bytes to hash: those of the quick way, except that `RawText` is a tuple, which no value else is."""
    return marshal_dumps(tuple([(value.data,) if isinstance(value, RawText) else value for value in row]), version)


def _tagged(value: object) -> dict[str, str]:
    match value:
        case bytes():
            return {"$bytes": b2a_base64(value, newline=False).decode()}
        case RawText(data):
            return {"$text": b2a_base64(data, newline=False).decode()}
        case _:
            raise TypeError(type(value).__name__)
