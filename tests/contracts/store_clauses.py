"""The parts of the clauses of the object store: each clause is a function that gets an open store and a prefix.

A clause demands nothing that S3 cannot keep, and uses no key outside its prefix, so that it can run in a shared bucket.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from secrets import token_hex

import anyio
from anyio.lowlevel import checkpoint

from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import ObjectStore, OpenBody, PutCondition

OpenStore = Callable[[], AbstractAsyncContextManager[ObjectStore]]
Clause = Callable[[ObjectStore, str], Awaitable[None]]

ABSENT, ALWAYS = PutCondition.ABSENT, PutCondition.NONE
CLAUSES: list[Clause] = []


async def check(clause: Clause, open_store: OpenStore) -> None:
    """Run one clause against a store, under a unique prefix; delete all objects under it afterwards."""
    prefix = f"contract-{token_hex(8)}/"
    async with open_store() as store:
        try:
            with anyio.fail_after(60):
                await clause(store, prefix)
        finally:
            for info in await store.list_page(prefix):
                await store.delete(info.key)


def clause(function: Clause) -> Clause:
    """Make a function a clause of the contract."""
    CLAUSES.append(function)
    return function


def body_of(pieces: Sequence[bytes], error: Exception | None = None) -> OpenBody:
    """Return a body that yields these pieces, and then raises the error if there is one."""

    @asynccontextmanager
    async def open_body() -> AsyncIterator[AsyncIterable[bytes]]:
        yield _pieces(pieces, error)

    return open_body


async def _pieces(pieces: Sequence[bytes], error: Exception | None) -> AsyncIterator[bytes]:
    for piece in pieces:
        await checkpoint()
        yield piece
    if error is not None:
        raise error


async def read(store: ObjectStore, key: ObjectKey, *, start: int = 0) -> bytes:
    """Return the whole content of an object."""
    async with store.open_stream(key, start=start) as pieces:
        return b"".join([piece async for piece in pieces])


async def keys(store: ObjectStore, prefix: str, *, after: ObjectKey | None = None, limit: int = 1000) -> list[str]:
    """Return the keys of one page."""
    return [str(info.key) for info in await store.list_page(prefix, after=after, limit=limit)]


def same(wanted: bytes, got: bytes) -> None:
    """Fail with the first place where two contents differ: pytest's diff of megabytes takes hours."""
    if wanted != got:
        place = next((n for n, (one, other) in enumerate(zip(wanted, got, strict=False)) if one != other), None)
        where = "one is the beginning of the other" if place is None else f"they differ first at byte {place}"
        raise AssertionError(f"{len(wanted)} bytes were expected and {len(got)} came; {where}")
