"""A block of a table's rows as COPY writes them: digest and hashes are computed with it, keys and upsert lines on demand."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import repeat

import orjson
from anyio.to_thread import run_sync
from xxhash import xxh3_64_digest, xxh3_64_intdigest, xxh3_128

from pipeline.connectors.postgres.reading.fields import Rows, UpsertLines
from pipeline.connectors.postgres.reading.keys import RowKeys
from pipeline.connectors.postgres.reading.selects import TableSelect
from pipeline.domain.keys import Key
from pipeline.ports.source import ROW_HASH_BYTES, UpsertSink


class RowFormat:
    """What turns the rows of one table into keys, hashes and upsert lines.

    Hashes are seeded with the names and types of columns, so that equal values in other columns have other hashes.
    """

    def __init__(self, select: TableSelect) -> None:
        table = select.table
        named = [[column.name, column.base_type or column.native_type] for column in table.data_columns]
        self.seed = xxh3_64_intdigest(orjson.dumps([table.key, named]))
        self.keys = RowKeys(select.fields, select.key, select.place)
        self.lines = UpsertLines(select.fields)


class PostgresRowBlock:
    """Consecutive rows of one table, in pieces that fit into the processor's cache."""

    def __init__(self, pieces: Sequence[Rows], hashes: bytes, digest: bytes, row_format: RowFormat) -> None:
        self._pieces, self._hashes, self._digest, self._format = pieces, hashes, digest, row_format

    def __len__(self) -> int:
        return len(self._hashes) // ROW_HASH_BYTES

    def digest(self) -> bytes:
        return self._digest

    def last_key(self) -> Key:
        last = self._pieces[-1]
        return self._format.keys.of(last.picked([len(last) - 1]))[0]

    def keys(self) -> Sequence[Key]:
        return [key for rows in self._pieces for key in self._format.keys.of(rows)]

    def row_hashes(self) -> bytes:
        return self._hashes

    async def upserts(self, positions: Sequence[int], sink: UpsertSink) -> bytes:
        return await run_sync(self._lines, positions) if positions else b""

    def _lines(self, positions: Sequence[int]) -> bytes:
        return b"".join(map(self._format.lines.of, self._picked(positions)))

    def _picked(self, positions: Sequence[int]) -> Iterator[Rows]:
        start = first = 0
        for rows in self._pieces:
            end = start + len(rows)
            last = bisect_left(positions, end, first)
            if last - first == len(rows):
                yield rows
            elif last > first:
                yield rows.picked([at - start for at in positions[first:last]])
            start, first = end, last


class BlockBuilder:
    """Gathers the rows of a block. Each is hashed on arrival, as CSV, which can be read in one way only."""

    def __init__(self, row_format: RowFormat) -> None:
        self._format = row_format
        self._pieces: list[Rows] = []
        self._hashes: list[bytes] = []
        self._digest = xxh3_128(seed=row_format.seed)
        self.count = self.bytes = 0

    def add(self, rows: Sequence[memoryview]) -> None:
        """Add the next rows."""
        text = b"".join(rows)
        self._digest.update(text)
        self._hashes += map(xxh3_64_digest, rows, repeat(self._format.seed))
        self._pieces.append(Rows(text, list(map(len, rows))))
        self.count += len(rows)
        self.bytes += len(text)

    def block(self) -> PostgresRowBlock | None:
        """Return the block; None when it has no rows."""
        if not self.count:
            return None
        return PostgresRowBlock(self._pieces, b"".join(self._hashes), self._digest.digest(), self._format)
