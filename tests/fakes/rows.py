"""Tables of numbered texts, and their rows in blocks."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

import orjson
from anyio.lowlevel import checkpoint

from pipeline.domain.comparison.diff import count_up_to
from pipeline.domain.ids import Label, StreamName
from pipeline.domain.keys import Key
from pipeline.domain.schema import Column, StreamSchema
from pipeline.ports.object_store import OpenBody
from pipeline.ports.ranged_source import KnownRange
from pipeline.ports.source import StoreBinary, UpsertSink
from pipeline.testing.simulated.calls import UNHINDERED, Calls

Row = tuple[int, str]
Table = dict[int, str]
Tables = dict[str, Table]

IsFile = Callable[[str], bool]
"""Whether a text is the content of a Binary File. Its upsert names the file, not the text."""

Rejects = Callable[[str], str]
"""Returns why a row with this text cannot be given, or nothing."""


def nothing(text: str) -> str:
    """Let every row be given."""
    return ""


def schema_of(name: str, *, label: str | None = None, has_files: bool = False, extra: int = 0) -> StreamSchema:
    """Return the schema of a table of numbered texts, with `extra` columns that are NULL in every row.

    Each table is a group of its own unless it has a `label`.
    """
    columns = [Column("number", "integer", nullable=False), Column("text", "text")]
    if has_files:
        columns.append(Column("file", "binary"))
    columns += [Column(f"extra {number}", "text") for number in range(extra)]
    return StreamSchema(StreamName(name), Label(label or name), tuple(columns), ("number",))


def copied(tables: Tables) -> Tables:
    """Return the tables as they are now."""
    return {name: dict(table) for name, table in tables.items()}


def next_rows(rows: Sequence[Row], known: KnownRange | None, size: int) -> Sequence[Row]:
    """Return the rows of the next block: `size`, or those of the known range if they are at most twice as many."""
    wished = 0 if known is None else count_up_to([(number,) for number, _ in rows], known.until)
    return rows[: wished if 0 < wished <= 2 * size else size]


@dataclass
class MemoryBlock:
    """A RowBlock of a table with the key `number`. Without `is_file`, no text is the content of a Binary File."""

    rows: Sequence[Row]
    stream: str = "a"
    calls: Calls = UNHINDERED
    is_file: IsFile | None = None
    rejects: Rejects = nothing
    extra: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def keys(self) -> Sequence[Key]:
        return [(number,) for number, _ in self.rows]

    def digest(self) -> bytes:
        return hashlib.blake2b(self.row_hashes(), digest_size=16).digest()

    def last_key(self) -> Key:
        return (self.rows[-1][0],)

    def row_hashes(self) -> bytes:
        return b"".join(
            hashlib.blake2b(f"{row}{self.extra or ''}".encode(), digest_size=8).digest() for row in self.rows
        )

    async def upserts(self, positions: Sequence[int], sink: UpsertSink) -> bytes:
        async def work() -> bytes:
            await checkpoint()
            lines = []
            for at in positions:
                if reason := self.rejects(self.rows[at][1]):
                    sink.reject(at, reason, "text")
                else:
                    lines.append(await self._line(*self.rows[at], sink.store_binary))
            return b"".join(lines)

        return await self.calls.call(f"source.upserts {self.stream}", work)

    async def _line(self, number: int, text: str, store_binary: StoreBinary) -> bytes:
        row: dict[str, object] = {"number": number, "text": text}
        if self.is_file is not None and self.is_file(text):
            row = {"number": number, "file": await store_binary(body_of(text.encode(), piece_bytes=5))}
        return orjson.dumps({"upsert": row}, option=orjson.OPT_APPEND_NEWLINE)


def body_of(content: bytes, *, piece_bytes: int = 1_000_000) -> OpenBody:
    """Return what opens a content, as a source gives it: in pieces of at most `piece_bytes`."""

    async def pieces() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(content), piece_bytes):
            await checkpoint()
            yield content[start : start + piece_bytes]

    @asynccontextmanager
    async def open_body() -> AsyncIterator[AsyncIterable[bytes]]:
        async with aclosing(pieces()) as opened:
            yield opened

    return open_body
