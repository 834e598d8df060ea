"""The bucket, and the object store as one process sees it: as bad as the port allows, by seed."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import OpenBody, PutCondition, Version
from pipeline.testing.simulated.object_store import MemoryObjectStore

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
