"""Upserts that are arrays of values are the same records as those with names."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec.event_files.array_lines import NamedLines
from pipeline.codec.event_files.event_file import EventFileReader, EventFileWriter
from pipeline.codec.event_files.header import decode_header, encode_header
from pipeline.domain.errors import DamagedError
from tests.codec.test_event_file import header

_texts = st.text(st.characters(exclude_categories=["Cs"]))
_scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), _texts)
_values = st.one_of(_scalars.filter(lambda it: it not in (float("inf"), float("-inf"))), st.just({"$bytes": "AAEC"}))
_LINES = b'{"upsert":[1,"]}\\n{\\"upsert\\":["]}\n{"upsert":[2,null]}\n{"delete":{"a":3}}\n{"upsert":{"a":4,"\xc3\xbc ":"x"}}\n'
_NAMED = (
    b'{"upsert":{"a":1,"\xc3\xbc ":"]}\\n{\\"upsert\\":["}}\n{"upsert":{"a":2,"\xc3\xbc ":null}}\n'
    b'{"delete":{"a":3}}\n{"upsert":{"a":4,"\xc3\xbc ":"x"}}\n'
)


def stored(lines: bytes, *, arrays: bool = True) -> bytes:
    writer = EventFileWriter(level=1)
    writer.add(lines, upserts=lines.count(b"\n"))
    return writer.finish(replace(header(writer.records), arrays=arrays))


def read(data: bytes, *, arrays: bool = False) -> bytes:
    reader = EventFileReader(None, arrays=arrays)
    found = b"".join(reader.feed(data))
    reader.close()
    return found


@given(st.data(), st.lists(_texts, min_size=1, max_size=4, unique=True))
def test_arrays_get_the_names_of_the_columns(data: st.DataObject, names: list[str]) -> None:
    rows = data.draw(st.lists(st.tuples(*[_values for _ in names]), max_size=5))
    named = NamedLines(names).of(b"".join([orjson.dumps({"upsert": row}) + b"\n" for row in rows]))
    wanted = [{"upsert": dict(zip(names, row, strict=True))} for row in rows]
    assert named == b"".join([orjson.dumps(record) + b"\n" for record in wanted])


def test_a_reader_gets_names_unless_it_asks_for_arrays() -> None:
    assert read(stored(_LINES)) == _NAMED
    assert read(stored(_LINES), arrays=True) == _LINES


def test_a_header_says_by_its_version_whether_there_are_arrays() -> None:
    for arrays, version in ((False, 1), (True, 2)):
        line = encode_header(replace(header(1), arrays=arrays))
        assert orjson.loads(line)["formatVersion"] == version
        assert decode_header(line, "x").arrays is arrays


def test_an_array_in_a_file_of_version_1_is_left_as_it_is() -> None:
    assert read(stored(_LINES, arrays=False)) == _LINES


@pytest.mark.parametrize(
    "line",
    [
        b'{"upsert":[1]}\n',
        b'{"upsert":[1,2,3]}\n',
        b'{"upsert":[1,2],"upsert":3}\n',
        b'{"upsert":[1,2],"delete":{"a":1}}\n',
        b'{"delete":[1,2]}\n',
        b'{"upsert":[1,2]\n',
        b'{"upsert":[1,2]}]}\n',
        b"\n",
    ],
)
def test_other_lines_stay_as_they_are_for_the_reader_to_judge(line: bytes) -> None:
    around = b'{"upsert":[1,2]}\n'
    assert NamedLines(["a", "b"]).of(around + line + around) == line.join([b'{"upsert":{"a":1,"b":2}}\n'] * 2)


@pytest.mark.parametrize("version", [b"0", b"3", b'"2"', b"true", b"1.0", b"null"])
def test_other_versions_are_refused_by_number(version: bytes) -> None:
    line = encode_header(header(0)).replace(b'"formatVersion":1', b'"formatVersion":' + version)
    with pytest.raises(DamagedError, match=r"format version .*reads versions 1 to 2.*newer release"):
        decode_header(line, "events/x")
