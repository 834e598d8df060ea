"""The port to durable storage: immutable or compare-and-set objects under keys, as S3 has them.

The bucket is the truth. Everything two processes could both decide is decided here, by conditional writes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Enum
from typing import NewType, Protocol

from pipeline.domain.ids import ObjectKey

Version = NewType("Version", str)
"""What a store calls the present content of a key (S3: the ETag). Opaque; equal versions mean equal bytes."""

OpenBody = Callable[[], AbstractAsyncContextManager[AsyncIterable[bytes]]]
"""Opens a large body from its start. A store MAY open it more than once, to try again."""


PAGE_OBJECTS = 1000
"""The most objects that one request lists (S3: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html)."""


class PutCondition(Enum):
    """What must hold for a put to take place, beside a `Version` that must still be the present one."""

    ABSENT = "absent"
    """Create-only: no object has this key."""
    NONE = "none"
    """Whatever is there is replaced. Only for objects with one writer."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object as a listing names it. `size` is in bytes."""

    key: ObjectKey
    size: int


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A whole object."""

    data: bytes
    version: Version


class ObjectStore(Protocol):
    """Objects under keys. Keys are `/`-separated, non-empty, at most 1,024 bytes, with no empty, `.` or `..` segment.

    Every method raises TransientError for a condition that passes, RefusedError when the store says no (a permission,
    a full disk). Reading one's own writes holds for `get`, `open_stream`, `stat` and `list_page` alike. Cancellation
    leaves the object as it was or as it was to be, never in between.
    """

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        """Store `body` under `key` and return its version, once it is durable: it survives the loss of power.

        Atomic: a reader sees the whole object or the state before. Of any number of concurrent puts with
        `PutCondition.ABSENT`, or with one and the same Version, exactly one succeeds; the others raise ConflictError.
        A put with a Version onto an absent key raises ConflictError. An error raised by the body's iterator passes
        through unchanged and stores nothing.
        """
        ...

    async def get(self, key: ObjectKey, *, max_bytes: int = 64 * 1024 * 1024) -> StoredObject:
        """Return a whole small object. AbsentError when there is none; DamagedError when it is over `max_bytes`."""
        ...

    def open_stream(self, key: ObjectKey, *, start: int = 0) -> AbstractAsyncContextManager[AsyncIterable[bytes]]:
        """Open the object's bytes from offset `start` on, in pieces of at most a few megabytes, in order.

        AbsentError on opening when there is none. A `start` at or past the end gives no bytes. What is read is one
        version: an object replaced meanwhile does not mix with its successor.
        """
        ...

    async def stat(self, key: ObjectKey) -> ObjectInfo | None:
        """Return what is known of `key`, or None when there is no such object."""
        ...

    async def list_page(
        self, prefix: str, *, after: ObjectKey | None = None, limit: int = PAGE_OBJECTS
    ) -> Sequence[ObjectInfo]:
        """Return up to `limit` objects whose keys start with `prefix` and sort after `after`, in UTF-8 byte order.

        Fewer than `limit` means there are no more. Objects put or deleted meanwhile MAY be missing or present;
        all others are listed exactly once over the pages.
        """
        ...

    async def delete(self, key: ObjectKey) -> None:
        """Remove the object if it is there. Idempotent."""
        ...


async def list_pages(store: ObjectStore, prefix: str) -> AsyncGenerator[Sequence[ObjectInfo], None]:
    """Yield the objects whose keys start with `prefix`, in pages of up to `PAGE_OBJECTS`, one request each."""
    after: ObjectKey | None = None
    page: Sequence[ObjectInfo] = ()
    while after is None or len(page) == PAGE_OBJECTS:
        page = await store.list_page(prefix, after=after, limit=PAGE_OBJECTS)
        if not page:
            return
        yield page
        after = page[-1].key
