"""Clauses of the object store: put, delete and keys."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from pipeline.domain.errors import ConflictError, DamagedError, DefectError
from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import ObjectInfo, ObjectStore, OpenBody, PutCondition, Version
from tests.contracts.store_clauses import ABSENT, ALWAYS, body_of, clause, keys, read, same


@clause
async def what_was_put_is_there(store: ObjectStore, prefix: str) -> None:
    key = ObjectKey(f"{prefix}flow.json")
    for data in (b"", b"\x00\xff\r\n", b"x" * 300_000):
        version = await store.put(key, data, ALWAYS)
        stored = await store.get(key)
        same(data, stored.data)
        assert version == stored.version
        assert await store.stat(key) == ObjectInfo(key, len(data))
        assert [ObjectInfo(key, len(data))] == list(await store.list_page(prefix))
        same(data, await read(store, key))


@clause
async def a_streamed_body_is_stored_whole(store: ObjectStore, prefix: str) -> None:
    key = ObjectKey(f"{prefix}large")
    pieces = [b"", *(bytes([number]) * 77_777 for number in range(100)), b"end"]
    version = await store.put(key, body_of(pieces), ABSENT)
    same(b"".join(pieces), await read(store, key))
    assert version == (await store.get(key)).version


@clause
async def a_streamed_body_may_be_empty(store: ObjectStore, prefix: str) -> None:
    key = ObjectKey(f"{prefix}empty")
    await store.put(key, body_of([]), ABSENT)
    assert (await store.get(key)).data == b""


@clause
async def create_only_never_overwrites(store: ObjectStore, prefix: str) -> None:
    key = ObjectKey(f"{prefix}once")
    version = await store.put(key, b"first", ABSENT)
    for body in (b"second", b"first", body_of([b"third"])):
        with pytest.raises(ConflictError):
            await store.put(key, body, ABSENT)
    assert (b"first", version) == ((stored := await store.get(key)).data, stored.version)


@clause
async def create_only_after_a_delete_creates(store: ObjectStore, prefix: str) -> None:
    key = ObjectKey(f"{prefix}again")
    await store.put(key, b"first", ABSENT)
    await store.delete(key)
    await store.put(key, b"second", ABSENT)
    assert (await store.get(key)).data == b"second"


@clause
async def of_concurrent_creators_one_wins(store: ObjectStore, prefix: str) -> None:
    key = ObjectKey(f"{prefix}race")
    winners = await _race(store, key, ABSENT)
    assert len(winners) == 1
    assert winners == [(await store.get(key)).data]


@clause
async def of_concurrent_changes_of_one_version_one_wins(store: ObjectStore, prefix: str) -> None:
    key = ObjectKey(f"{prefix}race")
    winners = await _race(store, key, await store.put(key, b"before", ABSENT))
    assert len(winners) == 1
    assert winners == [(await store.get(key)).data]


async def _race(store: ObjectStore, key: ObjectKey, condition: PutCondition | Version) -> list[bytes]:
    winners = []

    async def compete(data: bytes, body: bytes | OpenBody) -> None:
        try:
            await store.put(key, body, condition)
        except ConflictError:
            return
        winners.append(data)

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            data = b"of %d" % number
            tasks.start_soon(compete, data, data if number % 2 else body_of([data]))
    return winners


@clause
async def a_change_needs_the_present_version(store: ObjectStore, prefix: str) -> None:
    key = ObjectKey(f"{prefix}movement.json")
    first = await store.put(key, b"first", ABSENT)
    second = await store.put(key, b"second", first)
    assert first != second
    for body in (b"stale", body_of([b"stale"])):
        with pytest.raises(ConflictError):
            await store.put(key, body, first)
    assert (await store.get(key)).data == b"second"
    await store.put(key, body_of([b"third"]), second)
    assert (await store.get(key)).data == b"third"


@clause
async def a_change_of_an_absent_object_is_a_conflict(store: ObjectStore, prefix: str) -> None:
    key = ObjectKey(f"{prefix}gone")
    version = await store.put(key, b"first", ABSENT)
    await store.delete(key)
    with pytest.raises(ConflictError):
        await store.put(key, b"second", version)
    assert await store.stat(key) is None


@clause
async def an_error_of_the_body_passes_through_and_stores_nothing(store: ObjectStore, prefix: str) -> None:
    key = ObjectKey(f"{prefix}broken")
    for error in (DamagedError("of the source"), OSError(28, "of the source")):
        with pytest.raises(type(error), match="of the source") as raised:
            await store.put(key, body_of([b"x" * 2_000_000, b"y"], error), ABSENT)
        assert raised.value is error
        assert await store.stat(key) is None
    await store.put(key, b"before", ABSENT)
    with pytest.raises(DamagedError):
        await store.put(key, body_of([b"after"], DamagedError("of the source")), ALWAYS)
    assert (await store.get(key)).data == b"before"
    assert await keys(store, prefix) == [key]


@clause
async def a_put_in_progress_shows_nothing(store: ObjectStore, prefix: str) -> None:
    key = ObjectKey(f"{prefix}atomic")
    await store.put(key, b"before", ABSENT)
    seen = []

    async def look_while_writing() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 3_000_000
            seen.append((await store.get(key)).data)

    @asynccontextmanager
    async def open_body() -> AsyncIterator[AsyncIterable[bytes]]:
        yield look_while_writing()

    await store.put(key, open_body, ALWAYS)
    assert len(seen) == 3
    for data in seen:
        same(b"before", data)
    assert (await store.stat(key)) == ObjectInfo(key, 9_000_000)


@clause
async def a_cancelled_put_stores_nothing(store: ObjectStore, prefix: str) -> None:
    key = ObjectKey(f"{prefix}cancelled")

    async def wait_for_cancellation() -> AsyncIterator[bytes]:
        yield b"x" * 3_000_000
        scope.cancel()
        await anyio.sleep_forever()

    @asynccontextmanager
    async def open_body() -> AsyncIterator[AsyncIterable[bytes]]:
        yield wait_for_cancellation()

    with anyio.CancelScope() as scope:
        await store.put(key, open_body, ABSENT)
    assert scope.cancelled_caught
    assert await store.stat(key) is None
    assert await keys(store, prefix) == []


@clause
async def delete_is_idempotent(store: ObjectStore, prefix: str) -> None:
    key = ObjectKey(f"{prefix}deleted")
    await store.put(key, b"x", ABSENT)
    for _ in range(2):
        await store.delete(key)
        assert await store.stat(key) is None
        assert await keys(store, prefix) == []


@clause
async def a_key_may_have_1024_bytes(store: ObjectStore, prefix: str) -> None:
    room = 1024 - len(prefix)
    for name in ("x" * room, "%E2%82%AC" * (room // 9), "é" * (room // 2), "d/" * ((room - 1) // 2) + "d", "." * room):
        key = ObjectKey(prefix + name)
        await store.put(key, name[:3].encode(), ABSENT)
        assert (await store.get(key)).data == name[:3].encode()
        assert await keys(store, prefix) == [key]
        await store.delete(key)


@clause
async def a_key_that_is_none_is_a_defect(store: ObjectStore, prefix: str) -> None:
    for name in ("", "a//b", "/a", "a/", ".", "../a", "a/../b", "a\0b", "\ud800", "x" * 1024):
        key = ObjectKey(prefix + name)
        with pytest.raises(DefectError):
            await store.put(key, b"", ALWAYS)
        with pytest.raises(DefectError):
            await store.get(key)
        with pytest.raises(DefectError):
            await store.stat(key)
        with pytest.raises(DefectError):
            await store.delete(key)
        with pytest.raises(DefectError):
            async with store.open_stream(key):
                pass
