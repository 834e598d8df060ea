"""Counting lines."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec.values import count_lines


@given(st.lists(st.sampled_from([b"\n", b"\r", b"{}", b"\n\n", b"a line"])).map(b"".join))
def test_it_counts_line_feeds(block: bytes) -> None:
    assert count_lines(block) == block.count(b"\n")
