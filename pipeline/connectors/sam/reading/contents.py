"""The contents that rows name: binary files of the public platform, and those that this software writes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from hashlib import sha256
from typing import Any, Protocol

from pipeline.codec.values import shorten
from pipeline.connectors.sam.names import binary_name, possible_names
from pipeline.connectors.sam.storage.port import ExportStorage
from pipeline.domain.contents import Content, parse_content
from pipeline.domain.errors import AbsentError
from pipeline.ports.source import StoreBinary

CONTENT = "content"
"""The column that holds the content of a binary file that a row names."""
_DIGESTS = ("sha256", "checksum", "digest", "hash")
_SHA_256_DIGITS = 64

Values = Mapping[str, Any]


class ContentError(Exception):
    """A content that a row names cannot be given: the reason, and the column at fault."""

    def __init__(self, reason: str, column: str) -> None:
        super().__init__(reason)
        self.reason, self.column = reason, column


class Contents(Protocol):
    """Completes rows with the contents that they name."""

    def version(self, values: Values) -> bytes:
        """Return what changes when a content that a row names does, and the row does not."""
        ...

    async def complete(self, values: Values, store: StoreBinary) -> Values:
        """Return the values of a row with its contents. ContentError when there is one that cannot be given."""
        ...


class ListedFiles:
    """Binary files of the public platform: a row names one in `column`, and it becomes the column `content`.

    `objects` are those of the storage, each with a text that changes with its content.
    """

    def __init__(self, storage: ExportStorage, objects: Mapping[str, str], column: str) -> None:
        self._storage, self._objects, self._column = storage, objects, column

    def version(self, values: Values) -> bytes:
        stored = None if values.get(self._column) is None else self._stored(values)
        return b"" if stored is None else self._objects[stored].encode()

    def _stored(self, values: Values) -> str | None:
        """Return the name of the object that a row names; None when it is missing."""
        path = str(values.get("fullName") or values.get("path") or "")
        return next((name for name in possible_names(str(values[self._column]), path) if name in self._objects), None)

    async def complete(self, values: Values, store: StoreBinary) -> Values:
        file_id = values.get(self._column)
        if file_id is None:
            return {**values, CONTENT: None}
        if (stored := self._stored(values)) is None:
            raise self._error(f"the binary file {str(file_id)[:200]!r} is missing; add it to the export")
        body = _CheckedBody(self._storage, stored)
        try:
            binary = await store(body.open)
        except AbsentError:
            raise self._error(f"the binary file {stored} was removed while the export was read; move again") from None
        self._check(values, stored, body)
        path = str(values.get("fullName") or values.get("path") or "")
        return {**values, CONTENT: str(Content(binary, path.rpartition("/")[2] or None))}

    def _check(self, values: Values, stored: str, body: _CheckedBody) -> None:
        size = values.get("size")
        if type(size) is int and size != body.size:
            raise self._error(
                f"the binary file {stored} has {body.size:,} bytes, and the row says {size:,}; export it again"
            )
        for column in _DIGESTS:
            digest = values.get(column)
            if not isinstance(digest, str) or len(digest) != _SHA_256_DIGITS:
                continue
            if digest.lower() != body.sha256.hexdigest():
                raise self._error(f"the binary file {stored} is damaged: its SHA-256 is not {digest}; export it again")

    def _error(self, reason: str) -> ContentError:
        return ContentError(reason, self._column)


class _CheckedBody:
    """The bytes of an object. `size` and `sha256` are those of the latest reading."""

    def __init__(self, storage: ExportStorage, name: str) -> None:
        self._storage, self._name = storage, name
        self.size, self.sha256 = 0, sha256()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the bytes from their start."""
        self.size, self.sha256 = 0, sha256()
        async with self._storage.open_stream(self._name) as pieces, aclosing(self._noted(pieces)) as noted:
            yield noted

    async def _noted(self, pieces: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
        async for piece in pieces:
            self.size += len(piece)
            self.sha256.update(piece)
            yield piece


class OwnFiles:
    """Contents that this software has written: each of these `columns` holds the id of a Binary File, or null."""

    def __init__(self, storage: ExportStorage, columns: Sequence[str]) -> None:
        self._storage, self._columns = storage, columns

    def version(self, values: Values) -> bytes:
        return b""  # the ids are digests

    async def complete(self, values: Values, store: StoreBinary) -> Values:
        for column in self._columns:
            if (written := values.get(column)) is None:
                continue
            try:
                binary = parse_content(str(written)).id
            except ValueError:
                raise ContentError(
                    f"{shorten(written)} is not the id of a Binary File; export the row again", column
                ) from None
            name = binary_name(binary)
            try:
                found = await store(lambda name=name: self._storage.open_stream(name))  # type: ignore[misc]  # a default
            except AbsentError:
                raise ContentError(f"the binary file {name} is missing; add it to the export", column) from None
            if found != binary:
                raise ContentError(
                    f"the binary file {name} is damaged: it has another content; export it again", column
                )
        return values
