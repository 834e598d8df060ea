"""The fast path reads and writes the same bytes as the conversion value by value."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec.event_files.upsert_lines import UpsertLines, upsert_lines_for
from pipeline.codec.values import from_json
from tests.codec.test_values import identity

_texts = st.text(st.characters(exclude_categories=["Cs"]))
_integers = st.integers(-(2**63), 2**63 - 1)
_plain = st.one_of(st.none(), _integers, st.floats(allow_nan=False, allow_infinity=False), _texts)
_names = st.lists(_texts, min_size=1, max_size=4, unique=True)


@given(st.data(), _names)
def test_lines_are_those_of_orjson_and_come_back(data: st.DataObject, names: list[str]) -> None:
    rows = data.draw(st.lists(st.tuples(*[_plain for _ in names]), max_size=5))
    lines = upsert_lines_for(names)
    if lines is None:
        assert any(char in name for name in names for char in ['"', "\\", *map(chr, range(32))])
        return
    block = lines.encode(rows)
    assert [orjson.loads(line) for line in block.split(b"\n")[:-1]] == [
        {"upsert": dict(zip(names, row, strict=True))} for row in rows
    ]
    read = lines.decode(block)
    assert read is not None
    assert list(map(identity, read)) == [identity(value) for row in rows for value in row]
    slow = [[from_json(orjson.loads(line)["upsert"][name]) for name in names] for line in block.split(b"\n")[:-1]]
    assert [[identity(value) for value in row] for row in slow] == [[identity(value) for value in row] for row in rows]


@pytest.mark.parametrize(
    "line",
    [
        b'{"upsert":{"a":1}}\n\n',
        b'{"upsert":{"a":1,"b":2}}\n',
        b'{"upsert":{}}\n',
        b'{"delete":{"a":1}}\n',
        b'{"upsert":{"a":1},"delete":{"a":1}}\n',
        b'{"upsert":{"a":true}}\n',
        b'{"upsert":{"a":{"$bytes":"AA=="}}}\n',
        b'{"upsert":{"a":[1]}}\n',
        b'{"upsert":{"a":"\xff"}}\n',
        b'{"upsert":{"a":"\\ud800"}}\n',
        b'{"upsert":{"a":NaN}}\n',
        b'{"upsert":{"a":1}\n',
        b"[" * 10_000 + b"\n",
    ],
)
def test_other_lines_are_left_to_the_slow_path(line: bytes) -> None:
    assert UpsertLines(["a"]).decode(line) is None


def test_a_wide_integer_is_still_an_integer() -> None:
    assert UpsertLines(["a"]).decode(b'{"upsert":{"a":123456789012345678901234567890}}\n') in (
        None,
        [123456789012345678901234567890],
    )
