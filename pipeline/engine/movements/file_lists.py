"""The File Lists of a store: each is created once, and names by reference what an earlier one names already.

The parts of a list at least halve in size from one to the next, except those of `MAX_PART_FILES`, which are as long as a
part gets. So a list of n Event Files has at most log2(n) parts and one for each `MAX_PART_FILES`, and an Event File is
written again at most log2(n) times, however many Movements a Flow has.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace

import anyio

from pipeline.codec.documents.file_list import FileListDocument, ListPart, decode_file_list, encode_file_list
from pipeline.domain import object_keys
from pipeline.domain.errors import TAKEN_AWAY, AbsentError, ConflictError, DamagedError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import FlowName, Label, ObjectKey
from pipeline.domain.movement import Movement
from pipeline.ports.object_store import ObjectStore, PutCondition

MAX_PART_FILES = 50_000
"""Event Files in one object, at most: some 15 MB. A store reads small objects of up to 64 MB."""
MAX_CACHED_ENTRIES = 20_000
"""Entries of File Lists that are kept in memory: some 10 MB."""


def listed_groups(movement: Movement) -> Mapping[Label, ObjectKey]:
    """Return the File Lists of the groups that this Movement itself moves: those stored so far, until it is exported."""
    own = object_keys.groups_prefix(movement.flow, movement.number)
    return {
        label: key
        for label, key in movement.file_lists.items()
        if (label in movement.groups if movement.exported else key.startswith(own))
    }


class FileLists:
    """Reads and stores File Lists. They never change, so those that were used last are cached.

    `reads` counts the objects that were read from the store.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.max_cached_entries = MAX_CACHED_ENTRIES
        self.reads = 0
        self._documents: OrderedDict[ObjectKey, FileListDocument] = OrderedDict()
        self._cached_entries = 0

    async def read(self, key: ObjectKey) -> Sequence[FileEntry]:
        """Return all entries of a list, in the order in which they apply."""
        return [entry for _, entries in await self._read_parts(key) for entry in entries]

    async def blocks(self, key: ObjectKey, start: int = 0) -> AsyncGenerator[Sequence[FileEntry], None]:
        """Yield the entries of a list from position `start` on, in order. A part is read when its first entry is asked for."""
        document = await self._document(key)
        for part in document.parts:
            if start < part.files:
                yield (await self._part(key, part))[start:]
            start = max(0, start - part.files)
        yield document.entries[start:]

    async def keys(self, key: ObjectKey) -> Sequence[ObjectKey]:
        """Return the keys of the objects that a list consists of, its own last."""
        return [*(part.key for part in (await self._document(key)).parts), key]

    async def traceparent(self, key: ObjectKey) -> str:
        """Return the span of the export that stored a list; empty if it was not traced."""
        return (await self._document(key)).traceparent

    async def store(
        self,
        key: ObjectKey,
        flow: FlowName,
        label: Label,
        entries: Sequence[FileEntry],
        before: ObjectKey | None,
        traceparent: str = "",
    ) -> None:
        """Store a list, unless it is stored already. `before`: the list of the group so far, which must stay."""
        parts = [*split(entries, [] if before is None else await self._read_parts(before))]
        own = entries[sum(part.files for part in parts) :]
        while len(own) > MAX_PART_FILES:
            part = ObjectKey(f"{key.removesuffix('.jsonl')}.part{len(parts)}.jsonl")
            await self._put(part, encode_file_list(flow, label, own[:MAX_PART_FILES]))
            parts.append(ListPart(part, MAX_PART_FILES))
            own = own[MAX_PART_FILES:]
        await self._put(key, encode_file_list(flow, label, own, parts, traceparent))

    async def _put(self, key: ObjectKey, data: bytes) -> None:
        try:
            await self._store.put(key, data, PutCondition.ABSENT)
        except ConflictError:
            stored, mine = decode_file_list((await self._store.get(key)).data, key), decode_file_list(data, key)
            if replace(stored, traceparent=mine.traceparent) != mine:
                raise

    async def _read_parts(self, key: ObjectKey) -> Sequence[tuple[ObjectKey, Sequence[FileEntry]]]:
        """Return the parts of a list with their entries, its own last."""
        document = await self._document(key)
        found: dict[ObjectKey, Sequence[FileEntry]] = {}

        async def read(part: ListPart) -> None:
            found[part.key] = await self._part(key, part)

        with unwrap_exception_group():
            async with anyio.create_task_group() as group:
                for part in document.parts:
                    group.start_soon(read, part)
        return [*((part.key, found[part.key]) for part in document.parts), (key, document.entries)]

    async def _part(self, key: ObjectKey, part: ListPart) -> Sequence[FileEntry]:
        entries = (await self._document(part.key)).entries
        if len(entries) != part.files:
            raise DamagedError(f"File List {key} takes {part.files} files from {part.key}, which names {len(entries)}")
        return entries

    async def _document(self, key: ObjectKey) -> FileListDocument:
        if (cached := self._documents.get(key)) is not None:
            self._documents.move_to_end(key)
            return cached
        try:
            self.reads += 1
            document = decode_file_list((await self._store.get(key)).data, key)
        except AbsentError as error:
            raise AbsentError(f"The File List {key} is missing from the store. {TAKEN_AWAY}") from error
        if key not in self._documents:  # two readers may have asked for it at the same time
            self._documents[key] = document
            self._cached_entries += len(document.entries)
        while self._cached_entries > self.max_cached_entries and len(self._documents) > 1:
            _, oldest = self._documents.popitem(last=False)
            self._cached_entries -= len(oldest.entries)
        return document


def split(entries: Sequence[FileEntry], before: Sequence[tuple[ObjectKey, Sequence[FileEntry]]]) -> Sequence[ListPart]:
    """Return the parts of `before` that a list with these entries begins with, as long as each is twice what follows."""
    parts: list[ListPart] = []
    taken = 0
    for key, known in before:
        if not known:
            continue
        if list(entries[taken : taken + len(known)]) != list(known):
            break
        parts.append(ListPart(key, len(known)))
        taken += len(known)
    rest = len(entries) - taken
    while parts and parts[-1].files < min(2 * rest, MAX_PART_FILES):
        rest += parts.pop().files
    return parts
