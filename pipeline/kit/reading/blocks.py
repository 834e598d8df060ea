"""Blocks of encoded rows, as the exporter compares them."""

from __future__ import annotations

from collections.abc import Sequence

from xxhash import xxh3_64_digest, xxh3_128_digest

from pipeline.domain.keys import Key
from pipeline.kit.reading.encoding import EncodedRow, rejection_in
from pipeline.ports.source import UpsertSink


class LineBlock:
    """Consecutive rows in key order, already as lines: a RowBlock. Contents that they name are stored already."""

    def __init__(self, rows: Sequence[EncodedRow]) -> None:
        self._rows = rows
        self._hashes = b"".join([xxh3_64_digest(row.line) for row in rows])

    def __len__(self) -> int:
        return len(self._rows)

    def digest(self) -> bytes:
        return xxh3_128_digest(self._hashes)

    def last_key(self) -> Key:
        return self._rows[-1].key

    def keys(self) -> Sequence[Key]:
        return [row.key for row in self._rows]

    def row_hashes(self) -> bytes:
        return self._hashes

    async def upserts(self, positions: Sequence[int], sink: UpsertSink) -> bytes:
        lines = []
        for position in positions:
            line = self._rows[position].line
            rejection = rejection_in(line)
            if rejection is None:
                lines.append(line + b"\n")
            else:
                sink.reject(position, rejection.reason, rejection.column)
        return b"".join(lines)
