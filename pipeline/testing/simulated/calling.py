"""Store and queue in the hands of one process: they do what another does, by calls that a test may hinder."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from anyio.lowlevel import checkpoint

from pipeline.domain.ids import ObjectKey
from pipeline.ports.event_queue import EventQueue, Message, QueueDepth, Receipt
from pipeline.ports.object_store import ObjectInfo, ObjectStore, OpenBody, PutCondition, StoredObject, Version
from pipeline.testing.simulated.calls import Calls

PIECE_BYTES = 64 * 1024


@dataclass
class CallingStore:
    """Does what `inner` does, by calls. A conditional put is a `store.put`, any other a `store.replace`;
    a body that has to be opened is a `store.upload`."""

    inner: ObjectStore
    calls: Calls

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        async def work() -> Version:
            return await self.inner.put(key, body, condition)

        if not isinstance(body, bytes):
            return await self.calls.call(f"store.upload {key}", work, lambda: _read_first_piece(body))
        return await self.calls.call(f"store.{'replace' if condition is PutCondition.NONE else 'put'} {key}", work)

    async def get(self, key: ObjectKey, *, max_bytes: int = 64 * 1024 * 1024) -> StoredObject:
        return await self.calls.call(f"store.get {key}", lambda: self.inner.get(key, max_bytes=max_bytes))

    @asynccontextmanager
    async def open_stream(self, key: ObjectKey, *, start: int = 0) -> AsyncIterator[AsyncIterable[bytes]]:
        data = (await self.calls.call(f"store.open_stream {key}", lambda: self.inner.get(key))).data
        async with aclosing(self._pieces(key, data[start:])) as pieces:
            yield pieces

    async def _pieces(self, key: ObjectKey, data: bytes) -> AsyncGenerator[bytes, None]:
        size = max(1, min(len(data) // 2, PIECE_BYTES))
        for start in range(0, len(data), size):
            if start == size:
                await self.calls.call(f"store.read {key}", checkpoint)
            yield data[start : start + size]

    async def stat(self, key: ObjectKey) -> ObjectInfo | None:
        return await self.calls.call(f"store.stat {key}", lambda: self.inner.stat(key))

    async def list_page(
        self, prefix: str, *, after: ObjectKey | None = None, limit: int = 1000
    ) -> Sequence[ObjectInfo]:
        name = f"store.list_page {prefix}" + ("" if after is None else f" after {after}")
        return await self.calls.call(name, lambda: self.inner.list_page(prefix, after=after, limit=limit))

    async def list_folders(self, prefix: str) -> Sequence[str]:
        return await self.calls.call(f"store.list_folders {prefix}", lambda: self.inner.list_folders(prefix))

    async def delete(self, key: ObjectKey) -> None:
        await self.calls.call(f"store.delete {key}", lambda: self.inner.delete(key))


async def _read_first_piece(open_body: OpenBody) -> None:
    async with open_body() as pieces:
        async for _ in pieces:
            return


@dataclass
class CallingQueue:
    """Does what `inner` does, by calls that begin with `name`. A receive without messages is no call."""

    inner: EventQueue
    calls: Calls
    name: str = "queue"

    async def send(self, bodies: Sequence[bytes]) -> None:
        async def work() -> None:
            await self.inner.send(bodies)

        async def half() -> None:
            await self.inner.send(bodies[: len(bodies) // 2])

        await self.calls.call(f"{self.name}.send", work, half)

    async def receive(self, *, max_messages: int = 1, wait_seconds: float = 0.0) -> Sequence[Message]:
        messages = await self.inner.receive(max_messages=max_messages, wait_seconds=wait_seconds)

        async def received() -> Sequence[Message]:
            return messages  # without a checkpoint: a cancellation here would keep the messages invisible

        return await self.calls.call(f"{self.name}.receive", received) if messages else messages

    async def extend(self, receipt: Receipt, seconds: float) -> None:
        await self.calls.call(f"{self.name}.extend {receipt}", lambda: self.inner.extend(receipt, seconds))

    async def acknowledge(self, receipts: Sequence[Receipt]) -> None:
        name = f"{self.name}.acknowledge {', '.join(receipts)}"
        await self.calls.call(name, lambda: self.inner.acknowledge(receipts))

    async def reject(self, message: Message, reason: str) -> None:
        await self.calls.call(f"{self.name}.reject {message.receipt}", lambda: self.inner.reject(message, reason))

    async def depth(self) -> QueueDepth:
        return await self.calls.call(f"{self.name}.depth", self.inner.depth)
