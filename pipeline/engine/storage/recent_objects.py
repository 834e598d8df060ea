"""Small objects that never change and that this process has just read or stored: what is asked for next is at hand."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import ObjectStore

SMALL_BYTES = 65_536
MOST_OBJECTS = 8
"""A stream has its state, and the part of its only Event File."""


class RecentObjects:
    """The last `MOST_OBJECTS` objects of at most `SMALL_BYTES` each."""

    def __init__(self) -> None:
        self._contents: dict[ObjectKey, bytes] = {}

    def remember(self, key: ObjectKey, content: bytes) -> None:
        """Keep an object that is stored, if it is small."""
        if len(content) > SMALL_BYTES:
            return
        self._contents.pop(key, None)
        self._contents[key] = content
        if len(self._contents) > MOST_OBJECTS:
            del self._contents[next(iter(self._contents))]

    @asynccontextmanager
    async def open_stream(self, store: ObjectStore, key: ObjectKey) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """Open an object as the store does; a small one that is read to its end is kept."""
        known = self._contents.get(key)
        async with aclosing(self._read(store, key) if known is None else _whole(known)) as pieces:
            yield pieces

    async def _read(self, store: ObjectStore, key: ObjectKey) -> AsyncGenerator[bytes, None]:
        kept: list[bytes] = []
        size = 0
        async with store.open_stream(key) as pieces:
            async for piece in pieces:
                size += len(piece)
                if size <= SMALL_BYTES:
                    kept.append(piece)
                yield piece
        if size <= SMALL_BYTES:
            self.remember(key, b"".join(kept))


async def _whole(content: bytes) -> AsyncGenerator[bytes, None]:
    yield content
