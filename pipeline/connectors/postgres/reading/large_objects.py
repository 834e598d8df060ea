"""The large objects of a database as rows, by oid. The server computes their digests; no content is held as a whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from anyio.to_thread import run_sync
from xxhash import xxh3_64_digest, xxh3_128_digest

from pipeline.connectors.postgres.schema.large_objects import PIECE_BYTES, next_digests, read_piece
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.postgres.session.errors import translated
from pipeline.connectors.sql.large_objects import upsert_line
from pipeline.domain.keys import Key
from pipeline.ports.object_store import OpenBody
from pipeline.ports.source import UpsertSink


async def large_object_blocks(connection: Connection, place: str) -> AsyncIterator[LargeObjectBlock]:
    """Yield the large objects that the user may read, in blocks. `connection` is in a transaction."""
    last = 0
    while digests := await run_sync(_next_digests, connection, place, last):
        yield LargeObjectBlock(connection, place, digests)
        last = digests[-1][0]


def _next_digests(connection: Connection, place: str, after: int) -> Sequence[tuple[int, bytes]]:
    with translated(place):
        return next_digests(connection, after)


class LargeObjectBlock:
    """Consecutive large objects as a RowBlock. Their contents are read when their upserts are asked for."""

    def __init__(self, connection: Connection, place: str, digests: Sequence[tuple[int, bytes]]) -> None:
        self._connection, self._place, self._digests = connection, place, digests

    def __len__(self) -> int:
        return len(self._digests)

    def digest(self) -> bytes:
        return xxh3_128_digest(self.row_hashes())

    def last_key(self) -> Key:
        return (self._digests[-1][0],)

    def keys(self) -> Sequence[Key]:
        return [(oid,) for oid, _ in self._digests]

    def row_hashes(self) -> bytes:
        return b"".join([xxh3_64_digest(oid.to_bytes(4) + digest) for oid, digest in self._digests])

    async def upserts(self, positions: Sequence[int], sink: UpsertSink) -> bytes:
        oids = [self._digests[position][0] for position in positions]
        return b"".join([upsert_line(oid, await sink.store_binary(self._body(oid))) for oid in oids])

    def _body(self, oid: int) -> OpenBody:
        @asynccontextmanager
        async def opened() -> AsyncIterator[AsyncGenerator[bytes, None]]:
            async with aclosing(self._pieces(oid)) as pieces:
                yield pieces

        return opened

    async def _pieces(self, oid: int) -> AsyncGenerator[bytes, None]:
        start = 0
        while piece := await run_sync(self._read_piece, oid, start):
            yield piece
            if len(piece) < PIECE_BYTES:
                return
            start += len(piece)

    def _read_piece(self, oid: int, start: int) -> bytes:
        with translated(f"{self._place}, large object {oid}"):
            return read_piece(self._connection, oid, start)
