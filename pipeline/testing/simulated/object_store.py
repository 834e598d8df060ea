"""A fake object store in memory, for tests of code that is written against the port."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice

import anyio
from anyio.lowlevel import checkpoint
from blake3 import blake3

from pipeline.domain.errors import AbsentError, ConflictError, DamagedError
from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import ObjectInfo, OpenBody, PutCondition, StoredObject, Version
from pipeline.stores.keys import check_key

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""What the store's clock shows when that of the event loop shows 0."""
PIECE_BYTES = 64 * 1024
"""Small, so that tests see a stream in several pieces."""


class MemoryObjectStore:
    """Implements `pipeline.ports.object_store.ObjectStore`, and guarantees no more than the port.

    A version is a digest of the content, as an ETag on S3 is: equal content has an equal version. Its clock is that of the
    event loop.
    """

    def __init__(self) -> None:
        self._objects: dict[bytes, bytes] = {}
        self._dates: dict[bytes, datetime] = {}
        self._keys: list[bytes] = []

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        name = check_key(key).encode()
        data = body if isinstance(body, bytes) else await _read_body(body)
        await checkpoint()
        present = self._objects.get(name)
        if condition is PutCondition.ABSENT and present is not None:
            raise ConflictError(f"the object {key} exists already")
        if not isinstance(condition, PutCondition) and (present is None or _version(present) != condition):
            raise ConflictError(f"the object {key} has changed since it was read")
        if present is None:
            insort(self._keys, name)
        self._objects[name] = data
        self._dates[name] = EPOCH + timedelta(seconds=anyio.current_time())
        return _version(data)

    async def get(self, key: ObjectKey, *, max_bytes: int = 64 * 1024 * 1024) -> StoredObject:
        await checkpoint()
        data = self._data(key)
        if len(data) > max_bytes:
            raise DamagedError(f"the object {key} has {len(data)} bytes; at most {max_bytes} were expected")
        return StoredObject(data, _version(data))

    @asynccontextmanager
    async def open_stream(self, key: ObjectKey, *, start: int = 0) -> AsyncIterator[AsyncIterable[bytes]]:
        await checkpoint()
        yield _Pieces(self._data(key), start)

    async def stat(self, key: ObjectKey) -> ObjectInfo | None:
        await checkpoint()
        name = check_key(key).encode()
        data = self._objects.get(name)
        return None if data is None else ObjectInfo(key, len(data), self._dates[name])

    async def list_page(
        self, prefix: str, *, after: ObjectKey | None = None, limit: int = 1000
    ) -> Sequence[ObjectInfo]:
        await checkpoint()
        wanted = prefix.encode("utf-8", "surrogatepass")
        first = bisect_left(self._keys, wanted)
        if after is not None:
            first = max(first, bisect_right(self._keys, after.encode("utf-8", "surrogatepass")))
        page = islice(self._keys, first, first + limit)
        return [
            ObjectInfo(ObjectKey(k.decode()), len(self._objects[k]), self._dates[k])
            for k in page
            if k.startswith(wanted)
        ]

    async def list_folders(self, prefix: str) -> Sequence[str]:
        await checkpoint()
        below = (key.decode().removeprefix(prefix) for key in self._keys if key.startswith(prefix.encode()))
        return sorted({rest.partition("/")[0] for rest in below if "/" in rest}, key=str.encode)

    async def delete(self, key: ObjectKey) -> None:
        await checkpoint()
        name = check_key(key).encode()
        if self._objects.pop(name, None) is not None:
            del self._keys[bisect_left(self._keys, name)]

    def contents(self) -> Iterator[tuple[ObjectKey, bytes]]:
        """Yield all objects, by key."""
        for name in self._keys:
            yield ObjectKey(name.decode()), self._objects[name]

    def _data(self, key: ObjectKey) -> bytes:
        data = self._objects.get(check_key(key).encode())
        if data is None:
            raise AbsentError(f"there is no object {key}")
        return data


class _Pieces:
    def __init__(self, data: bytes, start: int) -> None:
        self._rest = memoryview(data)[start:]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await checkpoint()
        if not self._rest:
            raise StopAsyncIteration
        piece, self._rest = bytes(self._rest[:PIECE_BYTES]), self._rest[PIECE_BYTES:]
        return piece


async def _read_body(open_body: OpenBody) -> bytes:
    async with open_body() as pieces:
        return b"".join([piece async for piece in pieces])


def _version(data: bytes) -> Version:
    return Version(blake3(data).hexdigest())
