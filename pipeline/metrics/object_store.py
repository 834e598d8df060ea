"""An object store whose requests are timed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

from pipeline.domain.ids import ObjectKey
from pipeline.metrics.registry import Metrics
from pipeline.ports.object_store import (
    PAGE_OBJECTS,
    ObjectInfo,
    ObjectStore,
    OpenBody,
    PutCondition,
    StoredObject,
    Version,
)


class MeteredObjectStore:
    """Passes every request on to a store, and observes how long it takes. `opened` is that store."""

    def __init__(self, opened: ObjectStore, metrics: Metrics) -> None:
        self.opened, self._metrics = opened, metrics

    @contextmanager
    def _timed(self, op: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self._metrics.observe("pipeline_store_request_seconds", time.monotonic() - begun, op=op)

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        with self._timed("put"):
            return await self.opened.put(key, body, condition)

    async def get(self, key: ObjectKey, *, max_bytes: int = 64 * 1024 * 1024) -> StoredObject:
        with self._timed("get"):
            return await self.opened.get(key, max_bytes=max_bytes)

    @asynccontextmanager
    async def open_stream(self, key: ObjectKey, *, start: int = 0) -> AsyncIterator[AsyncIterable[bytes]]:
        """See the port. Only the opening is timed: how fast bytes are read depends on their consumer."""
        async with AsyncExitStack() as stack:
            with self._timed("open"):
                pieces = await stack.enter_async_context(self.opened.open_stream(key, start=start))
            yield pieces

    async def stat(self, key: ObjectKey) -> ObjectInfo | None:
        with self._timed("stat"):
            return await self.opened.stat(key)

    async def list_page(
        self, prefix: str, *, after: ObjectKey | None = None, limit: int = PAGE_OBJECTS
    ) -> Sequence[ObjectInfo]:
        with self._timed("list"):
            return await self.opened.list_page(prefix, after=after, limit=limit)

    async def list_folders(self, prefix: str) -> Sequence[str]:
        with self._timed("list"):
            return await self.opened.list_folders(prefix)

    async def delete(self, key: ObjectKey) -> None:
        with self._timed("delete"):
            await self.opened.delete(key)
