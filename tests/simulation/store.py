"""The bucket, and the object store as one process sees it: as bad as the port allows, by seed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import ObjectInfo, OpenBody, PutCondition, StoredObject, Version
from tests.fakes.object_store import MemoryObjectStore
from tests.simulation.faults import Kind
from tests.simulation.process import Process

DEADLY = (Kind.DIE_BEFORE, Kind.DIE_AFTER, Kind.FREEZE_BEFORE, Kind.FREEZE_AFTER)
READING = (*DEADLY, Kind.FAIL_BEFORE, Kind.HANG_BEFORE, Kind.HANG_AFTER)
STREAMING = (*READING, Kind.FAIL_AFTER, Kind.DIE_HALFWAY, Kind.FULL)
WRITING = (*STREAMING, Kind.FAIL_LATE, Kind.DIE_LATE)
WITHIN = (Kind.DIE_BEFORE, Kind.FAIL_BEFORE, Kind.HANG_BEFORE, Kind.FREEZE_BEFORE)

PIECE_BYTES = 64 * 1024

OnChange = Callable[[ObjectKey, bytes | None, bytes | None], None]


def _unwatched(key: ObjectKey, before: bytes | None, after: bytes | None) -> None:
    return None


class Bucket(MemoryObjectStore):
    """What outlives processes. `on_change` sees every change in the step in which it takes effect.

    `uploads` counts the bodies that are open.
    """

    def __init__(self, on_change: OnChange = _unwatched) -> None:
        super().__init__()
        self.on_change = on_change
        self.uploads = 0
        self.content: dict[str, bytes] = {}

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        data = body if isinstance(body, bytes) else await self._upload(body)
        version = await super().put(key, data, condition)
        before, self.content[key] = self.content.get(key), data
        self.on_change(key, before, data)
        return version

    async def _upload(self, open_body: OpenBody) -> bytes:
        self.uploads += 1
        try:
            async with open_body() as pieces:
                return b"".join([piece async for piece in pieces])
        finally:
            self.uploads -= 1

    async def delete(self, key: ObjectKey) -> None:
        await super().delete(key)
        before = self.content.pop(key, None)
        if before is not None:
            self.on_change(key, before, None)


@dataclass
class SimulatedStore:
    """An ObjectStore in the hands of one process."""

    bucket: Bucket
    process: Process

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        name = f"store.put {key}"

        async def work() -> Version:
            self.process.disks.check_room(name)
            return await self.bucket.put(key, body, condition)

        if not isinstance(body, bytes):
            return await self.process.call(name, work, STREAMING, halfway=lambda: _first_piece(body))
        # Whatever replaces what is there without a condition is for people to look at, and may be out of date.
        return await self.process.call(name, work, STREAMING if condition is PutCondition.NONE else WRITING)

    async def get(self, key: ObjectKey, *, max_bytes: int = 64 * 1024 * 1024) -> StoredObject:
        return await self.process.call(f"store.get {key}", lambda: self.bucket.get(key, max_bytes=max_bytes), READING)

    @asynccontextmanager
    async def open_stream(self, key: ObjectKey, *, start: int = 0) -> AsyncIterator[AsyncIterable[bytes]]:
        data = (await self.process.call(f"store.open_stream {key}", lambda: self.bucket.get(key), READING)).data
        async with aclosing(self._pieces(key, data[start:])) as pieces:
            yield pieces

    async def _pieces(self, key: ObjectKey, data: bytes) -> AsyncGenerator[bytes, None]:
        size = max(1, min(len(data) // 2, PIECE_BYTES))
        for start in range(0, len(data), size):
            if start == size:
                await self.process.call(f"store.read on {key}", _nothing, WITHIN)
            yield data[start : start + size]

    async def stat(self, key: ObjectKey) -> ObjectInfo | None:
        return await self.process.call(f"store.stat {key}", lambda: self.bucket.stat(key), READING)

    async def list_page(
        self, prefix: str, *, after: ObjectKey | None = None, limit: int = 1000
    ) -> Sequence[ObjectInfo]:
        work = self._listing(prefix, after, limit)
        return await self.process.call(f"store.list_page {prefix} after {after}", work, READING)

    def _listing(
        self, prefix: str, after: ObjectKey | None, limit: int
    ) -> Callable[[], Awaitable[Sequence[ObjectInfo]]]:
        return lambda: self.bucket.list_page(prefix, after=after, limit=limit)

    async def delete(self, key: ObjectKey) -> None:
        await self.process.call(f"store.delete {key}", lambda: self.bucket.delete(key), WRITING)


async def _nothing() -> None:
    return None


async def _first_piece(open_body: OpenBody) -> None:
    async with open_body() as pieces:
        async for _ in pieces:
            return
