"""Gathering small contents into packs: stored before the Event File that names them, and nothing twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import aclosing, suppress
from functools import partial

import anyio
import anyio.to_thread
from blake3 import blake3

from pipeline.codec.pack import encode_pack
from pipeline.domain import object_keys
from pipeline.domain.errors import ConflictError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import BinaryId, FlowName
from pipeline.engine.storage.packs import Packs, list_pages
from pipeline.ports.object_store import ObjectInfo, ObjectStore, PutCondition
from pipeline.ports.reporter import BinaryFileStored, Reporter

PACKED_BYTES = 64 * 1024
"""The largest content that goes into a pack (docs/explanation/performance.md has the figures)."""
PACK_BYTES = 8 * 1024 * 1024
"""A pack is stored once its contents are so many bytes. A source that stores N contents at once has up to N + 1 in memory."""
PACKS_AT_ONCE = 2
"""So many packs are put together and sent at the same time, which takes their bytes once more."""
FEWEST = 16
"""Fewer contents than this are stored alone: many small Movements would leave many small packs, whose indexes all are read."""


class PackWriter:
    """Takes the small contents of one Flow. Its methods may be called concurrently."""

    def __init__(self, store: ObjectStore, flow: FlowName, reporter: Reporter, packs: Packs) -> None:
        self._store, self._flow, self._reporter, self._packs = store, flow, reporter, packs
        self._open: dict[BinaryId, bytes] = {}
        self._open_bytes = 0
        self._being_stored: set[BinaryId] = set()
        self._stored_alone: set[bytes] | None = None
        self._room = anyio.Semaphore(PACKS_AT_ONCE)

    async def add(self, binary: BinaryId, content: bytes) -> None:
        """Take a content. It is durable when the next `flush` has returned, or this, and it may be gone if they raise."""
        if binary in self._open or binary in self._being_stored:
            self._report(content, reused=True)
            return
        self._open[binary] = content
        self._open_bytes += len(content)
        if self._open_bytes >= PACK_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Store what was taken and is not stored yet. Contents whose `add` has not returned are waited for by that."""
        taken, self._open, self._open_bytes = self._open, {}, 0
        if not taken:
            return
        self._being_stored |= taken.keys()
        try:
            await self._store_new(taken)
        finally:
            self._being_stored -= taken.keys()

    async def _store_new(self, taken: Mapping[BinaryId, bytes]) -> None:
        new = {binary: content for binary, content in taken.items() if await self._packs.find(binary) is None}
        if len(new) >= FEWEST:
            alone = await self._alone()
            new = {binary: content for binary, content in new.items() if bytes.fromhex(binary) not in alone}
        if len(new) >= FEWEST:
            async with self._room:
                await self._store_pack(new)
        else:
            await self._store_each(new)
        for binary in taken.keys() - new.keys():
            self._report(taken[binary], reused=True)

    async def _store_pack(self, contents: Mapping[BinaryId, bytes]) -> None:
        data, entries = await anyio.to_thread.run_sync(encode_pack, contents)
        key = object_keys.pack_key(self._flow, blake3(data).hexdigest())
        with suppress(ConflictError):  # named by its content: what is there is the same
            await self._store.put(key, data, PutCondition.ABSENT)
        self._packs.add(ObjectInfo(key, len(data)), entries)
        for content in contents.values():
            self._report(content, reused=False)

    async def _store_each(self, contents: Mapping[BinaryId, bytes]) -> None:
        with unwrap_exception_group():
            async with anyio.create_task_group() as group:
                for binary, content in contents.items():
                    group.start_soon(partial(self._store_alone, binary, content), name="store a Binary File")

    async def _store_alone(self, binary: BinaryId, content: bytes) -> None:
        try:
            await self._store.put(object_keys.binary_key(self._flow, binary), content, PutCondition.ABSENT)
        except ConflictError:
            self._report(content, reused=True)
        else:
            self._report(content, reused=False)

    async def _alone(self) -> set[bytes]:
        """Return the small contents that an earlier Movement has stored alone: a request for each 1,000 Binary Files."""
        if self._stored_alone is None:
            found: set[bytes] = set()
            async with aclosing(list_pages(self._store, object_keys.binaries_prefix(self._flow))) as pages:
                async for page in pages:
                    found.update(_small(page))
                    if page[-1].key >= object_keys.packs_prefix(self._flow):
                        break  # packs come last
            self._stored_alone = found
        return self._stored_alone

    def _report(self, content: bytes, *, reused: bool) -> None:
        self._reporter.report(BinaryFileStored(size=len(content), reused=reused))


def _small(page: Iterable[ObjectInfo]) -> Iterable[bytes]:
    for info in page:
        digest = object_keys.binary_of(info.key)
        if info.size <= PACKED_BYTES and digest is not None:
            yield bytes.fromhex(digest)
