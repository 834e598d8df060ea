"""Large objects at a destination: each is written in pieces, under the oid that it has at the source.

The import ledger knows which ones the Flow has written. Any other is neither changed nor removed: it is another app's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import psycopg
from anyio.to_thread import run_sync
from blake3 import blake3

from pipeline.codec.values import key_text
from pipeline.connectors.postgres.loading.import_ledger import ImportLedger
from pipeline.connectors.postgres.schema.large_objects import PIECE_BYTES, read_piece
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.postgres.session.errors import server_message, translated
from pipeline.connectors.sql.large_objects import read_line
from pipeline.connectors.sql.rejected_record import RejectedRecord
from pipeline.domain.ids import BinaryId
from pipeline.ports.destination import FileToLoad, Loaded, Mark, Rejection

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class LargeObjectLoad:
    """Loads one Event File of large objects, in a transaction of the caller."""

    def __init__(self, connection: Connection, ledger: ImportLedger, file: FileToLoad, place: str) -> None:
        self._connection, self._ledger, self._file, self._place = connection, ledger, file, place
        self._upserts = self._deletes = self._binaries = 0
        self._rejections: list[Rejection] = []

    async def run(self) -> Loaded:
        """Apply all records and complete the mark."""
        number = 1
        async for block in self._file.blocks:
            for line in block.splitlines():
                number += 1
                await self._apply(line, number)
        mark = Mark(self._upserts, self._deletes, len(self._rejections), self._binaries, self._file.movement)
        await self._run(self._ledger.complete, self._file.entry.id, mark)
        return Loaded(mark, tuple(self._rejections))

    async def _apply(self, line: bytes, number: int) -> None:
        oid, content = read_line(line)
        if content is None:
            reason = await self._run(self._attempt, lambda: self._delete(oid))
        elif await self._run(self._has_content_of_another, oid, content):
            reason = None
        else:
            reason = await self._run(self._attempt, lambda: self._clear(oid))
            if reason is None:
                await self._write(oid, content)
        if reason is not None:
            await self._run(self._reject, oid, line, number, reason)
            return
        self._upserts += content is not None
        self._deletes += content is None
        await self._run(self._ledger.forget, self._file.entry.id.stream, [key_text((oid,))])

    async def _write(self, oid: int, content: BinaryId) -> None:
        start = 0
        async with self._file.open_binary(content) as pieces:
            async for piece in pieces:
                put = "SELECT lo_put(%s::bigint::oid, %s, %b)"
                await self._run(self._connection.execute, put, (oid, start, piece))
                start += len(piece)
        self._binaries += 1

    def _attempt(self, step: Callable[[], str | None]) -> str | None:
        """Return the reason for which a step is not done: its own, or that a privilege is missing."""
        try:
            with self._connection.transaction():
                return step()
        except psycopg.errors.InsufficientPrivilege as error:
            return server_message(error)

    def _has_content_of_another(self, oid: int, content: BinaryId) -> bool:
        """Whether a large object that the Flow has not written has this content; from now on the Flow keeps it."""
        if not self._exists(oid) or self._ledger.has_large_object(oid):
            return False
        hasher, start, size = blake3(), 0, PIECE_BYTES
        while size == PIECE_BYTES:
            piece = read_piece(self._connection, oid, start)
            hasher.update(piece)
            size = len(piece)
            start += size
        if hasher.hexdigest() != content:
            return False
        self._ledger.add_large_object(oid)
        return True

    def _clear(self, oid: int) -> str | None:
        """Make the object, or make it empty: so it keeps its owner, privileges and comment."""
        if not self._exists(oid):
            self._connection.execute("SELECT lo_create(%s::bigint::oid)", (oid,))
            self._ledger.add_large_object(oid)
        elif self._ledger.has_large_object(oid):
            cut = (
                "SELECT lo_truncate64(fd, 0), lo_close(fd) FROM lo_open(%s::bigint::oid, 131072) AS o(fd)"  # INV_WRITE
            )
            self._connection.execute(cut, (oid,))
        else:
            return (
                f"the destination has another large object {oid}, with other content, which this Flow has not written. If "
                f"nothing needs it, remove it with SELECT lo_unlink({oid}) and run `pipeline verify --repair`"
            )
        return None

    def _delete(self, oid: int) -> None:
        if self._ledger.has_large_object(oid):
            if self._exists(oid):
                self._connection.execute("SELECT lo_unlink(%s::bigint::oid)", (oid,))
            self._ledger.remove_large_object(oid)

    def _exists(self, oid: int) -> bool:
        query = "SELECT FROM pg_largeobject_metadata WHERE oid = %s::bigint::oid"
        return self._connection.execute(query, (oid,)).rowcount == 1

    def _reject(self, oid: int, line: bytes, number: int, reason: str) -> None:
        file = self._file.entry.id
        rejection = Rejection(file, number, key_text((oid,)), reason, "oid")
        self._rejections.append(rejection)
        self._ledger.add_rejected([RejectedRecord(file.stream, rejection, line, blocked=False)])

    async def _run(self, work: Callable[[*_Ts], _T], *arguments: *_Ts) -> _T:
        with translated(self._place):
            return await run_sync(work, *arguments)
