"""Store and queue of a process that can die at every call."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pipeline.domain.ids import ObjectKey
from pipeline.ports.event_queue import EventQueue, Message, QueueDepth, Receipt
from pipeline.ports.object_store import ObjectInfo, ObjectStore, OpenBody, PutCondition, StoredObject, Version
from tests.engine.world import Faults


@dataclass
class MortalStore:
    """An ObjectStore whose caller may die at any call."""

    inner: ObjectStore
    faults: Faults

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        return await self.faults.call(f"store.put {key}", lambda: self.inner.put(key, body, condition))

    async def get(self, key: ObjectKey, *, max_bytes: int = 64 * 1024 * 1024) -> StoredObject:
        return await self.faults.call(f"store.get {key}", lambda: self.inner.get(key, max_bytes=max_bytes))

    @asynccontextmanager
    async def open_stream(self, key: ObjectKey, *, start: int = 0) -> AsyncIterator[AsyncIterable[bytes]]:
        await self.faults.call(f"store.open_stream {key}", lambda: self.inner.stat(key))
        async with self.inner.open_stream(key, start=start) as pieces:
            yield pieces

    async def stat(self, key: ObjectKey) -> ObjectInfo | None:
        return await self.faults.call(f"store.stat {key}", lambda: self.inner.stat(key))

    async def list_page(
        self, prefix: str, *, after: ObjectKey | None = None, limit: int = 1000
    ) -> Sequence[ObjectInfo]:
        return await self.faults.call(
            f"store.list_page {prefix}", lambda: self.inner.list_page(prefix, after=after, limit=limit)
        )

    async def delete(self, key: ObjectKey) -> None:
        await self.faults.call(f"store.delete {key}", lambda: self.inner.delete(key))


@dataclass
class MortalQueue:
    """An EventQueue whose caller may die at any call."""

    inner: EventQueue
    faults: Faults

    async def send(self, bodies: Sequence[bytes]) -> None:
        await self.faults.call("queue.send", lambda: self.inner.send(bodies))

    async def receive(self, *, max_messages: int = 1, wait_seconds: float = 0.0) -> Sequence[Message]:
        return await self.inner.receive(max_messages=max_messages, wait_seconds=wait_seconds)

    async def extend(self, receipt: Receipt, seconds: float) -> None:
        await self.inner.extend(receipt, seconds)

    async def acknowledge(self, receipts: Sequence[Receipt]) -> None:
        await self.faults.call("queue.acknowledge", lambda: self.inner.acknowledge(receipts))

    async def reject(self, message: Message, reason: str) -> None:
        await self.faults.call("queue.reject", lambda: self.inner.reject(message, reason))

    async def depth(self) -> QueueDepth:
        return await self.inner.depth()
