"""What an app uploads for one Movement: its streams, files of records, which groups are complete, and the end.

Below `flows/{flow}/uploads/{movement}/`: `begin.json`, `files/{stream}/{number}`, `contents/{name}`, `groups/{label}.json` and
`end.json`, each created once, and `parts/` of what is not whole yet. The export reads them like any other source, and stores
Event Files of what differs from the Movement before.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Literal, TypeVar

import msgspec

from pipeline.codec.wire import decode_document, to_document
from pipeline.domain.errors import AbsentError, ConflictError
from pipeline.domain.ids import FlowName, Label, ObjectKey, StreamName, encode_name
from pipeline.domain.object_keys import flow_prefix
from pipeline.ports.object_store import ObjectStore, OpenBody, PutCondition, list_pages
from pipeline.remote.parts import Parts

D = TypeVar("D", bound=msgspec.Struct)
CONTENT_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
"""A name of a content; it stands in the key as it is."""


class UploadedColumn(msgspec.Struct, forbid_unknown_fields=True):
    """A column of a stream; `type` is one of the Event File format."""

    name: str
    type: str
    nullable: bool = True


class UploadedStream(msgspec.Struct, forbid_unknown_fields=True):
    """A stream that an app uploads.

    `mode` "full": the files hold all rows, and what is missing is gone. "changes": they hold what has changed.
    """

    stream: str
    columns: list[UploadedColumn]
    primary_keys: list[str]
    label: str = ""
    mode: Literal["full", "changes"] = "full"
    scopes: list[str] = []

    @property
    def group(self) -> Label:
        """The label of its File Group."""
        return Label(self.label or self.stream)


class Begin(msgspec.Struct):
    """What the app has said when it began."""

    streams: list[UploadedStream]


class CompleteGroup(msgspec.Struct):
    """How many files each stream of a group has."""

    files: dict[str, int]


class End(msgspec.Struct):
    """The end of an export. With a `reason` it has failed."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of records or a content: its name below the uploads of a Movement, and what it is, in words."""

    name: str
    words: str

    @classmethod
    def file(cls, stream: StreamName, number: int) -> Upload:
        """Return the file of a stream with this number."""
        return cls(f"files/{encode_name(stream)}/{number:010d}", f"File {number} of the stream {stream!r}")

    @classmethod
    def content(cls, name: str) -> Upload:
        """Return the content of this name: letters, digits, dots, hyphens and underscores."""
        return cls(f"contents/{name}", f"The content {name!r}")


class Uploads:
    """The uploads of one Movement."""

    def __init__(self, store: ObjectStore, flow: FlowName, movement: int) -> None:
        self._store = store
        self._prefix = f"{_prefix(flow)}{movement}/"
        self.movement = movement

    async def begin(self, begin: Begin) -> None:
        """Store what the app says. ConflictError when it has said something else before."""
        await self._create(
            "begin.json",
            begin,
            "The export of this Movement has begun with other streams. Go on with those, or let it fail and begin again.",
        )

    async def begun(self) -> Begin | None:
        """Return what the app has said, or None while it has not begun."""
        return await self._read("begin.json", Begin)

    async def put(self, upload: Upload, body: OpenBody) -> bool:
        """Store a file or a content, whole or not at all; return whether it is new. One that is there is kept."""
        try:
            await self._store.put(self._key(upload), body, PutCondition.ABSENT)
        except ConflictError:
            return False
        return True

    def open(self, upload: Upload) -> AbstractAsyncContextManager[AsyncIterable[bytes]]:
        """Open the bytes of a file or content, as they were sent. AbsentError when it is not stored."""
        return self._store.open_stream(self._key(upload))

    def parts(self, upload: Upload) -> Parts:
        """Return the parts of a file or content."""
        return Parts(self._store, self._prefix, upload.name)

    async def size(self, upload: Upload) -> int | None:
        """Return how many bytes a stored file or content has; None when it is not stored."""
        info = await self._store.stat(self._key(upload))
        return None if info is None else info.size

    async def sha256(self, upload: Upload) -> str:
        """Return the SHA-256 digest of a stored file or content, in hexadecimal."""
        digest = hashlib.sha256()
        async with self.open(upload) as pieces:
            async for piece in pieces:
                digest.update(piece)
        return digest.hexdigest()

    async def contents(self, after: str, limit: int) -> Sequence[tuple[str, int]]:
        """Return the names and sizes of up to `limit` contents, by name, behind the name `after`."""
        prefix = f"{self._prefix}contents/"
        page = await self._store.list_page(prefix, after=ObjectKey(prefix + after) if after else None, limit=limit)
        return [(info.key.removeprefix(prefix), info.size) for info in page]

    def _key(self, upload: Upload) -> ObjectKey:
        return ObjectKey(self._prefix + upload.name)

    async def sign(self, what: str) -> None:
        """Show that the app is at work."""
        await self._store.put(ObjectKey(f"{self._prefix}sign"), what.encode(), PutCondition.NONE)

    async def last_sign(self) -> bytes:
        """Return what the app has shown last; empty before its first file."""
        try:
            return (await self._store.get(ObjectKey(f"{self._prefix}sign"))).data
        except AbsentError:
            return b""

    async def files(self, stream: StreamName) -> Sequence[int]:
        """Return the numbers of the files that are stored, ascending."""
        prefix = f"{self._prefix}files/{encode_name(stream)}/"
        return [int(info.key.removeprefix(prefix)) async for page in list_pages(self._store, prefix) for info in page]

    async def complete(self, label: Label, group: CompleteGroup) -> None:
        """Say that a group has all its files. ConflictError when it was said with other numbers."""
        await self._create(f"groups/{encode_name(label)}.json", group, f"The group {label!r} is complete already.")

    async def group(self, label: Label) -> CompleteGroup | None:
        """Return how many files a group has, or None while it is not complete."""
        return await self._read(f"groups/{encode_name(label)}.json", CompleteGroup)

    async def end(self, end: End) -> None:
        """Say that the export has ended. ConflictError when it ended in another way."""
        await self._create("end.json", end, "The export of this Movement has ended already.")

    async def ended(self) -> End | None:
        """Return how the export has ended, or None."""
        return await self._read("end.json", End)

    async def forget(self) -> None:
        """Delete all, the beginning last."""
        await _delete(self._store, self._prefix)

    async def _create(self, name: str, document: msgspec.Struct, conflict: str) -> None:
        key = ObjectKey(self._prefix + name)
        try:
            await self._store.put(key, msgspec.json.encode(to_document(document)), PutCondition.ABSENT)
        except ConflictError:
            if await self._read(name, type(document)) != document:
                raise ConflictError(conflict) from None

    async def _read(self, name: str, kind: type[D]) -> D | None:
        key = ObjectKey(self._prefix + name)
        try:
            return decode_document((await self._store.get(key)).data, kind, key)
        except AbsentError:
            return None


async def forget_before(store: ObjectStore, flow: FlowName, movement: int) -> None:
    """Delete what was uploaded for earlier Movements, which have ended before it was exported."""
    prefix = _prefix(flow)
    found = {
        info.key.removeprefix(prefix).partition("/")[0] async for page in list_pages(store, prefix) for info in page
    }
    for number in found:
        if int(number) < movement:
            await _delete(store, f"{prefix}{number}/")


async def _delete(store: ObjectStore, prefix: str) -> None:
    keys = [info.key async for page in list_pages(store, prefix) for info in page]
    for key in reversed(keys):
        await store.delete(key)


def _prefix(flow: FlowName) -> str:
    return f"{flow_prefix(flow)}uploads/"
