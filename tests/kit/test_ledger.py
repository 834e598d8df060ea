"""The journal: entries are durable when `put` returns, the newest counts, whoever wrote it, and objects stay few."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
import pytest

from pipeline.domain.errors import DamagedError, TransientError
from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.kit.ledger.circles import circles
from pipeline.kit.ledger.id_map import StoredIds
from pipeline.kit.ledger.journal import MERGED_OBJECTS, Change, Journal
from pipeline.kit.ledger.kept import IdEntry, Kept
from pipeline.ports.object_store import OpenBody, PutCondition, Version, list_pages
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.loops import on_trio


class Store(MemoryObjectStore):
    """Counts puts; `fails` of them fail, before or after they have stored."""

    puts = 0
    fails = 0
    stores_first = False

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        self.puts += 1
        await anyio.sleep(0.005)
        if self.fails:
            self.fails -= 1
            if self.stores_first:
                await super().put(key, body, condition)
            raise TransientError("no answer")
        return await super().put(key, body, condition)


@asynccontextmanager
async def opened(store: MemoryObjectStore) -> AsyncIterator[Journal]:
    journal = Journal(store, "journal/")
    await journal.refresh()
    try:
        yield journal
    finally:
        journal.close()


def change(key: str, value: int | None, kind: str = "a") -> Change:
    return Change(kind, key, None if value is None else str(value).encode(), place=f"at {value}")


async def keys(store: MemoryObjectStore) -> list[str]:
    return [info.key async for page in list_pages(store, "") for info in page]


@on_trio
async def test_what_is_put_is_durable_and_the_newest_counts() -> None:
    store = Store()
    async with opened(store) as journal:
        await journal.put([change("x", 1), change("y", 1), change("x", 2)])
        await journal.put([change("y", None), change("x", 1, "b")])
    async with opened(store) as again:
        assert (again.get("a", "x"), again.get("b", "x"), again.get("a", "y")) == (b"2", b"1", None)
        assert (again.key_at("a", "at 2"), again.key_at("a", "at 1")) == ("x", None)
        assert [(entry.kind, entry.key) for page in again.pages() for entry in page] == [("a", "x"), ("b", "x")]
        await again.put([change("x", None), change("x", None, "b")])
        assert again.is_empty


@on_trio
async def test_entries_are_written_together_and_small_objects_are_merged() -> None:
    store = Store()
    async with opened(store) as journal, anyio.create_task_group() as group:
        for number in range(4000):
            group.start_soon(partial(journal.put, [change(f"{number % 1500}", number)], at_once=False))
            await anyio.sleep(0.00125)
    assert store.puts < 110  # about one in 0.05 seconds, of the 5 that this takes
    assert len(await keys(store)) <= store.puts / MERGED_OBJECTS + MERGED_OBJECTS
    async with opened(store) as again:
        found = {entry.key: entry.value for page in again.pages() for entry in page}
    assert found == {f"{number % 1500}": str(number).encode() for number in range(4000)}


@on_trio
async def test_two_workers_see_what_the_other_has_written_also_when_it_was_merged_meanwhile() -> None:
    store = Store()
    async with opened(store) as one, opened(store) as other:
        for number in range(3 * MERGED_OBJECTS):
            await one.put([change("x", number), change(f"{number}", 1)])
            if number % 7 == 0:
                async with anyio.create_task_group() as group:
                    group.start_soon(other.refresh)
                    group.start_soon(lambda: one.put([change("z", 1)]))
        await other.refresh()
        assert other.get("a", "x") == str(3 * MERGED_OBJECTS - 1).encode()
        await other.put([change("x", 7)])
        await one.refresh()
        assert (one.get("a", "x"), len([1 for page in one.pages() for _ in page])) == (b"7", 3 * MERGED_OBJECTS + 2)


@pytest.mark.parametrize("stores_first", [False, True])
@on_trio
async def test_what_could_not_be_stored_is_stored_with_the_next(stores_first: bool) -> None:
    store = Store()
    store.stores_first = stores_first
    async with opened(store) as journal:
        store.fails = 1
        failed: list[str] = []

        async def put(key: str) -> None:
            try:
                await journal.put([change(key, 1)], at_once=False)
            except TransientError:
                failed.append(key)

        async with anyio.create_task_group() as group:
            for key in ("x", "y"):
                group.start_soon(put, key)
        assert sorted(failed) == ["x", "y"]  # neither is durable, and both know
        await journal.flush()
    async with opened(store) as again:
        assert (again.get("a", "x"), again.get("a", "y")) == (b"1", b"1")


@on_trio
async def test_a_put_that_is_cancelled_is_stored_with_the_next() -> None:
    store = Store()
    for seconds in (0.01, 0.052):  # while it waits for others, and while it is being stored
        async with opened(store) as journal:
            with anyio.move_on_after(seconds):
                await journal.put([change("x", 1)], at_once=False)
            await journal.put([change("y", 1)])
        async with opened(store) as again:
            assert (again.get("a", "x"), again.get("a", "y")) == (b"1", b"1")
            await again.put([change("x", None), change("y", None)])


async def test_an_object_that_is_damaged_is_named() -> None:
    store = MemoryObjectStore()
    await store.put(ObjectKey("journal/1.jsonl"), b'{"kind":1}\n', PutCondition.ABSENT)
    with pytest.raises(DamagedError, match=r"journal/1\.jsonl is damaged"):
        await Journal(store, "journal/").refresh()


async def test_an_id_map_of_an_earlier_release_is_read_and_can_be_changed() -> None:
    store, kept = MemoryObjectStore(), Kept(MemoryObjectStore(), FlowName("crm 2026"))
    kept.store = store
    for source, target in (("1", '"new-1"'), ("2", "null"), ("3", '"new-3"')):
        rest = f'"once_key":"k{source}","movement":2,"target":{target},"how":"created"'
        document = f'{{"formatVersion":1,"source":"{source}",{rest}}}'
        key = ObjectKey(f"flows/crm/imports/2026/ids/things%20of/{source}")
        await store.put(key, document.encode(), PutCondition.ABSENT)
    ids = StoredIds(kept)
    assert await ids.target("things of", "1") == "new-1"
    assert ids.entry("things of", "2") == IdEntry("k2", 2, None, "created")
    await ids.put("things of", "1", None)
    await ids.put("things of", "3", IdEntry("k4", 5, "new-4", "found"))
    ids.close()
    again = StoredIds(kept)
    assert (await again.target("things of", "1"), await again.target("things of", "3")) == (None, "new-4")
    assert (again.source("things of", "new-4"), again.source("things of", "new-3")) == ("3", None)
    again.close()


async def test_the_id_map_in_the_store_says_kind_ids_origin_and_movement() -> None:
    store = MemoryObjectStore()
    ids = StoredIds(Kept(store, FlowName("crm 2026")))
    await ids.put("things", "1", IdEntry("k", 3, "new-1", "created"))
    ids.close()
    (key,) = await keys(store)
    assert key.startswith("flows/crm/imports/2026/id-map/")
    assert (await store.get(ObjectKey(key))).data == (
        b'{"kind":"things","key":"1","version":1,"place":"new-1",'
        b'"value":{"once_key":"k","movement":3,"target":"new-1","how":"created"}}\n'
    )


def test_circles_are_found_and_what_only_leads_to_one_is_not() -> None:
    a, b, c, d, e = (("s", one) for one in "abcde")
    assert circles({a: b, b: c, c: a, d: a, e: ("t", "x")}) == {
        a: "s 'a' waits for s 'b', s 'b' waits for s 'c', s 'c' waits for s 'a'",
        b: "s 'b' waits for s 'c', s 'c' waits for s 'a', s 'a' waits for s 'b'",
        c: "s 'c' waits for s 'a', s 'a' waits for s 'b', s 'b' waits for s 'c'",
    }
    assert circles({a: a}) == {a: "s 'a' waits for s 'a'"}
    long = {("s", str(number)): ("s", str((number + 1) % 9)) for number in range(9)}
    assert circles(long)["s", "0"].endswith("s '4' waits for s '5', … (9 records in all)")
