"""What a Flow keeps in the object store for an app that keeps nothing itself: marks, the id map, rejected records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import anyio
import msgspec
from blake3 import blake3

from pipeline.codec.wire import decode_document, to_document
from pipeline.domain.errors import AbsentError, ConflictError
from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey, StreamName, decode_name, encode_name
from pipeline.domain.object_keys import flow_prefix
from pipeline.domain.schema import Column, StreamSchema
from pipeline.ports.destination import Mark, Rejection
from pipeline.ports.object_store import ObjectStore, PutCondition, Version, list_pages

_READS_AT_ONCE = 16
_MAX_SEGMENT = 180
"""Longer names of ids are replaced by their digest: a key of an object has at most 1,024 bytes."""
D = TypeVar("D", bound=msgspec.Struct)


class KeptMark(msgspec.Struct):
    """A mark. `skipped`: the Importer had no handler for the stream, so that `records` were not imported."""

    upserts: int
    deletes: int
    rejected: int
    binaries: int
    movement: int
    skipped: bool = False
    records: int = 0


class IdEntry(msgspec.Struct):
    """An id of the source. Without `target` it is an intent: whether the object was created is not known.

    `how` says where `target` comes from: "created", "found" or "put". `once_key` is that of the record version which made
    the object what it is.
    """

    source: str
    once_key: str
    movement: int
    target: str | None = None
    how: str = ""


class KeptStream(msgspec.Struct):
    """The columns of a stream with their types, and its key, as its rejected records were written."""

    columns: dict[str, str]
    primary_keys: tuple[str, ...]

    @classmethod
    def of(cls, schema: StreamSchema) -> KeptStream:
        """Return what is kept of a schema."""
        return cls({column.name: column.type for column in schema.columns}, schema.primary_keys)

    def schema(self, stream: StreamName) -> StreamSchema:
        """Return the schema, as far as it is kept."""
        columns = tuple(Column(name, type_) for name, type_ in self.columns.items())
        return StreamSchema(stream, Label(stream), columns, self.primary_keys)


class KeptRejection(msgspec.Struct):
    """A rejected record. `waits`: it is valid, and waits for an id that the id map does not have yet."""

    file: str
    line: int
    key: str
    reason: str
    record: str
    stream: KeptStream
    column: str | None = None
    waits: bool = False

    def rejection(self) -> Rejection:
        """Return it as the port has it."""
        return Rejection(EventFileId.parse(self.file), self.line, self.key, self.reason, self.column)


class Kept:
    """The objects of one Flow, under `imports/` and the time when the Flow was created."""

    def __init__(self, store: ObjectStore, namespace: FlowName) -> None:
        flow, created = namespace.rsplit(" ", 1) if " " in namespace else (namespace, "-")
        self._store = store
        self._prefix = f"{flow_prefix(FlowName(flow))}imports/{encode_name(created)}/"

    async def marks(self) -> Mapping[EventFileId, KeptMark]:
        """Return all marks."""
        prefix = f"{self._prefix}marks/"
        found = await self._read_all(prefix, KeptMark)
        return {EventFileId.parse(decode_name(key.removeprefix(prefix))): mark for key, mark in found.items()}

    async def put_mark(self, file: EventFileId, mark: KeptMark, *, replace: bool) -> bool:
        """Store a mark; return False, with nothing changed, when the file has one and it is not to be replaced."""
        key = ObjectKey(f"{self._prefix}marks/{encode_name(str(file))}")
        try:
            await self._store.put(key, _encoded(mark), PutCondition.NONE if replace else PutCondition.ABSENT)
        except ConflictError:
            return False
        return True

    async def id_entry(self, kind: str, source: str) -> tuple[IdEntry, Version] | None:
        """Return an entry of the id map, and its version."""
        key = self._id_key(kind, source)
        try:
            stored = await self._store.get(key)
        except AbsentError:
            return None
        return decode_document(stored.data, IdEntry, key), stored.version

    async def put_id(self, kind: str, entry: IdEntry, condition: PutCondition | Version) -> Version:
        """Store an entry of the id map. ConflictError when another process has changed it."""
        return await self._store.put(self._id_key(kind, entry.source), _encoded(entry), condition)

    async def drop_id(self, kind: str, source: str) -> None:
        """Delete an entry of the id map."""
        await self._store.delete(self._id_key(kind, source))

    async def rejections(self) -> Mapping[ObjectKey, KeptRejection]:
        """Return all rejected records, by stream and key."""
        return await self._read_all(f"{self._prefix}rejected/", KeptRejection)

    async def put_rejection(self, rejection: KeptRejection) -> ObjectKey:
        """Store a rejected record in place of an older one with its key."""
        key = self.rejection_key(EventFileId.parse(rejection.file).stream, rejection.key)
        await self._store.put(key, _encoded(rejection), PutCondition.NONE)
        return key

    async def drop_rejection(self, key: ObjectKey) -> None:
        """Delete a rejected record."""
        await self._store.delete(key)

    def rejection_key(self, stream: StreamName, key: str) -> ObjectKey:
        """Return the key of the object of a rejected record."""
        return ObjectKey(f"{self._prefix}rejected/{encode_name(stream)}/{_segment(key)}")

    def _id_key(self, kind: str, source: str) -> ObjectKey:
        return ObjectKey(f"{self._prefix}ids/{encode_name(kind)}/{_segment(source)}")

    async def _read_all(self, prefix: str, type_: type[D]) -> dict[ObjectKey, D]:
        found: dict[ObjectKey, D] = {}

        async def read(key: ObjectKey) -> None:
            async with room:
                found[key] = decode_document((await self._store.get(key)).data, type_, key)

        room = anyio.Semaphore(_READS_AT_ONCE)
        async for page in list_pages(self._store, prefix):
            async with anyio.create_task_group() as group:
                for info in page:
                    group.start_soon(read, info.key)
        return dict(sorted(found.items()))


def as_mark(kept: KeptMark) -> Mark:
    """Return a mark as the port has it."""
    return Mark(kept.upserts, kept.deletes, kept.rejected, kept.binaries, kept.movement)


def _encoded(document: msgspec.Struct) -> bytes:
    return msgspec.json.encode(to_document(document))


def _segment(text: str) -> str:
    name = encode_name(text) or "%"
    return name if len(name) <= _MAX_SEGMENT else f"-{blake3(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def source_text(source: object) -> str:
    """Return an id of the source as text: a value, or a tuple of several."""
    if isinstance(source, tuple):
        return msgspec.json.encode([str(part) for part in source]).decode()
    return str(source)
