"""A File List names by reference what earlier ones name, and a reader gets all of it."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec.documents.file_list import decode_file_list, encode_file_list
from pipeline.domain.errors import AbsentError, DamagedError
from pipeline.domain.event_file import Encoding, FileEntry
from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey, Phase, StreamName
from pipeline.engine.movements import file_lists
from pipeline.engine.movements.file_lists import FileLists
from pipeline.ports.object_store import ObjectStore, PutCondition
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.engine.long_flow import CountingStore
from tests.loops import on_trio, run_on_trio

FLOW, LABEL = FlowName("crm"), Label("orders")
LINE_BYTES = 250


def entry(number: int) -> FileEntry:
    file = EventFileId(number, StreamName("orders"), Phase.INCREMENTAL, 0)
    key = ObjectKey(f"flows/crm/events/{file}.jsonl.zst")
    return FileEntry(file, LABEL, key, Encoding.ZSTD, 700, "ab" * 32, 1, 0)


def list_key(number: int) -> ObjectKey:
    return ObjectKey(f"flows/crm/movements/{number}/groups/orders/files.1.jsonl")


async def stored(store: ObjectStore, versions: Sequence[Sequence[FileEntry]]) -> ObjectKey:
    """Store one list after the other; return the key of the last."""
    lists, before = FileLists(store), None
    for number, entries in enumerate(versions, start=1):
        await lists.store(list_key(number), FLOW, LABEL, entries, before)
        before = list_key(number)
    assert before is not None
    return before


@on_trio
async def test_what_is_stored_grows_with_what_is_new() -> None:
    store = MemoryObjectStore()
    versions = [[entry(number) for number in range(1, count + 1)] for count in range(1, 401)]
    last = await stored(store, versions)
    lists = FileLists(store)
    assert await lists.read(last) == versions[-1]
    assert len(await lists.keys(last)) <= log2(400) + 1
    sizes = [len((await store.get(list_key(number))).data) for number in range(1, 401)]
    assert sum(sizes) < 400 * 10 * LINE_BYTES  # 200 times as much if each named all before it


@pytest.mark.slow
@on_trio
async def test_a_list_of_hundreds_of_thousands_of_files_is_read_in_objects_of_a_few_megabytes() -> None:
    store = MemoryObjectStore()
    entries = [entry(number) for number in range(1, 300_001)]
    versions = [entries[:299_999], entries, [*entries, entry(300_001)]]
    last = await stored(store, versions)
    assert await FileLists(store).read(last) == versions[-1]
    sizes = [info.size for info in await store.list_page("flows/")]
    assert max(sizes) < 32_000_000  # a store reads at most 64 MB at once
    assert sum(sizes) < 1.4 * 300_000 * LINE_BYTES


@pytest.mark.parametrize("most", [file_lists.MAX_PART_FILES, 3])
@given(changes=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 5)), min_size=1, max_size=30))
def test_lists_that_grow_or_are_made_anew_are_read_as_they_were_stored(
    most: int, changes: list[tuple[int, int]]
) -> None:
    """Each change cuts the list at a position, or at its end, and adds entries."""
    versions: list[list[FileEntry]] = []
    number = 0
    for cut, added in changes:
        kept = versions[-1][: cut if cut < 10 else None] if versions else []
        versions.append([*kept, *(entry(number + more) for more in range(1, added + 1))])
        number += added

    async def check() -> None:
        store = MemoryObjectStore()
        await stored(store, versions)
        for at, entries in enumerate(versions, start=1):
            assert await FileLists(store).read(list_key(at)) == entries

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_lists, "MAX_PART_FILES", most)
        run_on_trio(check)


@pytest.mark.parametrize("start", [0, 1, 2, 266, 267, 399, 400, 500])
@on_trio
async def test_a_list_is_read_from_a_position_on_and_no_part_before_it(start: int) -> None:
    store = CountingStore(MemoryObjectStore())
    versions = [[entry(number) for number in range(1, count + 1)] for count in range(1, 401)]
    lists = FileLists(store)
    last = await stored(store, versions)
    parts = await lists.keys(last)
    store.requests.clear()
    blocks = [list(block) async for block in lists.blocks(last, start)]
    assert [one for block in blocks for one in block] == versions[-1][start:]
    assert store.requests.total() <= len(parts) - 1  # that of the list itself has been read
    if start >= 267:
        assert store.requests.total() < len(parts) - 1


@on_trio
async def test_the_lists_that_were_used_last_stay_in_memory() -> None:
    store = CountingStore(MemoryObjectStore())
    await stored(store, [[entry(number)] for number in range(1, 6)])
    lists = FileLists(store)
    lists.max_cached_entries = 3
    for number in (1, 2, 3, 1, 4):  # 4 takes the place of 2
        await lists.read(list_key(number))
    store.requests.clear()
    for number in (1, 3, 4):
        await lists.read(list_key(number))
    assert store.requests.total() == 0
    await lists.read(list_key(2))
    assert (store.requests.total(), lists.reads) == (1, 5)


@on_trio
async def test_storing_a_list_again_changes_nothing() -> None:
    store = MemoryObjectStore()
    await stored(store, [[entry(1), entry(2)], [entry(1), entry(2), entry(3)]])
    await FileLists(store).store(list_key(2), FLOW, LABEL, [entry(1), entry(2), entry(3)], list_key(1))
    assert await FileLists(store).read(list_key(2)) == [entry(1), entry(2), entry(3)]


@on_trio
async def test_a_part_that_is_gone_or_another_one_is_named() -> None:
    store = MemoryObjectStore()
    last = await stored(store, [[entry(1), entry(2)], [entry(1), entry(2), entry(3)]])
    assert [part.key for part in decode_file_list((await store.get(last)).data, last).parts] == [list_key(1)]
    await store.put(list_key(1), encode_file_list(FLOW, LABEL, [entry(1)]), PutCondition.NONE)
    with pytest.raises(DamagedError, match=r"2 files from .*/1/groups/orders/files\.1\.jsonl, which names 1"):
        await FileLists(store).read(last)
    await store.delete(list_key(1))
    with pytest.raises(AbsentError, match=r"/1/groups/orders/files\.1\.jsonl is missing"):
        await FileLists(store).read(last)
