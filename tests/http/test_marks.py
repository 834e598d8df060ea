"""The marks of an app over HTTP: each file has one, none is lost, and to read them takes few requests."""

from __future__ import annotations

import gc
import random
import weakref
from collections.abc import Sequence

import anyio
import pytest

from pipeline.domain.errors import ConflictError, DamagedError, TransientError
from pipeline.domain.ids import EventFileId, FlowName, ObjectKey, Phase, StreamName
from pipeline.kit.ledger.kept import Kept, KeptMark
from pipeline.ports.object_store import ObjectInfo, PutCondition, StoredObject, Version
from pipeline.remote import marks as module
from pipeline.remote.marks import Marks
from pipeline.testing.simulated.object_store import MemoryObjectStore

FLOW = FlowName("crm 2026-01-01")


class CountedStore(MemoryObjectStore):
    """A store that counts requests, and lets other tasks work during each."""

    def __init__(self) -> None:
        super().__init__()
        self.requests = 0

    async def get(self, key: ObjectKey, *, max_bytes: int = 1 << 26) -> StoredObject:
        self.requests += 1
        await anyio.lowlevel.checkpoint()
        return await super().get(key, max_bytes=max_bytes)

    async def put(self, key: ObjectKey, body: object, condition: PutCondition | Version) -> Version:
        self.requests += 1
        await anyio.lowlevel.checkpoint()
        return await super().put(key, body, condition)  # type: ignore[arg-type]

    async def list_page(
        self, prefix: str, *, after: ObjectKey | None = None, limit: int = 1000
    ) -> Sequence[ObjectInfo]:
        self.requests += 1
        return await super().list_page(prefix, after=after, limit=limit)


def files(start: int, end: int) -> dict[EventFileId, KeptMark]:
    """Return marks of files with these numbers."""
    return {
        EventFileId(1, StreamName("person"), Phase.FULL, chunk): KeptMark(chunk, 0, 0, 0, 1)
        for chunk in range(start, end)
    }


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let parts be small, so that there are many."""
    monkeypatch.setattr(module, "LATEST_MARKS", 10)
    monkeypatch.setattr(module, "PART_MARKS", 500)


async def test_all_marks_are_read_with_few_requests() -> None:
    store = CountedStore()
    marks = Marks(store, FLOW)
    for start in range(0, 2000, 7):
        assert await marks.add(files(start, start + 7)) == set(files(start, start + 7))
    store.requests = 0
    other = Marks(store, FLOW)
    assert await other.read() == files(0, 2002)
    assert store.requests <= 1 + 2000 // 500 + 8
    store.requests = 0
    await other.read()
    assert store.requests == 1
    assert len(await store.list_page("")) <= 1 + 2000 // 500 + 8


async def test_each_file_gets_one_mark_however_many_add_it() -> None:
    store = CountedStore()
    added: list[EventFileId] = []

    async def work(seed: int) -> None:
        marks, chance = Marks(store, FLOW), random.Random(seed)
        starts = list(range(0, 300, 3))
        chance.shuffle(starts)
        for start in starts:
            added.extend(await marks.add(files(start, start + 3)))
            assert set(files(start, start + 3)) <= set(await marks.read())

    async with anyio.create_task_group() as group:
        for seed in range(4):
            group.start_soon(work, seed)
    assert sorted(map(str, added)) == sorted(map(str, files(0, 300)))
    assert await Marks(store, FLOW).read() == files(0, 300)


async def test_marks_of_an_earlier_release_are_kept() -> None:
    store = MemoryObjectStore()
    for file, mark in files(0, 25).items():
        await Kept(store, FLOW).put_mark(file, mark, replace=False)
    marks = Marks(store, FLOW)
    assert await marks.read() == files(0, 25)
    assert await marks.add(files(20, 30)) == set(files(25, 30))
    assert await Marks(store, FLOW).read() == files(0, 30)


async def test_a_list_that_always_changes_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 0)
    store = MemoryObjectStore()
    marks = Marks(store, FLOW)
    await marks.add(files(0, 1))
    monkeypatch.setattr(store, "put", _lose)
    with pytest.raises(TransientError, match="changes too often"):
        await marks.add(files(1, 2))


async def test_a_part_that_is_lost_is_named_and_asked_for_once() -> None:
    store = CountedStore()
    marks = Marks(store, FLOW)
    for start in range(0, 55, 11):  # one part each; the next ones would be merged
        await marks.add(files(start, start + 11))
    lost = next(info.key for info in await store.list_page("") if "mark-lists/" in info.key)
    await store.delete(lost)
    store.requests = 0
    with pytest.raises(DamagedError, match=lost):
        await Marks(store, FLOW).read()
    assert store.requests <= 10
    await marks.add(files(55, 66))
    with pytest.raises(DamagedError, match=lost):
        await marks.add(files(88, 99))


async def _lose(*_: object) -> Version:
    raise ConflictError("another one was first")


async def test_a_store_that_is_closed_is_forgotten_with_its_marks() -> None:
    store = MemoryObjectStore()
    await Marks.of(store, FLOW).add(files(0, 3))
    assert await Marks.of(store, FLOW).read() == files(0, 3)
    gone = weakref.ref(store)
    del store
    gc.collect()
    assert gone() is None
