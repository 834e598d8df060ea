"""Every value survives a round trip through JSON exactly; and lines are counted."""

from __future__ import annotations

import math
import struct

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec.values import (
    count_lines,
    from_json,
    key_from_json,
    key_to_json,
    parse_line,
    refuse_wide_integers,
    to_json,
)
from pipeline.domain.errors import DamagedError
from pipeline.domain.keys import KeyValue, RawText

_integers = st.integers(-(2**63), 2**63 - 1)
_texts = st.text(st.characters(exclude_categories=["Cs"]))
_raw = st.binary(min_size=1).map(lambda data: RawText(data + b"\xff"))
VALUES = st.one_of(st.none(), st.booleans(), _integers, st.floats(), _texts, st.binary(), _raw)


def identity(value: KeyValue) -> tuple[str, object]:
    """Return what identifies a value: NaN equals NaN, 0.0 differs from -0.0, and 1 from 1.0 and True."""
    if isinstance(value, float):
        return ("float", "nan" if math.isnan(value) else struct.pack(">d", value))
    return (type(value).__name__, value)


@given(VALUES)
def test_a_value_survives_json(value: KeyValue) -> None:
    assert identity(from_json(orjson.loads(orjson.dumps(to_json(value))))) == identity(value)


@given(st.lists(VALUES).map(tuple))
def test_a_key_survives_json(key: tuple[KeyValue, ...]) -> None:
    read = key_from_json(orjson.loads(orjson.dumps(key_to_json(key))))
    assert [identity(value) for value in read] == [identity(value) for value in key]


@pytest.mark.parametrize(
    "damaged",
    [{}, [], {"$bytes": 1}, {"$bytes": "!"}, {"$bytes": "AA==", "more": 1}, {"$float": "1"}, {"$other": "x"}, {"a": 1}],
)
def test_an_object_that_is_not_a_tagged_value_is_damage(damaged: object) -> None:
    with pytest.raises(DamagedError, match="not "):
        from_json(damaged)


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"1", b"[" * 100_000, b'{"a":\xff}'])
def test_a_line_that_is_not_an_object_is_damage_that_names_the_file(line: bytes) -> None:
    with pytest.raises(DamagedError, match=r"x\.json"):
        parse_line(line, "x.json")


@given(st.lists(st.sampled_from([b"\n", b"\r", b"{}", b"\n\n", b"a line"])).map(b"".join))
def test_lines_are_counted_by_their_line_feeds(block: bytes) -> None:
    assert count_lines(block) == block.count(b"\n")


def test_a_wide_integer_is_found_in_one_of_several_lines() -> None:
    text = b'{"a":"' + b"1" * 40 + b'"}\n'
    refuse_wide_integers(text * 3, "it")
    with pytest.raises(DamagedError, match="it holds an integer of more than 64 bits"):
        refuse_wide_integers(text + b'{"a":' + b"1" * 40 + b"}\n" + text, "it")
