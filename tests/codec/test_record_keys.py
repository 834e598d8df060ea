"""Keys of records: equal keys are equal bytes, and a line that is not a record is damage."""

from __future__ import annotations

import pytest

from pipeline.codec.event_files.record_keys import KeyedLines, KeyReader
from pipeline.domain.errors import DamagedError

BLOCK = b'{"upsert":{"k":1,"v":"x"}}\n{"delete":{"k":2}}\n{"upsert":{"v":"y","k":"3"}}\n'


def read(block: bytes, *keys: str) -> KeyedLines:
    return KeyReader(keys or ("k",), "Event File 1/a").read(block)


def key_of(value: bytes) -> bytes:
    (key,) = read(b'{"delete":{"k":%b}}\n' % value).keys
    return key


def test_each_line_has_its_key_and_kind() -> None:
    records = read(BLOCK)
    assert list(records.keys) == [b"[1]", b"[2]", b'["3"]']
    assert list(records.deletes) == [False, True, False]
    assert b"\n".join([*records.lines, b""]) == BLOCK
    assert records.chosen([True, True, False], deletes=False) == [b'{"upsert":{"k":1,"v":"x"}}']


def test_equal_numbers_are_one_key_and_nothing_else_is() -> None:
    assert key_of(b"1") == key_of(b"1.0") == key_of(b"true")
    assert key_of(b"0") == key_of(b"-0.0")
    different = [b"1", b"2", b'"1"', b"1.5", b"9007199254740993", b"9007199254740992", b"null", b'{"$bytes":"AQ=="}']
    assert len(set(map(key_of, different))) == len(different)
    assert key_of(b"9007199254740992.0") == key_of(b"9007199254740992")
    assert key_of(b"1e300") == key_of(b"1.0e300")


def test_keys_of_several_columns_and_strange_names() -> None:
    block = b'{"upsert":{"a":1,"b\\"":2.0}}\n{"delete":{"b\\"":2,"a":1.0}}\n'
    one, other = read(block, 'b"', "a").keys
    assert one == other == b"[2,1]"


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"{}",
        b'{"upsert":{}}',
        b'{"upsert":1}',
        b'{"other":{"k":1}}',
        b"x",
        b'{"upsert":{"k":1},"delete":{"k":1}}',
        b'{"upsert":{"k":1},"more":1}',
    ],
)
def test_a_line_that_is_not_a_record_is_damage(line: bytes) -> None:
    with pytest.raises(DamagedError, match="Event File 1/a"):
        read(BLOCK + line + b"\n")
