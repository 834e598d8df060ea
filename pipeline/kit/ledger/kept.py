"""What a Flow keeps in the object store for an app that keeps nothing itself: marks, the id map, rejected records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import anyio
import msgspec

from pipeline.codec.wire import decode_document, to_document
from pipeline.domain.errors import AbsentError, ConflictError
from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey, StreamName, decode_name, encode_name
from pipeline.domain.object_keys import flow_prefix
from pipeline.domain.schema import Column, StreamSchema
from pipeline.ports.destination import Mark, Rejection
from pipeline.ports.object_store import ObjectStore, PutCondition, list_pages

_READS_AT_ONCE = 16
D = TypeVar("D", bound=msgspec.Struct)


class KeptMark(msgspec.Struct):
    """A mark. `skipped`: the Importer had no handler for the stream, so that `records` were not imported.

    `ids` names the ids that were put in the transaction which wrote the mark, until they are in the id map. `done`: how many
    records are committed, from the first one on; 0 where all of them are.
    """

    upserts: int
    deletes: int
    rejected: int
    binaries: int
    movement: int
    skipped: bool = False
    records: int = 0
    ids: str = ""
    done: int = 0


class KeptRetry(msgspec.Struct):
    """The mark of rejected records that were applied again: their names, and that of the ids as in `KeptMark`."""

    records: list[str]
    ids: str = ""


class IdEntry(msgspec.Struct, omit_defaults=True):
    """What became of an id of the source. Without `target` it is an intent: whether the object was created is not known.

    `how` says where `target` comes from: "created", "found" or "put"; `movement` is the Movement in which it did.
    `once_key` is that of the record version which made the object what it is; `content` is the digest of its line, for
    handlers that cannot update.
    """

    once_key: str
    movement: int
    target: str | None = None
    how: str = ""
    content: str = ""


class _EarlierId(msgspec.Struct):
    """An entry of the id map as an earlier release has stored it."""

    source: str
    once_key: str
    movement: int
    target: str | None = None
    how: str = ""


class KeptFence(msgspec.Struct):
    """The latest Movement that was stopped."""

    movement: int


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
    """A rejected record. `waits`: it is valid, and waits for the id `needs` (kind and id at the source).

    `source` is its own id at the source, as the id map has it.
    """

    file: str
    line: int
    key: str
    reason: str
    record: str
    stream: KeptStream
    column: str | None = None
    waits: bool = False
    needs: tuple[str, str] | None = None
    source: str = ""

    def rejection(self, reason: str | None = None) -> Rejection:
        """Return it as the port has it, perhaps with another reason."""
        file = EventFileId.parse(self.file)
        return Rejection(file, self.line, self.key, reason or self.reason, self.column, waits=self.waits)


class Kept:
    """The objects of one Flow, under `imports/` and the time when the Flow was created."""

    def __init__(self, store: ObjectStore, namespace: FlowName) -> None:
        flow, created = namespace.rsplit(" ", 1) if " " in namespace else (namespace, "-")
        self.store = store
        self.prefix = f"{flow_prefix(FlowName(flow))}imports/{encode_name(created)}/"

    async def marks(self) -> Mapping[EventFileId, KeptMark]:
        """Return all marks."""
        prefix = f"{self.prefix}marks/"
        found = await self._read_all(prefix, KeptMark)
        return {EventFileId.parse(decode_name(key.removeprefix(prefix))): mark for key, mark in found.items()}

    async def put_mark(self, file: EventFileId, mark: KeptMark, *, replace: bool) -> bool:
        """Store a mark; return False, with nothing changed, when the file has one and it is not to be replaced."""
        key = ObjectKey(f"{self.prefix}marks/{encode_name(str(file))}")
        try:
            await self.store.put(key, _encoded(mark), PutCondition.NONE if replace else PutCondition.ABSENT)
        except ConflictError:
            return False
        return True

    async def fenced(self) -> int:
        """Return the latest Movement that was stopped; 0 for none."""
        key = self._fence_key()
        try:
            return decode_document((await self.store.get(key)).data, KeptFence, key).movement
        except AbsentError:
            return 0

    async def fence(self, movement: int) -> None:
        """Store that a Movement was stopped."""
        if movement > await self.fenced():
            await self.store.put(self._fence_key(), _encoded(KeptFence(movement)), PutCondition.NONE)

    def _fence_key(self) -> ObjectKey:
        return ObjectKey(f"{self.prefix}fence.json")

    async def earlier_ids(self) -> Sequence[tuple[str, str, IdEntry]]:
        """Return the id map of an earlier release: kind, id at the source, entry."""
        prefix = f"{self.prefix}ids/"
        found = await self._read_all(prefix, _EarlierId)
        kinds = [decode_name(key.removeprefix(prefix).partition("/")[0]) for key in found]
        return [
            (kind, one.source, IdEntry(one.once_key, one.movement, one.target, one.how))
            for kind, one in zip(kinds, found.values(), strict=True)
        ]

    async def earlier_rejections(self) -> Sequence[KeptRejection]:
        """Return the rejected records that an earlier release has kept."""
        return list((await self._read_all(f"{self.prefix}rejected/", KeptRejection)).values())

    async def _read_all(self, prefix: str, type_: type[D]) -> dict[ObjectKey, D]:
        found: dict[ObjectKey, D] = {}

        async def read(key: ObjectKey) -> None:
            async with room:
                found[key] = decode_document((await self.store.get(key)).data, type_, key)

        room = anyio.Semaphore(_READS_AT_ONCE)
        async for page in list_pages(self.store, prefix):
            async with anyio.create_task_group() as group:
                for info in page:
                    group.start_soon(read, info.key)
        return dict(sorted(found.items()))


def as_mark(kept: KeptMark) -> Mark:
    """Return a mark as the port has it."""
    return Mark(kept.upserts, kept.deletes, kept.rejected, kept.binaries, kept.movement)


def _encoded(document: msgspec.Struct) -> bytes:
    return msgspec.json.encode(to_document(document))
