"""What an app uploads for one Movement: its streams, files of records, which groups are complete, and the end.

Below `flows/{flow}/uploads/{movement}/`: `begin.json`, `files/{stream}/{number}`, `groups/{label}.json` and `end.json`. Each is
created once. The export reads them like any other source, and stores Event Files of what differs from the Movement before.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Literal, TypeVar

import msgspec

from pipeline.codec.wire import decode_document, to_document
from pipeline.domain.errors import AbsentError, ConflictError
from pipeline.domain.ids import FlowName, Label, ObjectKey, StreamName, encode_name
from pipeline.domain.object_keys import flow_prefix
from pipeline.ports.object_store import ObjectStore, OpenBody, PutCondition, list_pages

D = TypeVar("D", bound=msgspec.Struct)


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


class Uploads:
    """The uploads of one Movement."""

    def __init__(self, store: ObjectStore, flow: FlowName, movement: int) -> None:
        self._store = store
        self._prefix = f"{_prefix(flow)}{movement}/"
        self.movement = movement

    async def begin(self, begin: Begin) -> None:
        """Store what the app says. ConflictError when it has said something else before."""
        await self._create("begin.json", begin, "The export of this Movement has begun with other streams.")

    async def begun(self) -> Begin | None:
        """Return what the app has said, or None while it has not begun."""
        return await self._read("begin.json", Begin)

    async def put_file(self, stream: StreamName, number: int, body: OpenBody) -> bool:
        """Store a file, whole or not at all; return whether it is new. One that is there is kept."""
        try:
            await self._store.put(self.file_key(stream, number), body, PutCondition.ABSENT)
        except ConflictError:
            return False
        return True

    def file_key(self, stream: StreamName, number: int) -> ObjectKey:
        """Return the key of a file."""
        return ObjectKey(f"{self._prefix}files/{encode_name(stream)}/{number:010d}")

    def open_file(self, stream: StreamName, number: int) -> AbstractAsyncContextManager[AsyncIterable[bytes]]:
        """Open the bytes of a file, as they were sent."""
        return self._store.open_stream(self.file_key(stream, number))

    async def sha256(self, stream: StreamName, number: int) -> str:
        """Return the SHA-256 digest of a stored file, in hexadecimal."""
        digest = hashlib.sha256()
        async with self.open_file(stream, number) as pieces:
            async for piece in pieces:
                digest.update(piece)
        return digest.hexdigest()

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
