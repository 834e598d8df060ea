"""The marks of an app over HTTP, with few objects however many there are: to read them all takes some ten requests.

Beside the other marks of a Flow (`Kept`): `mark-list.json` has the latest, and names objects below `mark-lists/` that have
the earlier ones. It is changed by compare-and-set, so that each Event File gets one mark.
"""

from __future__ import annotations

import random
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import anyio
import msgspec
from blake3 import blake3

from pipeline.codec.wire import decode_document, parsing, to_document
from pipeline.domain.errors import AbsentError, ConflictError, DamagedError, TransientError
from pipeline.domain.ids import EventFileId, FlowName, ObjectKey
from pipeline.kit.ledger.kept import Kept, KeptMark, as_mark
from pipeline.ports.destination import Mark
from pipeline.ports.object_store import ObjectStore, PutCondition, Version

LATEST_MARKS = 500
"""Marks that `mark-list.json` has itself, at most."""
MERGED_PARTS, PART_MARKS = 6, 50_000
"""This many parts are merged, apart from those with `PART_MARKS` marks or more."""
MOST_TRIES = 50
LONGEST_PAUSE_SECONDS = 0.2
KEPT_FLOWS = 32
"""Flows whose marks a process keeps in memory for the next call."""


class _Part(msgspec.Struct, frozen=True):
    """An object with earlier marks: its name below `mark-lists/`, and how many it has."""

    name: str
    marks: int


class _MarkList(msgspec.Struct):
    """The latest marks by Event File, and the parts with the earlier ones."""

    parts: list[_Part] = []
    latest: dict[str, KeptMark] = {}


class _PartMarks(msgspec.Struct):
    """The marks of a part, by Event File."""

    marks: dict[str, KeptMark]


@dataclass(slots=True, eq=False)
class _Read:
    """What was read of the marks of a Flow: they stay as they are, so it is kept for the next call."""

    found: dict[EventFileId, KeptMark] = field(default_factory=dict)
    list: _MarkList = field(default_factory=_MarkList)
    version: Version | None = None
    busy: anyio.Lock = field(default_factory=anyio.Lock)


class Marks:
    """The marks of one Flow. Marks that were read are kept: a mark never changes."""

    def __init__(self, store: ObjectStore, namespace: FlowName, read: _Read | None = None) -> None:
        kept = Kept(store, namespace)
        self._store, self._kept, self._known = store, kept, read or _Read()
        self._key, self._prefix = ObjectKey(f"{kept.prefix}mark-list.json"), f"{kept.prefix}mark-lists/"

    @classmethod
    def of(cls, store: ObjectStore, namespace: FlowName) -> Marks:
        """Return the marks of a Flow in a store, with what was read of them of late."""
        number = id(store)  # a store need not be hashable
        if number not in _known:
            _known[number] = weakref.ref(store, lambda _: _known.pop(number, None)), OrderedDict()
        known = _known[number][1]
        read = known.setdefault(namespace, _Read())
        known.move_to_end(namespace)
        if len(known) > KEPT_FLOWS:
            known.popitem(last=False)
        return cls(store, namespace, read)

    async def read(self) -> Mapping[EventFileId, KeptMark]:
        """Return all marks, as they are in the store now."""
        async with self._known.busy:
            await self._read()
        return self._known.found

    async def add(self, marks: Mapping[EventFileId, KeptMark]) -> set[EventFileId]:
        """Store marks of files that have none; return which of the files had none."""
        async with self._known.busy:
            for _ in range(MOST_TRIES):
                await self._read()
                new = {file: mark for file, mark in marks.items() if file not in self._known.found}
                if not new or await self._add(new):
                    return set(new)
                await anyio.sleep(random.uniform(0, LONGEST_PAUSE_SECONDS))
        raise TransientError(f"{self._key} changes too often. Send the report again.")

    async def _read(self) -> None:
        for _ in range(MOST_TRIES):
            try:
                stored = await self._store.get(self._key)
            except AbsentError:
                self._known.found.update(await self._kept.marks())  # those of an earlier release, one object each
                return
            if stored.version == self._known.version:
                return
            found = decode_document(stored.data, _MarkList, self._key)
            with suppress(AbsentError):  # a part was merged meanwhile: the list is another one now
                self._known.found.update(_parsed(found.latest, self._key))
                if len(self._known.found) < len(found.latest) + sum(part.marks for part in found.parts):
                    known = {part.name for part in self._known.list.parts}
                    self._known.found.update(
                        await self._read_parts([part for part in found.parts if part.name not in known], stored.version)
                    )
                self._known.list, self._known.version = found, stored.version
                return
        raise TransientError(f"{self._key} changes too often. Try again.")

    async def _read_parts(self, parts: Sequence[_Part], version: Version | None) -> dict[EventFileId, KeptMark]:
        """Return the marks of parts that this version of the list names.

        AbsentError when the list is another one by now: they were merged. DamagedError when a part is lost.
        """
        found: dict[EventFileId, KeptMark] = {}
        for part in parts:
            key = ObjectKey(f"{self._prefix}{part.name}")
            try:
                stored = await self._store.get(key)
            except AbsentError as error:
                if (await self._store.get(self._key)).version == version:
                    raise DamagedError(
                        f"{key} is missing, and {self._key} still names it: its marks are lost."
                    ) from error
                raise
            found |= _parsed(decode_document(stored.data, _PartMarks, key).marks, key)
        return found

    async def _add(self, new: Mapping[EventFileId, KeptMark]) -> bool:
        """Store the list with new marks; return False when another process has changed it meanwhile."""
        before = self._known.list
        try:
            extended = await self._extended(new)
            condition = PutCondition.ABSENT if self._known.version is None else self._known.version
            self._known.version = await self._store.put(self._key, _encoded(extended), condition)
        except (AbsentError, ConflictError):
            return False
        self._known.list = extended
        self._known.found.update(new)
        for part in {*before.parts} - {*extended.parts}:
            await self._store.delete(ObjectKey(f"{self._prefix}{part.name}"))
        return True

    async def _extended(self, new: Mapping[EventFileId, KeptMark]) -> _MarkList:
        """Return the list with new marks. Many latest ones become a part, and many parts one."""
        latest = {**self._known.list.latest, **_written(new)}
        if self._known.version is None:
            latest |= _written(self._known.found)
        if len(latest) <= LATEST_MARKS:
            return _MarkList(self._known.list.parts, latest)
        parts = list(self._known.list.parts)
        small = [part for part in parts if part.marks < PART_MARKS]
        if len(small) >= MERGED_PARTS:
            parts = [part for part in parts if part.marks >= PART_MARKS]
            latest |= _written(await self._read_parts(small, self._known.version))
        files = sorted(latest)
        for at in range(0, len(files), PART_MARKS):
            parts.append(await self._put_part({file: latest[file] for file in files[at : at + PART_MARKS]}))
        return _MarkList(parts, {})

    async def _put_part(self, marks: dict[str, KeptMark]) -> _Part:
        data = _encoded(_PartMarks(marks))
        part = _Part(f"{blake3(data).hexdigest(length=16)}.json", len(marks))
        with suppress(ConflictError):  # its name is the digest of its content: an earlier attempt has stored it
            await self._store.put(ObjectKey(f"{self._prefix}{part.name}"), data, PutCondition.ABSENT)
        return part


class PortMarks(Mapping[EventFileId, Mark]):
    """Kept marks as the port has them, each made when it is asked for."""

    def __init__(self, kept: Mapping[EventFileId, KeptMark]) -> None:
        self._kept = kept

    def __getitem__(self, file: EventFileId) -> Mark:
        return as_mark(self._kept[file])

    def __contains__(self, file: object) -> bool:
        return file in self._kept

    def __iter__(self) -> Iterator[EventFileId]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)


_known: dict[int, tuple[weakref.ref[ObjectStore], OrderedDict[FlowName, _Read]]] = {}


def _parsed(marks: Mapping[str, KeptMark], key: ObjectKey) -> dict[EventFileId, KeptMark]:
    with parsing(key):
        return {EventFileId.parse(file): mark for file, mark in marks.items()}


def _written(marks: Mapping[EventFileId, KeptMark]) -> dict[str, KeptMark]:
    return {str(file): mark for file, mark in marks.items()}


def _encoded(document: msgspec.Struct) -> bytes:
    return msgspec.json.encode(to_document(document))
