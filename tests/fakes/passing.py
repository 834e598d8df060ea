"""Wrappers that pass every call on to another store or queue. A test derives from one and overrides what it changes."""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from pipeline.domain.ids import ObjectKey
from pipeline.ports.event_queue import EventQueue, Message, QueueDepth, Receipt
from pipeline.ports.object_store import ObjectInfo, ObjectStore, OpenBody, PutCondition, StoredObject, Version


@dataclass
class PassingStore:
    """An ObjectStore that does what `inner` does."""

    inner: ObjectStore

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        return await self.inner.put(key, body, condition)

    async def get(self, key: ObjectKey, *, max_bytes: int = 64 * 1024 * 1024) -> StoredObject:
        return await self.inner.get(key, max_bytes=max_bytes)

    def open_stream(self, key: ObjectKey, *, start: int = 0) -> AbstractAsyncContextManager[AsyncIterable[bytes]]:
        return self.inner.open_stream(key, start=start)

    async def stat(self, key: ObjectKey) -> ObjectInfo | None:
        return await self.inner.stat(key)

    async def list_page(
        self, prefix: str, *, after: ObjectKey | None = None, limit: int = 1000
    ) -> Sequence[ObjectInfo]:
        return await self.inner.list_page(prefix, after=after, limit=limit)

    async def list_folders(self, prefix: str) -> Sequence[str]:
        return await self.inner.list_folders(prefix)

    async def delete(self, key: ObjectKey) -> None:
        await self.inner.delete(key)


@dataclass
class PassingQueue:
    """An EventQueue that does what `inner` does."""

    inner: EventQueue

    async def send(self, bodies: Sequence[bytes]) -> None:
        await self.inner.send(bodies)

    async def receive(self, *, max_messages: int = 1, wait_seconds: float = 0.0) -> Sequence[Message]:
        return await self.inner.receive(max_messages=max_messages, wait_seconds=wait_seconds)

    async def extend(self, receipt: Receipt, seconds: float) -> None:
        await self.inner.extend(receipt, seconds)

    async def acknowledge(self, receipts: Sequence[Receipt]) -> None:
        await self.inner.acknowledge(receipts)

    async def reject(self, message: Message, reason: str) -> None:
        await self.inner.reject(message, reason)

    async def depth(self) -> QueueDepth:
        return await self.inner.depth()
