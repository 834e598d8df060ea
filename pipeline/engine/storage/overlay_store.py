"""A store for a rehearsal: reads what another store has, and keeps what is written apart from it.

Event Files and Binary Files are dropped when they are written: an export does not read its own again.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from pipeline.domain.errors import AbsentError, ConflictError
from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import (
    PAGE_OBJECTS,
    ObjectInfo,
    ObjectStore,
    OpenBody,
    PutCondition,
    StoredObject,
    Version,
)

_DROPPED = re.compile(r"flows/[^/]+/(events|binaries)/")


class OverlayStore:
    """Shows `base` with all that was written since in `written`. Nothing is written to `base`."""

    def __init__(self, base: ObjectStore, written: ObjectStore) -> None:
        self._base = base
        self._written = written

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        if _DROPPED.match(key):
            return Version("dropped")
        if await self._written.stat(key) is not None:
            return await self._written.put(key, body, condition)
        if condition is PutCondition.NONE:
            return await self._written.put(key, body, condition)
        if not await self._holds(key, condition):
            raise ConflictError(f"the object {key} exists already, or was changed meanwhile")
        return await self._written.put(key, body, PutCondition.ABSENT)

    async def _holds(self, key: ObjectKey, condition: PutCondition | Version) -> bool:
        """Whether the condition holds in the base."""
        found = await self._base.stat(key)
        if found is None or isinstance(condition, PutCondition):
            return found is None and isinstance(condition, PutCondition)
        return (await self._base.get(key)).version == condition

    async def get(self, key: ObjectKey, *, max_bytes: int = 64 * 1024 * 1024) -> StoredObject:
        try:
            return await self._written.get(key, max_bytes=max_bytes)
        except AbsentError:
            return await self._base.get(key, max_bytes=max_bytes)

    @asynccontextmanager
    async def open_stream(self, key: ObjectKey, *, start: int = 0) -> AsyncIterator[AsyncIterable[bytes]]:
        store = self._base if await self._written.stat(key) is None else self._written
        async with store.open_stream(key, start=start) as pieces:
            yield pieces

    async def stat(self, key: ObjectKey) -> ObjectInfo | None:
        return await self._written.stat(key) or await self._base.stat(key)

    async def list_page(
        self, prefix: str, *, after: ObjectKey | None = None, limit: int = PAGE_OBJECTS
    ) -> Sequence[ObjectInfo]:
        pages = [await store.list_page(prefix, after=after, limit=limit) for store in (self._base, self._written)]
        found = {info.key: info for page in pages for info in page}
        return sorted(found.values(), key=lambda info: info.key.encode())[:limit]

    async def list_folders(self, prefix: str) -> Sequence[str]:
        found = {*await self._base.list_folders(prefix), *await self._written.list_folders(prefix)}
        return sorted(found, key=str.encode)

    async def delete(self, key: ObjectKey) -> None:
        await self._written.delete(key)
