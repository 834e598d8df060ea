"""Reading the rows of a table in key order, as blocks (blocks.py).

The fast path takes values as SQLite returns them. It cannot read text that is not valid UTF-8: from the first such value
on, the table is read on the slow path, which takes text as bytes. Both give equal rows equal hashes. A UTF-16 database is
always read on the slow path, since SQLite's own conversion silently alters text that is not valid UTF-16.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import anyio
import apsw
from anyio.to_thread import run_sync

from pipeline.connectors.sql.identifiers import quoted
from pipeline.connectors.sqlite.reading.blocks import (
    Demand,
    Gathered,
    Row,
    RowForm,
    SqliteRowBlock,
    pack,
    pack_slowly,
)
from pipeline.connectors.sqlite.reading.key_order import CODECS, decoded_text, order_terms
from pipeline.connectors.sqlite.schema.tables import Table
from pipeline.domain.event_file import KeyRange
from pipeline.domain.keys import Key, KeyValue, OrderedKey, RawText, order
from pipeline.domain.schema import StreamSchema
from pipeline.ports.ranged_source import Known, KnownRange
from pipeline.sqlite_access import table_errors, translated

BLOCK_ROWS = 4096
BLOCK_BYTES = 2 * 1024 * 1024
BATCH_ROWS = 128
LARGE_BATCH_BYTES = BLOCK_BYTES // 4
"""A block ends with the batch that reaches one of the first two limits, so it exceeds them by at most one batch.

At the start of a table, and after a batch of `LARGE_BATCH_BYTES`, a batch is one row. After a smaller batch the next one
has twice as many rows, up to `BATCH_ROWS`.
"""
LARGE_VALUE_BYTES = LARGE_BATCH_BYTES
"""From the first value on that is larger, each row is measured as it is read: a batch of such rows would fill the memory."""
ALIGNMENT_FACTOR = 1.5
"""A block may be this much larger in order to end where a known range ends."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A database in a read transaction. `ensure_untouched` raises after a read that another process has invalidated."""

    connection: apsw.Connection
    place: str
    encoding: str
    ensure_untouched: Callable[[], None]

    @property
    def is_utf8(self) -> bool:
        """Whether SQLite stores and compares text as UTF-8."""
        return self.encoding == "UTF-8"


async def read_blocks(
    reading: TableReading, lock: anyio.Lock, known: Known | None = None
) -> AsyncGenerator[SqliteRowBlock, None]:
    """Yield the blocks of a table, each read under `lock`, which ends where the known range does."""
    try:
        while True:
            async with lock:
                block = await run_sync(reading.read, known(0) if known else None)
            if block is not None:
                yield block
            if block is None or reading.has_ended:
                return
    finally:
        with anyio.CancelScope(shield=True):
            async with lock:
                reading.close()


class TableReading:
    """The rows of one table `within` a range of keys, block by block. One thread at a time may use it.

    `has_ended`: there is no further block.
    """

    def __init__(self, opened: Opened, table: Table, schema: StreamSchema, within: KeyRange) -> None:
        self.place = f"{opened.place}, table {schema.stream}"
        self._opened = opened
        self._table = table
        self._schema = schema
        self._within = within
        self._codec = CODECS[opened.encoding]
        self._is_slow = not opened.is_utf8
        self._has_large_values = False
        self._form = RowForm(schema)
        self._cursor: apsw.Cursor | None = None
        self._rows: Iterator[Row] = iter(())
        self._held: list[Row] = []
        self._demand = Demand()
        self._read_count = 0
        self._batch_rows = 1
        self.has_ended = False

    def read(self, known: KnownRange | None) -> SqliteRowBlock | None:
        """Return the next block, None after the last row. It ends with the known range if the size of blocks allows."""
        demand, self._demand = self._demand, Demand()
        with translated(self.place), table_errors():
            if self._cursor is None:
                self._start()
            rows = Gathered(self._form, demand, pack_slowly if self._is_slow else pack)
            while not self._fill(rows, None if known is None else known.until):
                if self._is_slow:
                    rows.pack_slowly()
                self._start()
        self._opened.ensure_untouched()
        return SqliteRowBlock(rows, self._demand) if rows.count else None

    def close(self) -> None:
        """Close the statement, so that the transaction can end. Idempotent."""
        if self._cursor is not None:
            self._cursor.close(True)

    def is_seekable(self) -> bool:
        """Whether an index finds the first row of the range, and no row has to be sorted."""
        with translated(self.place), table_errors():
            plan = self._opened.connection.execute(f"EXPLAIN QUERY PLAN {self._select()}", self._bounds()).fetchall()
        steps = [str(step[-1]) for step in plan]
        return any(step.startswith("SEARCH ") for step in steps) and not any("TEMP B-TREE" in step for step in steps)

    def _fill(self, rows: Gathered, end: Key | None) -> bool:
        """Add rows until the block is full or the table at its end; False when only another path can continue."""
        before = rows.count
        connection = self._opened.connection
        limit = connection.limit(apsw.SQLITE_LIMIT_LENGTH)
        try:
            if not self._has_large_values:
                connection.limit(apsw.SQLITE_LIMIT_LENGTH, LARGE_VALUE_BYTES)
            bound = self._bound(end, rows)
            factor = 1.0 if bound is None else ALIGNMENT_FACTOR
            while rows.size < factor * BLOCK_BYTES and rows.count < factor * BLOCK_ROWS:
                if not (batch := self._next_batch()):
                    self.has_ended = True
                    break
                if bound is not None and self._order(batch[-1]) > bound:
                    fitting = bisect_right(batch, bound, key=self._order)
                    batch, self._held = batch[:fitting], batch[fitting:]
                    if not batch:
                        break
                is_large = rows.add(batch) >= LARGE_BATCH_BYTES
                self._batch_rows = 1 if is_large else min(2 * self._batch_rows, BATCH_ROWS)
                if self._held:
                    break
        except UnicodeDecodeError:
            self._is_slow = True
            return False
        except apsw.TooBigError:
            if self._has_large_values:
                raise
            self._has_large_values = True
            return False
        finally:
            connection.limit(apsw.SQLITE_LIMIT_LENGTH, limit)
            self._read_count += rows.count - before
        return True

    def _bound(self, end: Key | None, rows: Gathered) -> OrderedKey | None:
        """Return where the block ends; None when it may end anywhere, as when the next row is after `end`."""
        if end is None:
            return None
        bound = order(end)
        if not rows.count:
            self._held = self._next_batch()
            if self._held and self._order(self._held[0]) > bound:
                return None
        return bound

    def _order(self, row: Row) -> OrderedKey:
        return order(self._form.key(row))

    def _next_batch(self) -> list[Row]:
        """Return the rows that were read and not used, or else the next ones."""
        held, self._held = self._held, []
        if held or not self._has_large_values:
            return held or list(islice(self._rows, self._batch_rows))
        batch, size = [], 0
        for row in islice(self._rows, BATCH_ROWS):
            batch.append(row)
            values = (value.data if isinstance(value, RawText) else value for value in row)
            size += sum(len(value) for value in values if isinstance(value, str | bytes))
            if size >= LARGE_BATCH_BYTES:
                break
        return batch

    def _start(self) -> None:
        """Open the rows after those already read. The slow path skips them once a table, if at all."""
        if self._cursor is not None:
            self._cursor.close(True)
        self._held = []
        self.has_ended = False
        self._cursor = self._opened.connection.cursor()
        self._cursor.execute(self._select(), self._bounds())
        self._rows = map(self._decoded, self._cursor) if self._is_slow else self._cursor

    def _select(self) -> str:
        values = [f"t.{quoted(name)}" for name in self._schema.column_names]
        if self._is_slow:
            text_as_bytes = "CASE typeof({0}) WHEN 'text' THEN CAST({0} AS BLOB) ELSE {0} END, typeof({0}) = 'text'"
            values = [text_as_bytes.format(value) for value in values]
        terms = order_terms(self._table, self._schema, text_is_utf8=self._opened.is_utf8)
        within = [f"({terms}) {sign} ({marks})" for sign, marks in self._conditions()]
        where = f" WHERE {' AND '.join(within)}" if within else ""
        rest = f" LIMIT -1 OFFSET {self._read_count}" if self._read_count else ""  # an OFFSET of 0 costs, too
        return f"SELECT {', '.join(values)} FROM main.{quoted(self._table.name)} AS t{where} ORDER BY {terms}{rest}"

    def _conditions(self) -> Iterator[tuple[str, str]]:
        """Yield the comparisons of the key, and their placeholders. Only a UTF-8 database is read within a range."""
        for sign, bound in ((">", self._within.after), ("<=", self._within.until)):
            if bound is not None:
                yield sign, ", ".join("?" * len(bound))

    def _bounds(self) -> list[apsw.SQLiteValue]:
        bounds = (bound for bound in (self._within.after, self._within.until) if bound is not None)
        return [value for bound in bounds for value in bound if not isinstance(value, RawText)]

    def _decoded(self, row: Sequence[KeyValue]) -> Row:
        values = zip(row[::2], row[1::2], strict=True)
        return tuple([decoded_text(value, self._codec) if is_text else value for value, is_text in values])
