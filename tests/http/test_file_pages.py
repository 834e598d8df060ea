"""Pages of Event Files: together they have each file once, in the order of import, and each reads few parts of lists."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pytest

from pipeline.codec.documents.failures import Failure
from pipeline.domain.event_file import Encoding, FileEntry
from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey, Phase, StreamName
from pipeline.domain.movement import Flow, Movement
from pipeline.domain.planning.compaction import applicable, applicable_part
from pipeline.engine.movements.file_lists import FileLists
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.http.api import file_pages
from pipeline.http.api.file_pages import Failures, ListedFiles, Shown
from pipeline.http.problems import ProblemError
from pipeline.testing.simulated.clock import ManualClock
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


async def fail(files: int, movements: int) -> Failures:
    """Store failures of this number of Event Files: one of the whole file, or of two records of it."""
    flows = FlowStore(MemoryObjectStore(), ManualClock(BEGAN))
    for number in range(files):
        file = EventFileId(1, StreamName(f"table {number}"), Phase.FULL, 0)
        lines: list[int | None] = [None] if number % 3 else [2, 9]
        found = [Failure(file, line, None, None, f"reason {number % 2}") for line in lines]
        await flows.write_failures(FLOW, 1, file, found)
    return Failures(flows, Flow(FLOW, "a", "b", BEGAN, movements=movements), Movement(FLOW, 1, BEGAN, BEGAN))


@pytest.mark.parametrize(("limit", "movements"), [(1, 1), (7, 1), (1000, 1), (7, 1_000), (1000, 1_000)])
async def test_pages_have_each_failure_once_and_those_of_a_large_flow_read_few_files(
    limit: int, movements: int
) -> None:
    failures = await fail(40, movements)
    every = await failures.flows.read_failures(FLOW, 1)
    assert len(every) == 54
    for wanted in ({"reason 0", "reason 1"}, {"reason 1"}, set[str]()):
        found, pages, after = list[Failure](), 0, None
        while pages == 0 or after is not None:
            page = await failures.page(lambda one, wanted=wanted: one.reason in wanted, after, limit)  # type: ignore[misc]
            found += page.items
            pages, after = pages + 1, page.next
            assert len(page.items) <= min(limit, 2 * file_pages.MOST_FAILED if movements > 1 else limit)
        assert found == [one for one in every if one.reason in wanted]
        assert pages > 2 or movements == 1
    for gone in ("", "x", "1/table/full/0:2", f"{every[0].file}:77"):
        with pytest.raises(ProblemError, match="Begin again"):
            await failures.page(lambda one: True, gone, limit)


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
