"""What an app sends in parts: each is kept until all have come, then they are put together.

A part is `parts/{name}/{number}.{sha256}` below the uploads of a Movement, so that the app can ask which parts there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from pipeline.domain.errors import AbsentError, ConflictError, DamagedError
from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import ObjectStore, OpenBody, PutCondition, list_pages

MOST_PARTS = 10_000
"""As on S3."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part that is stored: its number from 0 on, its size in bytes, and its SHA-256 digest in hexadecimal."""

    number: int
    size: int
    sha256: str


class Parts:
    """The parts of one file or content."""

    def __init__(self, store: ObjectStore, uploads: str, name: str) -> None:
        self._store, self._prefix = store, f"{uploads}parts/{name}/"

    async def put(self, number: int, body: OpenBody, sha256: str) -> bool:
        """Store a part; return whether it is new. Another one with the same number stays beside it."""
        with suppress(ConflictError):
            await self._store.put(self._key(number, sha256), body, PutCondition.ABSENT)
            return True
        return False

    async def list(self) -> Sequence[Part]:
        """Return the parts that are stored, by number."""
        found = [info async for page in list_pages(self._store, self._prefix) for info in page]
        names = [info.key.removeprefix(self._prefix).partition(".") for info in found]
        return [Part(int(number), info.size, sha256) for info, (number, _, sha256) in zip(found, names, strict=True)]

    async def joined(self, digests: Sequence[str]) -> tuple[OpenBody, int]:
        """Return all bytes of the parts with these digests, one a part from 0 on, and how many.

        AbsentError names a part that is missing; to read the bytes raises DamagedError when one is damaged, and deletes it.
        """
        sizes = {(part.number, part.sha256): part.size for part in await self.list()}
        for number, digest in enumerate(digests):
            if (number, digest) not in sizes:
                raise AbsentError(f"Part {number} with the SHA-256 digest {digest} is not stored. Send it.")
        keys = [self._key(number, digest) for number, digest in enumerate(digests)]

        @asynccontextmanager
        async def opened() -> AsyncIterator[AsyncIterable[bytes]]:
            yield self._read(keys)

        return opened, sum(sizes[one] for one in enumerate(digests))

    async def forget(self) -> None:
        """Delete all."""
        for key in [info.key async for page in list_pages(self._store, self._prefix) for info in page]:
            await self._store.delete(key)

    async def _read(self, keys: Sequence[ObjectKey]) -> AsyncIterator[bytes]:
        for key in keys:
            digest = hashlib.sha256()
            async with self._store.open_stream(key) as pieces:
                async for piece in pieces:
                    digest.update(piece)
                    yield piece
            if not key.endswith(digest.hexdigest()):
                await self._store.delete(key)  # while it is there, it counts as sent
                raise DamagedError(f"The part {key} was damaged in the store, and is deleted. Send it again.")

    def _key(self, number: int, sha256: str) -> ObjectKey:
        return ObjectKey(f"{self._prefix}{number:06d}.{sha256}")
