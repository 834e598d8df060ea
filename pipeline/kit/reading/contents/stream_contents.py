"""The contents of Binary fields: each is read once, stored as a Binary File, and its id takes its place in the row."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from tempfile import SpooledTemporaryFile
from typing import Any

import anyio
from anyio import to_thread
from blake3 import blake3

from pipeline.domain.contents import Content
from pipeline.domain.errors import TransientError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import BinaryId
from pipeline.domain.keys import Key
from pipeline.kit.calls import TRIES, call, shown
from pipeline.kit.declared import DeclaredStream
from pipeline.kit.errors import Gone, Refused
from pipeline.kit.reading.contents.versions import ContentVersions
from pipeline.kit.reading.encoding import EncodedRow, RowEncoder
from pipeline.kit.values import Binary
from pipeline.ports.object_store import OpenBody
from pipeline.ports.source import ContentStore, RowRejection
from pipeline.temporary_database import no_room

READ_AT_ONCE = 4
"""Contents of a stream that are read concurrently."""
FAILURES_IN_A_ROW = 3
"""After as many contents that cannot be read, the next one is tried once: the app may be away for long."""
_PIECE_BYTES = 1 << 20


@dataclass(slots=True)
class _Field:
    """A Binary field of one row: the row's position and key, the column, what the author gave, and the id if it is known."""

    row: int
    at: int
    key: Key
    column: str
    binary: Binary
    id: BinaryId | None = None


class StreamContents:
    """Reads the contents of one stream. Without `store`, only their ids are found, and all are read.

    `read_all` is to be set when this object has seen all rows of the stream, from the first to the last.
    """

    def __init__(
        self, declared: DeclaredStream, store: ContentStore | None = None, versions: ContentVersions | None = None
    ) -> None:
        self._declared, self._store, self._versions = declared, store, versions
        self._columns = [column.name for column in declared.row.columns]
        self._places = [at for at, column in enumerate(declared.row.columns) if column.type == "binary"]
        self._key = [self._columns.index(name) for name in declared.key]
        self._room = anyio.CapacityLimiter(READ_AT_ONCE)
        self._failures = 0
        self.read_all = False

    def close(self) -> None:
        """Remove temporary files."""
        if self._versions is not None:
            self._versions.close()

    async def end(self) -> None:
        """Forget the versions that no row has any more. Called when all is exported."""
        if self._versions is not None:
            await self._versions.drop(unneeded=self.read_all)

    async def stored(self, rows: Sequence[tuple[Any, ...]]) -> tuple[list[tuple[Any, ...]], dict[int, RowRejection]]:
        """Return the rows with ids in place of contents, and by position those rows whose content cannot be read."""
        fields = [
            _Field(row, at, tuple([values[one] for one in self._key]), self._columns[at], values[at])
            for row, values in enumerate(rows)
            for at in self._places
            if values[at] is not None
        ]
        await self._find_known(fields)
        rejected: dict[int, RowRejection] = {}
        with unwrap_exception_group():
            async with anyio.create_task_group() as group:
                for field in fields:
                    if field.id is None:
                        group.start_soon(self._store_one, field, rejected)
        changed = {field.row: list(rows[field.row]) for field in fields}
        for field in fields:
            if field.id is not None:
                changed[field.row][field.at] = str(Content(field.id, field.binary.name, field.binary.media_type))
        return [tuple(changed.get(row, values)) for row, values in enumerate(rows)], rejected

    async def commit(self, *, if_full: bool = False) -> None:
        """Make durable what is stored, and remember the versions; with `if_full` only when they are many."""
        if self._store is None or (if_full and not (self._versions and self._versions.full)):
            return
        await self._store.flush()
        if self._versions is not None:
            await self._versions.commit()

    async def _find_known(self, fields: Sequence[_Field]) -> None:
        """Set the ids of those contents whose version has been read before."""
        wanted = [field for field in fields if field.binary.version is not None]
        if self._versions is None or not wanted:
            return
        ids = await self._versions.find([(field.key, field.column, field.binary.version or "") for field in wanted])
        for field, id_ in zip(wanted, ids, strict=True):
            field.id = id_

    async def _store_one(self, field: _Field, rejected: dict[int, RowRejection]) -> None:
        async with self._room:
            try:
                field.id = await self._read(field.binary)
            except (_UnreadableContentError, OSError, ValueError) as error:  # a path may hold what no path can
                self._failures += 1
                reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
                rejected[field.row] = RowRejection(f"the content cannot be read: {reason}", field.column)
                return
            self._failures = 0
            if field.binary.version is not None and self._versions is not None:
                self._versions.note(field.key, field.column, field.binary.version, field.id)

    async def _read(self, binary: Binary) -> BinaryId:
        given = binary.open
        if isinstance(given, bytes):
            return await self._keep(partial(_open_bytes, given))
        if isinstance(given, str | os.PathLike):
            return await self._keep(partial(_open_file, given))
        with SpooledTemporaryFile(max_size=_PIECE_BYTES) as copy:
            await self._copy(given, copy)
            return await self._keep(partial(_open_copy, copy))

    async def _keep(self, open_body: OpenBody) -> BinaryId:
        return await (_digest(open_body) if self._store is None else self._store.store(open_body))

    async def _copy(self, given: Any, copy: SpooledTemporaryFile[bytes]) -> None:
        """Write what an author's function gives into a temporary file. After an exception it is called again."""

        async def read() -> RowRejection | None:
            copy.seek(0)
            copy.truncate()
            try:
                async for piece in given():
                    await to_thread.run_sync(_write, copy, piece)
            except (Refused, Gone) as error:
                return RowRejection(shown(error, given))
            return None

        what = f"reading a content of the stream {self._declared.name!r}"
        try:
            refused = await call(read, what=what, author=given, tries=1 if self._is_away else TRIES)
        except TransientError as error:
            raise _UnreadableContentError(shown(error.__cause__ or error, given)) from error
        if refused is not None:
            raise _UnreadableContentError(refused.reason)

    @property
    def _is_away(self) -> bool:
        return self._failures >= FAILURES_IN_A_ROW


async def encoded(rows: Sequence[Any], encoder: RowEncoder, contents: StreamContents | None) -> list[EncodedRow]:
    """Return an author's rows as lines, their contents stored. Those with a content that cannot be read are rejected."""
    if not rows:
        return []
    values = encoder.values(rows)
    if contents is None:
        return encoder.encode(values)
    try:
        plain, rejected = await contents.stored(values)
    except UnicodeEncodeError as error:
        raise encoder.not_text(error) from error
    await contents.commit(if_full=True)
    return encoder.encode(plain, rejected)


class _UnreadableContentError(Exception):
    """One content cannot be read; the text says why."""


def _write(copy: SpooledTemporaryFile[bytes], piece: object) -> None:
    if not isinstance(piece, bytes | bytearray | memoryview):
        raise TypeError(f"a piece of a content is of the type {type(piece).__name__}, not bytes")
    try:
        copy.write(piece)
    except OSError as error:
        raise no_room(error.strerror or str(error)) from error


@asynccontextmanager
async def _open_bytes(content: bytes) -> AsyncIterator[AsyncIterable[bytes]]:
    async def pieces() -> AsyncGenerator[bytes, None]:
        yield content

    yield pieces()


@asynccontextmanager
async def _open_file(path: str | os.PathLike[str]) -> AsyncIterator[AsyncIterable[bytes]]:
    async with await anyio.open_file(path, "rb") as file:

        async def pieces() -> AsyncGenerator[bytes, None]:
            while piece := await file.read(_PIECE_BYTES):
                yield piece

        yield pieces()


@asynccontextmanager
async def _open_copy(copy: SpooledTemporaryFile[bytes]) -> AsyncIterator[AsyncIterable[bytes]]:
    copy.seek(0)

    async def pieces() -> AsyncGenerator[bytes, None]:
        while piece := await to_thread.run_sync(copy.read, _PIECE_BYTES):
            yield piece

    yield pieces()


async def _digest(open_body: OpenBody) -> BinaryId:
    hasher = blake3()
    async with open_body() as pieces:
        async for piece in pieces:
            hasher.update(piece)
    return BinaryId(hasher.hexdigest())
