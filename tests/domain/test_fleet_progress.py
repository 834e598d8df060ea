"""How far a Movement of several workers is, with what its destination does once all rows are loaded."""

from __future__ import annotations

from pipeline.domain.progress.fleet import GroupWork, fleet_percent, fleet_time_left


def test_the_indexes_that_are_made_at_the_end_have_a_share_of_the_percent() -> None:
    loaded = [GroupWork(pending=100, done=100, seconds=400.0)]
    assert fleet_percent(loaded) == 99
    assert fleet_percent(loaded, passes=2) == 66  # two passes take half as long as the rows did
    assert fleet_percent([GroupWork(100, 50, 200.0)], passes=2) == 33


def test_the_indexes_that_are_made_at_the_end_are_part_of_the_time_left() -> None:
    half = [GroupWork(pending=100, done=50, seconds=200.0)]
    rows, all_of_it = fleet_time_left(half, 2), fleet_time_left(half, 2, passes=2)
    assert rows is not None
    assert all_of_it is not None
    assert rows.likely == 100  # 50 files of 4 seconds, two at a time
    assert all_of_it.likely == 200  # and half of the 200 seconds of all files
    assert all_of_it.high - all_of_it.low > rows.high - rows.low
