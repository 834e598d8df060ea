"""The contents that rows name: binary files of the public platform, and those that this software writes."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Protocol

from pipeline.connectors.sam.names import binary_name, possible_names
from pipeline.connectors.sam.storage.port import ExportStorage
from pipeline.domain.errors import AbsentError
from pipeline.ports.source import StoreBinary

CONTENT = "content"
"""The column that holds the content of a binary file that a row names."""
MAX_CONTENT_BYTES = 64 * 1024 * 1024
"""Contents become values of a column. A larger one is a rejected record: it would take several times as much memory."""
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

    async def complete(self, values: Values, store: StoreBinary) -> Values:
        """Return the values of a row with its contents. ContentError when there is one that cannot be given."""
        ...


class ListedFiles:
    """Binary files of the public platform: a row names one in `column`, and its bytes become the column `content`."""

    def __init__(self, storage: ExportStorage, names: frozenset[str], column: str) -> None:
        self._storage, self._names, self._column = storage, names, column

    async def complete(self, values: Values, store: StoreBinary) -> Values:
        file_id = values.get(self._column)
        if file_id is None:
            return {**values, CONTENT: None}
        candidates = possible_names(str(file_id), str(values.get("fullName") or values.get("path") or ""))
        stored = next((name for name in candidates if name in self._names), None)
        if stored is None:
            raise self._error(f"the binary file {str(file_id)[:200]!r} is missing; add it to the export")
        content = await self._read(stored)
        self._check(values, stored, content)
        return {**values, CONTENT: {"$bytes": b64encode(content).decode()}}

    async def _read(self, stored: str) -> bytes:
        found = bytearray()
        try:
            async with self._storage.open_stream(stored) as pieces:
                async for piece in pieces:
                    found += piece
                    if len(found) > MAX_CONTENT_BYTES:
                        raise self._error(
                            f"the binary file {stored} has more than {MAX_CONTENT_BYTES:,} bytes; move it by hand"
                        )
        except AbsentError:
            raise self._error(f"the binary file {stored} was removed while the export was read; move again") from None
        return bytes(found)

    def _check(self, values: Values, stored: str, content: bytes) -> None:
        size = values.get("size")
        if type(size) is int and size != len(content):
            raise self._error(
                f"the binary file {stored} has {len(content):,} bytes, and the row says {size:,}; export it again"
            )
        for column in _DIGESTS:
            digest = values.get(column)
            if not isinstance(digest, str) or len(digest) != _SHA_256_DIGITS:
                continue
            if digest.lower() != sha256(content).hexdigest():
                raise self._error(f"the binary file {stored} is damaged: its SHA-256 is not {digest}; export it again")

    def _error(self, reason: str) -> ContentError:
        return ContentError(reason, self._column)


class OwnFiles:
    """Contents that this software has written: each of these `columns` holds the id of a Binary File, or null."""

    def __init__(self, storage: ExportStorage, columns: Sequence[str]) -> None:
        self._storage, self._columns = storage, columns

    async def complete(self, values: Values, store: StoreBinary) -> Values:
        for column in self._columns:
            if (binary := values.get(column)) is None:
                continue
            name = binary_name(str(binary))
            try:
                found = await store(lambda name=name: self._storage.open_stream(name))  # type: ignore[misc]  # a default
            except AbsentError:
                raise ContentError(f"the binary file {name} is missing; add it to the export", column) from None
            if found != binary:
                raise ContentError(
                    f"the binary file {name} is damaged: it has another content; export it again", column
                )
        return values
