"""Keyed entries of a Flow in the object store, of which many are written at a time.

Each object holds some entries, one a line, and is never changed. Of the entries with one key the one with the highest
version counts. So an entry that is written twice does no harm, and several workers may write. Small objects are merged.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
import msgspec
from blake3 import blake3

from pipeline.codec.wire import parsing
from pipeline.domain.errors import AbsentError, ConflictError, TransientError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import ObjectKey
from pipeline.kit.ledger.index import Entry, Index
from pipeline.ports.object_store import ObjectStore, PutCondition, list_pages

GATHER_SECONDS = 0.05
"""Entries that need not be durable at once wait this long for others, so that they are written together."""
MERGED_OBJECTS = 40
"""This many small objects are merged into one."""
SMALL_ENTRIES = 500
_READS_AT_ONCE = 16


_NOTHING = msgspec.Raw(b"null")


class _Line(msgspec.Struct):
    """An entry in an object. The value `null` says that there is nothing any more."""

    kind: str
    key: str
    version: int
    place: str = ""
    value: msgspec.Raw = _NOTHING

    def entry(self) -> Entry:
        value = bytes(self.value)
        return Entry(self.kind, self.key, self.version, self.place, None if value == b"null" else value)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a key: its new value as JSON, None when it is gone. `place` is as of an Entry."""

    kind: str
    key: str
    value: bytes | None
    place: str = ""


@dataclass(slots=True)
class _Batch:
    """Entries that are written together. `soon` ends the wait for more of them."""

    entries: list[Entry] = field(default_factory=list)
    has_writer: bool = False
    soon: anyio.Event = field(default_factory=anyio.Event)
    written: anyio.Event = field(default_factory=anyio.Event)
    failed: bool = False


class Journal:
    """The entries under one prefix. Open it before its other methods are used; close it to free the disk."""

    def __init__(self, store: ObjectStore, prefix: str) -> None:
        self._store, self._prefix = store, prefix
        self._opened: Index | None = None
        self._seen: set[ObjectKey] = set()
        self._batch = _Batch()
        self._unwritten: list[Entry] = []
        self._small: dict[ObjectKey, list[Entry]] = {}
        self._writing = anyio.Lock()
        self._reading = anyio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether it has been read."""
        return self._opened is not None

    @property
    def _index(self) -> Index:
        assert self._opened is not None, "the journal has not been opened"
        return self._opened

    def close(self) -> None:
        """Remove the index."""
        if self._opened is not None:
            self._opened.close()
        self._opened = None

    async def refresh(self) -> None:
        """Read what other workers have written since."""
        async with self._reading:
            if self._opened is None:
                self._opened = Index()
            while not await self._read_new():
                pass

    async def _read_new(self) -> bool:
        """Read the objects that were not read before; return whether none of them has been merged meanwhile."""
        complete, room = True, anyio.Semaphore(_READS_AT_ONCE)

        async def read(key: ObjectKey) -> None:
            nonlocal complete
            async with room:
                try:
                    data = (await self._store.get(key)).data
                except AbsentError:
                    complete = False
                    return
                self._index.add(_entries(data, key))
                self._seen.add(key)

        async for page in list_pages(self._store, self._prefix):
            with unwrap_exception_group():
                async with anyio.create_task_group() as group:
                    for info in page:
                        if info.key not in self._seen:
                            group.start_soon(read, info.key)
        return complete

    def add_earlier(self, changes: Sequence[Change]) -> None:
        """Add entries that an earlier release has written elsewhere. Those of the journal replace them."""
        self._index.add([Entry(one.kind, one.key, 0, one.place, one.value) for one in changes])

    def get(self, kind: str, key: str) -> bytes | None:
        """Return the value of a key; None when there is none."""
        found = self._index.get(kind, key)
        return None if found is None else found.value

    def key_at(self, kind: str, place: str) -> str | None:
        """Return the key of an entry at this place; None when there is none."""
        found = self._index.find(kind, place)
        return None if found is None else found.key

    @property
    def is_empty(self) -> bool:
        """Whether no key has a value."""
        return self._index.is_empty

    def page(self, kind: str, after: str, limit: int) -> Sequence[Entry]:
        """Return up to `limit` entries of this kind, in the order of their keys, behind the key `after`."""
        return self._index.page(kind, after, limit)

    def kinds(self) -> Sequence[str]:
        """Return all kinds."""
        return self._index.kinds()

    def pages(self) -> Iterator[Sequence[Entry]]:
        """Yield all entries by kind and place, in pages."""
        return self._index.pages()

    async def put(self, changes: Sequence[Change], *, at_once: bool = True) -> None:
        """Make changes, which are durable when this returns. Readers here see them at once.

        TransientError when they could not be stored. Then they are stored with the next ones, or by `flush`.
        """
        batch = self._batch
        batch.entries += self._stamped(changes)
        if at_once:
            batch.soon.set()
        if not batch.has_writer:
            batch.has_writer = True
            await self._write(batch)
            return
        await batch.written.wait()
        if batch.failed:
            raise TransientError("Entries of a journal could not be stored. Run the command again.")

    async def flush(self) -> None:
        """Store what an earlier `put` could not."""
        if self._unwritten:
            await self.put(())

    @asynccontextmanager
    async def put_for_now(self, changes: Sequence[Change]) -> AsyncIterator[None]:
        """Make changes, durable on entry. Unless there is an error, they are all changed again before the context ends."""
        if not changes:
            yield
            return
        await self.flush()
        key = await self._put_object(self._stamped(changes))
        yield
        await self._store.delete(key)

    def _stamped(self, changes: Sequence[Change]) -> list[Entry]:
        found: dict[tuple[str, str], Entry] = {}
        for one in changes:
            before = found.get((one.kind, one.key)) or self._index.get(one.kind, one.key)
            version = 1 if before is None else before.version + 1
            found[one.kind, one.key] = Entry(one.kind, one.key, version, one.place, one.value)
        self._index.add(list(found.values()))
        return list(found.values())

    async def _write(self, batch: _Batch) -> None:
        """Write a batch once it is to be written, and none is being written."""
        try:
            with anyio.move_on_after(GATHER_SECONDS):
                await batch.soon.wait()
            async with self._writing:
                self._batch = _Batch()
                self._unwritten, entries = [], [*self._unwritten, *batch.entries]
                batch.failed = True
                try:
                    await self._store_batch(entries)
                    batch.failed = False
                finally:
                    if batch.failed:
                        self._unwritten = entries
        finally:
            if self._batch is batch:
                self._batch, self._unwritten, batch.failed = _Batch(), [*self._unwritten, *batch.entries], True
            batch.written.set()

    async def _store_batch(self, entries: list[Entry]) -> None:
        if not entries:
            return
        key = await self._put_object(entries)
        if len(entries) < SMALL_ENTRIES:
            self._small[key] = entries
        if len(self._small) >= MERGED_OBJECTS:
            small, self._small = self._small, {}
            merged = await self._put_object([entry for some in small.values() for entry in some])
            with unwrap_exception_group():
                async with anyio.create_task_group() as group:
                    for old in small.keys() - {merged}:
                        group.start_soon(self._store.delete, old)

    async def _put_object(self, entries: Sequence[Entry]) -> ObjectKey:
        data = b"".join([_encoded(entry) for entry in entries])
        key = ObjectKey(f"{self._prefix}{blake3(data).hexdigest(length=16)}.jsonl")
        with suppress(ConflictError):  # the name is the digest of the content: an earlier attempt has stored it
            await self._store.put(key, data, PutCondition.ABSENT)
        self._seen.add(key)
        return key


def _encoded(entry: Entry) -> bytes:
    value = _NOTHING if entry.value is None else msgspec.Raw(entry.value)
    return msgspec.json.encode(_Line(entry.kind, entry.key, entry.version, entry.place, value)) + b"\n"


_LINES = msgspec.json.Decoder(_Line)


def _entries(data: bytes, key: ObjectKey) -> list[Entry]:
    with parsing(key):
        return [line.entry() for line in _LINES.decode_lines(data)]
