"""Pages of Event Files: together they have each file once, in the order of import, and each reads few parts of lists."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pytest

from pipeline.domain.event_file import Encoding, FileEntry
from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey, Phase, StreamName
from pipeline.domain.movement import Flow, Movement
from pipeline.domain.planning.compaction import applicable, applicable_part
from pipeline.engine.movements.file_lists import FileLists
from pipeline.http.api import file_pages
from pipeline.http.api.file_pages import ListedFiles, Shown
from pipeline.http.problems import ProblemError
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.engine.long_flow import BEGAN

FLOW = FlowName("crm")


def entry(label: str, movement: int, phase: Phase, chunk: int, replaces: tuple[EventFileId, ...] = ()) -> FileEntry:
    file = EventFileId(movement, StreamName(label), phase, chunk)
    return FileEntry(file, Label(label), ObjectKey(f"k/{file}"), Encoding.ZSTD, 1, "", 1, 0, replaces)


def history(label: str, files: int) -> list[FileEntry]:
    """Return a snapshot of two files that a compaction has made, and files with changes."""
    replaced = tuple(EventFileId(1, StreamName(label), Phase.FULL, chunk) for chunk in range(3))
    snapshot = [entry(label, 2, Phase.FULL, chunk, replaced) for chunk in range(2)]
    return [*snapshot, *(entry(label, 3 + number, Phase.INCREMENTAL, 0) for number in range(files - 2))]


async def store(files: Mapping[str, int], movements: int = 1) -> ListedFiles:
    """Store the File Lists of these groups, which grow one file after the other."""
    lists, keys = FileLists(MemoryObjectStore()), dict[Label, ObjectKey]()
    for label, number in files.items():
        entries = history(label, number)
        for count in range(1, number + 1):
            key = ObjectKey(f"flows/crm/movements/{count}/groups/{label}/files.1.jsonl")
            await lists.store(key, FLOW, Label(label), entries[:count], keys.get(Label(label)))
            keys[Label(label)] = key
    lists.max_cached_entries = 0  # each page begins like the first of a server, but for the object that was read last
    movement = Movement(FLOW, 1, BEGAN, BEGAN, file_lists=keys)
    return ListedFiles(lists, Flow(FLOW, "a", "b", BEGAN, movements=movements), movement)


async def all_pages(listed: ListedFiles, shown: Shown, limit: int) -> tuple[Sequence[FileEntry], Sequence[int]]:
    """Return what all pages have together, and how many objects each has read."""
    found, reads, after = list[FileEntry](), list[int](), None
    while True:
        begun = listed.lists.reads
        page = await listed.page(listed.movement.file_lists, shown, after, limit)
        reads.append(listed.lists.reads - begun)
        assert len(page.items) <= limit
        found += page.items
        if page.next is None:
            return found, reads
        after = page.next


def for_app(marks: Collection[EventFileId]) -> Shown:
    return lambda one, before: applicable_part(one, before, marks)


@pytest.mark.parametrize("seed", range(20))
async def test_pages_have_each_file_once_in_order(seed: int) -> None:
    chance = random.Random(seed)
    files = {f"{chance.choice('abc')} {number}/é": chance.randint(2, 40) for number in range(chance.randint(1, 4))}
    listed = await store(files)
    entries = {label: history(label, number) for label, number in sorted(files.items())}
    replaced = {file for one in entries.values() for file in one[0].replaces}
    marks = replaced if chance.random() < 0.5 else set(chance.sample(sorted(replaced, key=str), len(replaced) // 2))
    limit = chance.choice([1, 2, 3, 7, 1000])
    found, _ = await all_pages(listed, for_app(marks), limit)
    assert found == [one for group in entries.values() for one in applicable(group, marks)]
    even, _ = await all_pages(listed, lambda one, _: (one,) if one.id.movement % 2 == 0 else (), limit)
    assert even == [one for group in entries.values() for one in group if one.id.movement % 2 == 0]


async def test_a_page_of_a_large_flow_reads_few_objects_and_has_a_cursor() -> None:
    listed = await store(dict.fromkeys([f"group {number}" for number in range(30)], 30), movements=1_000)
    none, reads = await all_pages(listed, lambda one, _: (), 100)
    assert (list(none), max(reads) <= file_pages.MOST_READS + 1, len(reads) > 10) == ([], True, True)
    found, reads = await all_pages(listed, for_app(()), 100)
    assert (len(found), max(reads) <= file_pages.MOST_READS + 1) == (900, True)


async def test_a_page_of_a_small_flow_is_full() -> None:
    listed = await store(dict.fromkeys([f"group {number}" for number in range(30)], 3))
    page = await listed.page(listed.movement.file_lists, for_app(()), None, 90)
    assert (len(page.items), page.next) == (90, None)


async def test_a_cursor_of_another_list_is_gone() -> None:
    listed = await store({"a": 10, "b": 5})
    page = await listed.page(listed.movement.file_lists, for_app(()), None, 4)
    other = await store({"a": 3, "b": 5})
    renamed = replace(
        listed, movement=replace(listed.movement, file_lists={Label("c"): listed.movement.file_lists[Label("a")]})
    )
    for changed in (other, renamed):
        with pytest.raises(ProblemError, match="Begin again"):
            await changed.page(changed.movement.file_lists, for_app(()), page.next, 4)
    for text in ("", "1/a/full/0", "x.1.y", "0" * 16 + ".0." + "0" * 16, "é"):
        with pytest.raises(ProblemError, match="Begin again"):
            await listed.page(listed.movement.file_lists, for_app(()), text, 4)
