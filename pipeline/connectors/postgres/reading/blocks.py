"""A block of rows of a table as COPY writes them: digest and hashes at hand, keys and upsert lines made when asked for."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat

import orjson
from anyio.to_thread import run_sync
from xxhash import xxh3_64_digest, xxh3_64_intdigest, xxh3_128

from pipeline.connectors.postgres.reading.fields import Rows, UpsertLines
from pipeline.connectors.postgres.reading.keys import RowKeys
from pipeline.connectors.postgres.reading.selects import TableSelect
from pipeline.connectors.postgres.schema.tables import Table
from pipeline.domain.keys import Key
from pipeline.ports.source import ROW_HASH_BYTES, StoreBinary


@dataclass(frozen=True, slots=True)
class RowReading:
    """How the rows of one table are read: what their hashes begin with, and what makes keys and upsert lines of them."""

    seed: int
    keys: RowKeys
    lines: UpsertLines


def row_reading(select: TableSelect, place: str) -> RowReading:
    """Return how the rows are read that `select` gives. `place` names the table in errors."""
    return RowReading(_hash_seed(select.table), RowKeys(select.fields, select.key, place), UpsertLines(select.fields))


def _hash_seed(table: Table) -> int:
    """Return the seed of a table's row hashes: equal content under other names, or of another type, is another row."""
    named = [[column.name, column.base_type or column.native_type] for column in table.data_columns]
    return xxh3_64_intdigest(orjson.dumps([table.key, named]))


class PostgresRowBlock:
    """Consecutive rows of one table, some at a time: so much as a processor keeps at hand."""

    def __init__(self, rows: Sequence[Rows], hashes: bytes, digest: bytes, how: RowReading) -> None:
        self._rows, self._hashes, self._digest, self._how = rows, hashes, digest, how

    def __len__(self) -> int:
        return len(self._hashes) // ROW_HASH_BYTES

    def digest(self) -> bytes:
        return self._digest

    def last_key(self) -> Key:
        last = self._rows[-1]
        return self._how.keys.of(last.picked([len(last) - 1]))[0]

    def keys(self) -> Sequence[Key]:
        return [key for rows in self._rows for key in self._how.keys.of(rows)]

    def row_hashes(self) -> bytes:
        return self._hashes

    async def upserts(self, positions: Sequence[int], store_binary: StoreBinary) -> bytes:
        return await run_sync(self._lines, positions) if positions else b""

    def _lines(self, positions: Sequence[int]) -> bytes:
        return b"".join(map(self._how.lines.of, self._picked(positions)))

    def _picked(self, positions: Sequence[int]) -> Iterator[Rows]:
        start = first = 0
        for rows in self._rows:
            end = start + len(rows)
            last = bisect_left(positions, end, first)
            if last - first == len(rows):
                yield rows
            elif last > first:
                yield rows.picked([at - start for at in positions[first:last]])
            start, first = end, last


class BlockBuilder:
    """Gathers the rows of a block. Each is hashed as it comes: in CSV, which can be read in one way only."""

    def __init__(self, how: RowReading) -> None:
        self._how = how
        self._rows: list[Rows] = []
        self._hashes: list[bytes] = []
        self._digest = xxh3_128(seed=how.seed)
        self.count = self.bytes = 0

    def add(self, rows: Sequence[memoryview]) -> None:
        """Take the next rows."""
        text = b"".join(rows)
        self._digest.update(text)
        self._hashes += map(xxh3_64_digest, rows, repeat(self._how.seed))
        self._rows.append(Rows(text, list(map(len, rows))))
        self.count += len(rows)
        self.bytes += len(text)

    def block(self) -> PostgresRowBlock | None:
        """Return the block; None when it has no rows."""
        if not self.count:
            return None
        return PostgresRowBlock(self._rows, b"".join(self._hashes), self._digest.digest(), self._how)
