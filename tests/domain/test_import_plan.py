"""Lanes: which files may be loaded concurrently, and which wait for others."""

from __future__ import annotations

import pytest

from pipeline.domain.event_file import Encoding, FileEntry
from pipeline.domain.ids import EventFileId, Label, ObjectKey, Phase, StreamName
from pipeline.domain.planning.import_plan import Plan, Shard, accounted, in_lane_order, plan


def entry(text: str) -> FileEntry:
    return FileEntry(EventFileId.parse(text), Label("l"), ObjectKey(f"e/{text}"), Encoding.ZSTD, 1, "", 1, 0)


LIST = [entry(text) for text in ("1/a/full/0", "1/a/full/1", "1/b/full/0", "2/a/incremental/0", "2/a/incremental/1")]


def steps(*marked: str) -> dict[str, list[tuple[list[str], list[str]]]]:
    planned = plan(LIST, {EventFileId.parse(text) for text in marked})
    return {
        lane.stream: [([str(e.id) for e in step.pending], [str(i) for i in step.after]) for step in lane.steps]
        for lane in planned.lanes
    }


def test_snapshot_chunks_run_concurrently_and_an_incremental_waits_for_all_before_it() -> None:
    assert steps() == {
        "a": [
            (["1/a/full/0", "1/a/full/1"], []),
            (["2/a/incremental/0"], ["1/a/full/0", "1/a/full/1"]),
            (["2/a/incremental/1"], ["2/a/incremental/0"]),
        ],
        "b": [(["1/b/full/0"], [])],
    }


def test_marked_files_are_skipped_but_still_predecessors() -> None:
    assert steps("1/a/full/0", "1/b/full/0") == {
        "a": [
            (["1/a/full/1"], []),
            (["2/a/incremental/0"], ["1/a/full/0", "1/a/full/1"]),
            (["2/a/incremental/1"], ["2/a/incremental/0"]),
        ]
    }
    planned = plan(LIST, {e.id for e in LIST})
    assert (planned.lanes, planned.skipped, planned.pending) == ((), 5, 0)


def test_snapshots_of_two_movements_do_not_run_concurrently() -> None:
    two = [entry("1/a/full/0"), entry("2/a/full/0")]
    assert [len(step.pending) for step in plan(two, ()).lanes[0].steps] == [1, 1]


def test_new_files_are_listed_snapshots_first_and_by_number() -> None:
    mixed = [entry(f"1/a/{name}") for name in ("incremental/0", "full/10", "full/2", "incremental/1")]
    assert [f"{e.id.phase.value}/{e.id.chunk}" for e in in_lane_order(mixed)] == [
        "full/2", "full/10", "incremental/0", "incremental/1",
    ]  # fmt: skip
    assert [e.id.stream for e in in_lane_order([entry("1/b/full/0"), entry("1/a/full/0")])] == [
        StreamName("a"),
        StreamName("b"),
    ]


def test_a_full_file_is_a_snapshot() -> None:
    assert [entry(f"1/a/{phase.value}/0").is_snapshot for phase in Phase] == [True, False]


def ids(planned: Plan) -> list[str]:
    return [str(e.id) for lane in planned.lanes for step in lane.steps for e in step.pending]


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_shards_together_load_each_file_once_and_in_order(of: int) -> None:
    texts = [f"1/a/full/{n}" for n in range(5)] + ["1/b/full/0", "2/a/incremental/0", "2/b/incremental/0"]
    texts += [f"3/a/full/{n}" for n in range(4)] + ["3/b/incremental/0", "4/a/incremental/0"]
    entries = [entry(text) for text in texts]
    marked: set[EventFileId] = set()
    applied: list[str] = []
    for _ in range(6):
        rounds = [plan(entries, frozenset(marked), Shard(index, of)) for index in range(of)]
        dealt = [text for planned in rounds for text in ids(planned)]
        assert len(set(dealt)) == len(dealt)
        for planned in rounds:
            for lane in planned.lanes:
                for step in lane.steps:
                    assert set(step.after) <= marked
                    marked |= {e.id for e in step.pending}
        applied += dealt
    assert sorted(applied) == sorted(texts)
    assert accounted(entries, marked, ())


def test_a_list_is_accounted_for_when_each_lane_has_ended_or_failed() -> None:
    done = {EventFileId.parse(text) for text in ("1/a/full/0", "1/b/full/0")}
    failed = {EventFileId.parse("1/a/full/1")}
    assert not accounted(LIST, done, ())
    assert accounted(LIST, done, failed)
    assert not accounted(LIST, done - {EventFileId.parse("1/b/full/0")}, failed)


@pytest.mark.parametrize(("index", "of"), [(1, 1), (-1, 2), (0, 0)])
def test_an_impossible_shard_is_refused(index: int, of: int) -> None:
    with pytest.raises(ValueError, match="no shard"):
        Shard(index, of)
