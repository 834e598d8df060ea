"""Blocks of encoded rows, as the exporter compares them."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.codec.event_files.hashed_lines import HashedLines
from pipeline.kit.reading.encoding import EncodedRow, rejection_in
from pipeline.ports.source import UpsertSink


class LineBlock(HashedLines):
    """Consecutive rows in key order, already as lines: a RowBlock. Contents that they name are stored already."""

    def __init__(self, rows: Sequence[EncodedRow]) -> None:
        super().__init__([row.key for row in rows], [row.line for row in rows])

    async def upserts(self, positions: Sequence[int], sink: UpsertSink) -> bytes:
        lines = []
        for position in positions:
            line = self._lines[position]
            rejection = rejection_in(line)
            if rejection is None:
                lines.append(line + b"\n")
            else:
                sink.reject(position, rejection.reason, rejection.column)
        return b"".join(lines)
