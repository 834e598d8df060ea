"""An export below a prefix of a bucket: an ObjectStore as an ExportStorage."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import ObjectStore, OpenBody, PutCondition, StoredObject, Version, list_pages

_PROBE = "probe/"
"""Objects with which a store finds out what its server can do. They are no part of the export."""


class BucketStorage:
    """The objects of a store. Several processes may write at once: the conditions of puts decide between them."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def objects(self) -> Mapping[str, str]:
        found = [info async for page in list_pages(self._store, "") for info in page]
        own = {one.key: f"{one.size} {one.modified.isoformat()}" for one in found if not one.key.startswith(_PROBE)}
        return dict(sorted(own.items()))

    async def get(self, name: str) -> StoredObject:
        return await self._store.get(ObjectKey(name))

    def open_stream(self, name: str) -> AbstractAsyncContextManager[AsyncIterable[bytes]]:
        return self._store.open_stream(ObjectKey(name))

    async def put(self, name: str, body: bytes | OpenBody, condition: PutCondition | Version) -> None:
        await self._store.put(ObjectKey(name), body, condition)

    async def delete(self, name: str) -> None:
        await self._store.delete(ObjectKey(name))

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[bool]:
        yield False

    async def create(self) -> None:
        """Do nothing: a prefix exists as soon as an object has it."""
