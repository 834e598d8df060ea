"""Small Binary Files, gathered into packs. Each content is stored once, before the Event File that names it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
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
from pipeline.engine.storage.packs import Packs
from pipeline.ports.object_store import ObjectInfo, ObjectStore, PutCondition, list_pages
from pipeline.ports.reporter import BinaryFileStored, Reporter

PACKED_BYTES = 64 * 1024
"""The largest content that is packed (figures: docs/explanation/performance.md)."""
PACK_BYTES = 8 * 1024 * 1024
"""The size at which a pack is stored. A source that stores N contents concurrently holds up to N + 1 packs."""
PACKS_AT_ONCE = 2
"""Packs built and uploaded concurrently; each is held twice in memory meanwhile."""
MIN_PACKED = 16
"""Fewer contents than this get objects of their own. Every index is read, and many small packs would cost more."""


class PackWriter:
    """Stores the small contents of one Flow. Its methods may be called concurrently."""

    def __init__(self, store: ObjectStore, flow: FlowName, reporter: Reporter, packs: Packs) -> None:
        self._store, self._flow, self._reporter, self._packs = store, flow, reporter, packs
        self._open: dict[BinaryId, bytes] = {}
        self._open_bytes = 0
        self._storing: set[BinaryId] = set()
        self._alone_stored: set[bytes] | None = None
        self._room = anyio.Semaphore(PACKS_AT_ONCE)

    async def add(self, binary: BinaryId, content: bytes) -> None:
        """Add a content. It is durable once the next `flush` has returned; if that raises, it may not be stored."""
        if binary in self._open or binary in self._storing:
            self._report([content], reused=True)
            return
        self._open[binary] = content
        self._open_bytes += len(content)
        if self._open_bytes >= PACK_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Store all contents that are not stored yet. An `add` that stores a full pack waits for that pack itself."""
        taken, self._open, self._open_bytes = self._open, {}, 0
        if not taken:
            return
        self._storing |= taken.keys()
        try:
            await self._store_new(taken)
        finally:
            self._storing -= taken.keys()

    async def _store_new(self, taken: Mapping[BinaryId, bytes]) -> None:
        new = {binary: content for binary, content in taken.items() if await self._packs.find(binary) is None}
        if len(new) >= MIN_PACKED:
            alone = await self._alone()
            new = {binary: content for binary, content in new.items() if bytes.fromhex(binary) not in alone}
        if len(new) >= MIN_PACKED:
            async with self._room:
                await self._store_pack(new)
        else:
            await self._store_each(new)
        self._report([taken[binary] for binary in taken.keys() - new.keys()], reused=True)

    async def _store_pack(self, contents: Mapping[BinaryId, bytes]) -> None:
        data, entries = await anyio.to_thread.run_sync(encode_pack, contents)
        key = object_keys.pack_key(self._flow, blake3(data).hexdigest())
        with suppress(ConflictError):  # the key is the digest: an existing pack is equal
            await self._store.put(key, data, PutCondition.ABSENT)
        self._packs.add(ObjectInfo(key, len(data)), entries)
        self._report(contents.values(), reused=False)

    async def _store_each(self, contents: Mapping[BinaryId, bytes]) -> None:
        with unwrap_exception_group():
            async with anyio.create_task_group() as group:
                for binary, content in contents.items():
                    group.start_soon(partial(self._store_alone, binary, content), name="store a Binary File")

    async def _store_alone(self, binary: BinaryId, content: bytes) -> None:
        try:
            await self._store.put(object_keys.binary_key(self._flow, binary), content, PutCondition.ABSENT)
        except ConflictError:
            self._report([content], reused=True)
        else:
            self._report([content], reused=False)

    async def _alone(self) -> set[bytes]:
        """Return the small contents that have objects of their own. Takes one request for each 1,000 Binary Files."""
        if self._alone_stored is None:
            found: set[bytes] = set()
            async with aclosing(list_pages(self._store, object_keys.binaries_prefix(self._flow))) as pages:
                async for page in pages:
                    found.update(_small(page))
                    if page[-1].key >= object_keys.packs_prefix(self._flow):
                        break  # packs sort last
            self._alone_stored = found
        return self._alone_stored

    def _report(self, contents: Collection[bytes], *, reused: bool) -> None:
        if contents:
            self._reporter.report(BinaryFileStored(sum(map(len, contents)), reused, len(contents)))


def _small(page: Iterable[ObjectInfo]) -> Iterable[bytes]:
    for info in page:
        digest = object_keys.binary_of(info.key)
        if info.size <= PACKED_BYTES and digest is not None:
            yield bytes.fromhex(digest)
