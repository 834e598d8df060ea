"""Clauses of the object store: get, streams and listings."""

from __future__ import annotations

import anyio
import pytest

from pipeline.domain.errors import AbsentError, DamagedError
from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import ObjectStore
from tests.contracts.store_clauses import ABSENT, ALWAYS, clause, keys, read, same


@clause
async def what_is_absent_is_absent(store: ObjectStore, prefix: str) -> None:
    key = ObjectKey(f"{prefix}nothing/here")
    with pytest.raises(AbsentError):
        await store.get(key)
    with pytest.raises(AbsentError):
        async with store.open_stream(key):
            pass
    assert await store.stat(key) is None
    assert await keys(store, prefix) == []


@clause
async def get_refuses_more_than_was_expected(store: ObjectStore, prefix: str) -> None:
    key = ObjectKey(f"{prefix}long")
    await store.put(key, b"x" * 11, ABSENT)
    assert (await store.get(key, max_bytes=11)).data == b"x" * 11
    with pytest.raises(DamagedError):
        await store.get(key, max_bytes=10)


@clause
async def a_stream_begins_at_its_start(store: ObjectStore, prefix: str) -> None:
    key = ObjectKey(f"{prefix}stream")
    data = bytes(range(256)) * 12_000
    await store.put(key, data, ABSENT)
    for start in (0, 1, 65_537, len(data) - 1, len(data), len(data) + 1):
        same(data[start:], await read(store, key, start=start))


@clause
async def a_stream_comes_in_bounded_pieces(store: ObjectStore, prefix: str) -> None:
    key = ObjectKey(f"{prefix}stream")
    await store.put(key, b"x" * 10_000_000, ABSENT)
    async with store.open_stream(key) as pieces:
        sizes = [len(piece) async for piece in pieces]
    assert sum(sizes) == 10_000_000
    assert 0 < min(sizes) <= max(sizes) <= 4 * 1024 * 1024


@clause
async def a_stream_reads_one_version(store: ObjectStore, prefix: str) -> None:
    key = ObjectKey(f"{prefix}replaced")
    await store.put(key, b"a" * 9_000_000, ALWAYS)
    async with store.open_stream(key) as pieces:
        iterator = aiter(pieces)
        got = await anext(iterator)
        await store.put(key, b"b" * 9_000_000, ALWAYS)
        got += b"".join([piece async for piece in iterator])
    same(b"a" * 9_000_000, got)


@clause
async def a_stream_may_be_left_early(store: ObjectStore, prefix: str) -> None:
    key = ObjectKey(f"{prefix}left")
    await store.put(key, b"x" * 5_000_000, ABSENT)
    async with store.open_stream(key) as pieces:
        async for piece in pieces:
            assert piece
            break
    await store.delete(key)


NAMES = (
    "a",
    "a!",
    "a!/z",
    "a-b",
    "a.b",
    "a.b/c",
    "a/b",
    "a/b/c",
    "a/~",
    "a/é",
    "a0",
    "aa/b",
    "b.json",
    "~",
    "é",
    "｡",
    "😀",
)
"""In UTF-8 byte order. On a file system some are both an object and a directory."""


@clause
async def a_listing_is_in_the_order_of_utf8_bytes(store: ObjectStore, prefix: str) -> None:
    for name in reversed(NAMES):
        await store.put(ObjectKey(prefix + name), name.encode(), ABSENT)
    assert [prefix + name for name in NAMES] == await keys(store, prefix)
    for name in NAMES:
        assert (await store.get(ObjectKey(prefix + name))).data == name.encode()


@clause
async def a_listing_holds_what_starts_with_its_prefix(store: ObjectStore, prefix: str) -> None:
    for name in NAMES:
        await store.put(ObjectKey(prefix + name), b"", ABSENT)
    for start in ("a", "a/", "a/b", "a/b/", "a.b", "a.b/c", "aa", "b", "é", "/", "a//", "c", "../"):
        assert [prefix + name for name in NAMES if name.startswith(start)] == await keys(store, prefix + start)


@clause
async def a_page_follows_its_predecessor(store: ObjectStore, prefix: str) -> None:
    for name in NAMES:
        await store.put(ObjectKey(prefix + name), b"", ABSENT)
    for limit in (1, 3, len(NAMES)):
        listed: list[str] = []
        after: ObjectKey | None = None
        while page := await keys(store, prefix, after=after, limit=limit):
            listed += page
            after = ObjectKey(page[-1])
            if len(page) < limit or len(listed) > len(NAMES):
                break
        assert [prefix + name for name in NAMES] == listed


@clause
async def a_page_may_follow_a_key_that_is_not_there(store: ObjectStore, prefix: str) -> None:
    for name in ("a/1", "a/3", "b"):
        await store.put(ObjectKey(prefix + name), b"", ABSENT)
    assert [prefix + "a/3", prefix + "b"] == await keys(store, prefix, after=ObjectKey(prefix + "a/2"))
    assert [prefix + "b"] == await keys(store, prefix, after=ObjectKey(prefix + "a/9/9"))
    assert [prefix + "a/3"] == await keys(store, prefix + "a/", after=ObjectKey(prefix + "a/1"))
    assert await keys(store, prefix, after=ObjectKey(prefix + "c")) == []
    assert [prefix + "a/1"] == await keys(store, prefix, after=ObjectKey(prefix), limit=1)


@clause
async def folders_are_listed_by_what_lies_below_them(store: ObjectStore, prefix: str) -> None:
    for name in NAMES:
        await store.put(ObjectKey(prefix + name), b"", ABSENT)
    assert await store.list_folders(prefix) == ["a", "a!", "a.b", "aa"]
    assert await store.list_folders(f"{prefix}a/") == ["b"]
    for start in ("b.json/", "a/b/", "nothing/"):
        assert await store.list_folders(prefix + start) == []


@clause
async def a_folder_without_objects_is_not_listed(store: ObjectStore, prefix: str) -> None:
    for name in ("one/a", "one/b/c", "two/a/b"):
        await store.put(ObjectKey(prefix + name), b"", ABSENT)
    for name in ("one/a", "two/a/b"):
        await store.delete(ObjectKey(prefix + name))
    assert await store.list_folders(prefix) == ["one"]


@clause
async def more_folders_than_a_page_has_are_listed(store: ObjectStore, prefix: str) -> None:
    names = [f"{number:04}" for number in range(1001)]
    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(store.put, ObjectKey(f"{prefix}{name}/x"), b"", ABSENT)
    assert await store.list_folders(prefix) == names
    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(store.delete, ObjectKey(f"{prefix}{name}/x"))
