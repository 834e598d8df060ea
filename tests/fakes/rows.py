"""Tables of numbered texts, and their rows in blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import orjson
from anyio.lowlevel import checkpoint

from pipeline.domain.comparison.diff import count_up_to
from pipeline.domain.keys import Key
from pipeline.ports.ranged_source import KnownRange
from pipeline.ports.source import StoreBinary

Row = tuple[int, str]
Table = dict[int, str]
Tables = dict[str, Table]


def copied(tables: Tables) -> Tables:
    """Return the tables as they are now."""
    return {name: dict(table) for name, table in tables.items()}


def next_rows(rows: Sequence[Row], known: KnownRange | None, size: int) -> Sequence[Row]:
    """Return the rows of the next block: `size`, or those of the known range if they are at most twice as many."""
    wished = 0 if known is None else count_up_to([(number,) for number, _ in rows], known.until)
    return rows[: wished if 0 < wished <= 2 * size else size]


@dataclass
class MemoryBlock:
    """A RowBlock of a table with the key `number`."""

    rows: Sequence[Row]

    def __len__(self) -> int:
        return len(self.rows)

    def keys(self) -> Sequence[Key]:
        return [(number,) for number, _ in self.rows]

    def digest(self) -> bytes:
        return hashlib.blake2b(self.row_hashes(), digest_size=16).digest()

    def last_key(self) -> Key:
        return (self.rows[-1][0],)

    def row_hashes(self) -> bytes:
        return b"".join(hashlib.blake2b(repr(row).encode(), digest_size=8).digest() for row in self.rows)

    async def upserts(self, positions: Sequence[int], store_binary: StoreBinary) -> bytes:
        return b"".join([await self.line(*self.rows[at], store_binary) for at in positions])

    async def line(self, number: int, text: str, store_binary: StoreBinary) -> bytes:
        """Return the upsert line of a row."""
        await checkpoint()
        return upsert_line({"number": number, "text": text})


def upsert_line(row: dict[str, object]) -> bytes:
    """Return the line of an upsert."""
    return orjson.dumps({"upsert": row}, option=orjson.OPT_APPEND_NEWLINE)
