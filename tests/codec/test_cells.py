"""Cells of CSV that people open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec.cells import guarded, unguarded


@pytest.mark.parametrize(
    "text", ["=1+1", "+49 170 1", "-x", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "'=1", "''=1", "-", "-1-1"]
)
def test_text_that_begins_like_a_formula_is_guarded(text: str) -> None:
    assert guarded([text]) == [f"'{text}"]


@pytest.mark.parametrize("value", ["", "a=1", "-5", "-12.50", "'quoted'", '{"upsert":{"a":"=1"}}', -5, None])
def test_other_cells_stay_as_they_are(value: object) -> None:
    assert guarded([value]) == [value]


@given(st.text(st.sampled_from("'=+-@ \t\r\n1.a＝"), max_size=6))
def test_a_cell_comes_back_as_it_was(text: str) -> None:
    (cell,) = guarded([text])
    assert unguarded(str(cell)) == text
