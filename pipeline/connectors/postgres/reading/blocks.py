"""A block of a table's rows as COPY writes them: digest and hashes are computed with it, keys and upsert lines on demand."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat

import orjson
from anyio.to_thread import run_sync
from xxhash import xxh3_64_digest, xxh3_64_intdigest, xxh3_128

from pipeline.codec.event_files.event_file import too_long
from pipeline.connectors.postgres.reading.any_keys import read_json_keys, read_text_keys
from pipeline.connectors.postgres.reading.fields import Rows, UpsertLines, split
from pipeline.connectors.postgres.reading.keys import RowKeys
from pipeline.connectors.postgres.reading.selects import TableSelect
from pipeline.domain.keys import Key, KeyValue
from pipeline.ports.source import ROW_HASH_BYTES, UpsertSink


def any_key_readers(select: TableSelect) -> Mapping[str, Callable[[Sequence[bytes]], Sequence[KeyValue]]]:
    """Return what reads the key columns whose values stand for those of any kind."""
    columns = [column for column in select.table.key_columns if column.name in select.any_keys]
    return {it.name: read_json_keys if it.wire.column_type == "json" else read_text_keys for it in columns}


class RowFormat:
    """What turns the rows of one table into keys, hashes and upsert lines.

    Hashes are seeded with the names and types of columns, so that equal values in other columns have other hashes.
    `wants_arrays`: most rows of the latest block were asked for as arrays, so those of the next are made as it is read.
    `too_large`: the rows that are not moved, by key with their bytes in an Event File.
    """

    def __init__(self, select: TableSelect, too_large: Mapping[Key, int]) -> None:
        table = select.table
        named = [[column.name, column.base_type or column.native_type] for column in table.data_columns]
        self.seed = xxh3_64_intdigest(orjson.dumps([table.key, named]))
        self.keys = RowKeys(select.fields, select.key, any_key_readers(select))
        self.lines = UpsertLines(select.fields)
        self.wants_arrays = False
        self.too_large = too_large


class PostgresRowBlock:
    """Consecutive rows of one table, in pieces that fit into the processor's cache.

    `made` has their keys, and their lines as arrays, if they were made while the rows were read.
    """

    def __init__(
        self,
        pieces: Sequence[Rows],
        hashes: bytes,
        digest: bytes,
        row_format: RowFormat,
        made: tuple[Sequence[Key], Sequence[bytes]] | None,
    ) -> None:
        self._pieces, self._hashes, self._digest, self._format = pieces, hashes, digest, row_format
        self._made = made

    def __len__(self) -> int:
        return len(self._hashes) // ROW_HASH_BYTES

    def digest(self) -> bytes:
        return self._digest

    def last_key(self) -> Key:
        if self._made is not None:
            return self._made[0][-1]
        last = self._pieces[-1]
        return self._format.keys.of(last.picked([len(last) - 1]))[0]

    def keys(self) -> Sequence[Key]:
        if self._made is not None:
            return self._made[0]
        return [key for rows in self._pieces for key in self._format.keys.of(rows)]

    def row_hashes(self) -> bytes:
        return self._hashes

    async def upserts(self, positions: Sequence[int], sink: UpsertSink) -> bytes:
        positions = self._movable(positions, sink)
        return await run_sync(self._lines, positions, self._format.lines.of) if positions else b""

    async def upsert_arrays(self, positions: Sequence[int], sink: UpsertSink) -> bytes:
        self._format.wants_arrays = 2 * len(positions) > len(self)
        positions = self._movable(positions, sink)
        if self._made is not None and len(positions) == len(self):
            return b"".join(self._made[1])
        return await run_sync(self._lines, positions, self._format.lines.arrays) if positions else b""

    def _movable(self, positions: Sequence[int], sink: UpsertSink) -> Sequence[int]:
        """Reject the rows that are too large, and return the positions of the others."""
        if not self._format.too_large:
            return positions
        keys, sizes = self.keys(), self._format.too_large
        for at in positions:
            if keys[at] in sizes:
                sink.reject(at, too_long(sizes[keys[at]]))
        return [at for at in positions if at not in sink.rejected]

    def _lines(self, positions: Sequence[int], lines_of: Callable[[Rows], bytes]) -> bytes:
        return b"".join(map(lines_of, self._picked(positions)))

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
        self._keys: list[Key] = []
        self._arrays: list[bytes] | None = [] if row_format.wants_arrays else None
        self.count = self.bytes = 0

    def add(self, rows: Sequence[memoryview]) -> None:
        """Add the next rows."""
        text = b"".join(rows)
        self._digest.update(text)
        self._hashes += map(xxh3_64_digest, rows, repeat(self._format.seed))
        piece = Rows(text, list(map(len, rows)))
        if self._format.too_large:
            self._mark_too_large(piece)
        self._pieces.append(piece)
        if self._arrays is not None:
            self._make_arrays(piece, self._arrays)
        self.count += len(rows)
        self.bytes += len(text)

    def _mark_too_large(self, rows: Rows) -> None:
        """Let rows that are read without their large values differ from rows that have NULL in their place."""
        for at, key in enumerate(self._format.keys.of(rows)):
            if key in self._format.too_large:
                mark = b"%d bytes" % self._format.too_large[key]
                self._hashes[self.count + at] = xxh3_64_digest(self._hashes[self.count + at] + mark, self._format.seed)
                self._digest.update(mark)

    def _make_arrays(self, rows: Rows, arrays: list[bytes]) -> None:
        """Make keys and arrays while the rows are in the processor's cache, and split them once for both."""
        keys, lines = self._format.keys, self._format.lines
        if (array := lines.arrays_unsplit(rows)) is not None:
            self._keys += keys.of(rows)
        else:
            found = split(rows, lines.width)
            self._keys += keys.of_values(found.values)
            array = lines.arrays_of(found)
        arrays.append(array)

    def block(self) -> PostgresRowBlock | None:
        """Return the block; None when it has no rows."""
        if not self.count:
            return None
        made = None if self._arrays is None else (self._keys, self._arrays)
        return PostgresRowBlock(self._pieces, b"".join(self._hashes), self._digest.digest(), self._format, made)
