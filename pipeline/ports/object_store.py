"""The port to durable storage: objects under keys, created once or changed by compare-and-set, as in S3.

All durable state is here. Conditional writes decide everything that two processes could both decide.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import NewType, Protocol

from pipeline.domain.ids import ObjectKey

Version = NewType("Version", str)
"""The identity of the present content of a key (S3: the ETag). Opaque; equal versions mean equal bytes."""

OpenBody = Callable[[], AbstractAsyncContextManager[AsyncIterable[bytes]]]
"""Opens a large body from its start. A store MAY open it more than once, to retry."""


PAGE_OBJECTS = 1000
"""Objects in a page of a listing, at most (https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html)."""


class PutCondition(Enum):
    """The condition of a put. A `Version` in its place means: only if that is still the present version."""

    ABSENT = "absent"
    """Create-only: the key has no object."""
    NONE = "none"
    """Unconditional: replaces the object, if there is one. Only for objects with a single writer."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """An object in a listing. `size` is in bytes.

    `modified` is when its present content was stored, by the clock of the store, to the second. It does not count when two
    are compared.
    """

    key: ObjectKey
    size: int
    modified: datetime = field(default=datetime.fromtimestamp(0, UTC), compare=False)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """The content of an object, and its version."""

    data: bytes
    version: Version


class ObjectStore(Protocol):
    """Objects under keys. Keys are `/`-separated, non-empty, at most 1,024 bytes, with no empty, `.` or `..` segment.

    Every method may raise TransientError (a condition that passes) or RefusedError (a permission, a full disk). Reads
    and listings show all completed writes. Cancellation leaves the object as it was or as it should become, never in
    between.
    """

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        """Store `body` under `key` and return its version. On return it is durable: it survives a loss of power.

        Atomic: a reader sees the whole object or the state before. Of concurrent puts with `PutCondition.ABSENT`, or
        with the same Version, exactly one succeeds; the others raise ConflictError. A put with a Version raises
        ConflictError when there is no object. An error of the body's iterator passes through unchanged, and nothing is
        stored.
        """
        ...

    async def get(self, key: ObjectKey, *, max_bytes: int = 64 * 1024 * 1024) -> StoredObject:
        """Return a small object. AbsentError when there is none; DamagedError when it is larger than `max_bytes`."""
        ...

    def open_stream(self, key: ObjectKey, *, start: int = 0) -> AbstractAsyncContextManager[AsyncIterable[bytes]]:
        """Open the bytes of an object from offset `start` on, in order, in pieces of at most a few megabytes.

        AbsentError on opening when there is none. A `start` at or past the end yields no bytes. All bytes are of one
        version, even if the object is replaced meanwhile.
        """
        ...

    async def stat(self, key: ObjectKey) -> ObjectInfo | None:
        """Return the object's size, or None when there is no object."""
        ...

    async def list_page(
        self, prefix: str, *, after: ObjectKey | None = None, limit: int = PAGE_OBJECTS
    ) -> Sequence[ObjectInfo]:
        """Return up to `limit` objects whose keys start with `prefix` and sort after `after`, in UTF-8 byte order.

        Fewer than `limit` means that there are no more. Objects that are put or deleted during the listing MAY be
        missing; all others are listed exactly once over the pages.
        """
        ...

    async def list_folders(self, prefix: str) -> Sequence[str]:
        """Return what stands between `prefix`, which ends in a slash, and the next slash of keys, sorted by UTF-8 bytes.

        Each name is returned once, and only where an object lies below it. That costs a request for each thousand names
        and objects directly below `prefix`, however many lie further down.
        """
        ...

    async def delete(self, key: ObjectKey) -> None:
        """Delete the object, if there is one. Idempotent."""
        ...


async def list_pages(
    store: ObjectStore, prefix: str, after: ObjectKey | None = None
) -> AsyncGenerator[Sequence[ObjectInfo], None]:
    """Yield the objects whose keys start with `prefix`, those behind `after`, in pages of up to `PAGE_OBJECTS`, one request
    each.
    """
    while page := await store.list_page(prefix, after=after, limit=PAGE_OBJECTS):
        yield page
        if len(page) < PAGE_OBJECTS:
            return
        after = page[-1].key
