"""When a destination counts as refusing everything."""

from __future__ import annotations

import pytest

from pipeline.domain.ids import StreamName
from pipeline.domain.planning.refusals import STREAMS, Refusals

FULL = "copy.db: the disk is full; free some space, then run the command again"


def noted(reasons: dict[str, str], refusals: Refusals | None = None) -> list[bool]:
    refusals = refusals or Refusals()
    return [refusals.note_failed(StreamName(stream), reason) for stream, reason in reasons.items()]


@pytest.mark.parametrize(
    ("reasons", "refuses"),
    [
        (dict.fromkeys(("a", "disk", "c"), FULL), True),
        (dict.fromkeys(("a", "b"), FULL), False),
        ({"a": "db, table a: cannot extend base/1/2", "b": "db, table b: cannot extend base/1/33", "c": "db, table c: "
          "cannot extend base/9/9"}, True),
        ({name: f"permission denied for table {name}" for name in ("t_2024", "a1b", "c2d")}, True),
        ({"a": "a value does not fit column x", "b": "a value does not fit column y", "c": "it is not allowed"}, False),
    ],
    ids=["the same text", "too few", "names and numbers differ", "numbers in names", "other reasons"],
)  # fmt: skip
def test_three_streams_that_fail_for_the_same_reason(reasons: dict[str, str], refuses: bool) -> None:
    assert noted(reasons)[-1] is refuses


def test_many_files_of_one_stream_are_one_refusal() -> None:
    refusals = Refusals()
    assert not any(refusals.note_failed(StreamName("a"), FULL) for _ in range(20))


def test_whoever_imports_something_begins_to_count_again() -> None:
    refusals = Refusals()
    streams = [f"s{number}" for number in range(STREAMS)]
    assert noted(dict.fromkeys(streams[:-1], FULL), refusals) == [False] * (STREAMS - 1)
    refusals.forget()
    assert noted({streams[-1]: FULL}, refusals) == [False]
