"""For each key the state of the last chunk that covers it applies."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.event_file import Header, KeyRange
from pipeline.domain.ids import EventFileId, FlowName, Phase, StreamName
from pipeline.domain.keys import Key, order
from pipeline.domain.planning.overlay import segments
from tests.fakes.rows import schema_of

_bounds = st.none() | st.integers(0, 12).map(lambda number: (number,))


def chunk(number: int, after: Key | None, until: Key | None) -> Header:
    id_ = EventFileId(1, StreamName("t"), Phase.INCREMENTAL, number)
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    return Header(FlowName("f"), id_, schema_of("t"), 0, moment, KeyRange(after, until), f"part {number}")


def covers(range_: KeyRange, key: Key) -> bool:
    return (range_.after is None or order(range_.after) < order(key)) and (
        range_.until is None or order(key) <= order(range_.until)
    )


@given(st.lists(st.tuples(_bounds, _bounds), max_size=8))
def test_the_last_chunk_that_covers_a_key_applies(ranges: list[tuple[Key | None, Key | None]]) -> None:
    proper = [(a, u) for a, u in ranges if a is None or u is None or order(a) < order(u)]
    chunks = [chunk(number, after, until) for number, (after, until) in enumerate(proper)]
    found = segments(chunks[::-1])
    for number in range(14):
        key = (number,)
        counting = [segment.part for segment in found if covers(segment.covers, key)]
        expected = next((c.state for c in reversed(chunks) if covers(c.covers, key)), None)
        assert counting == [expected]
    assert (found[0].covers.after, found[-1].covers.until) == (None, None)
    assert all(one.covers.until == other.covers.after for one, other in pairwise(found))


def test_many_chunks_in_a_row_are_placed_quickly() -> None:
    row = [chunk(number, (number,), (number + 1,)) for number in range(20_000)]
    assert len(segments(row)) == 20_002
