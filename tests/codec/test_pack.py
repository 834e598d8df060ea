"""A pack returns its contents, and an altered one is refused by name."""

from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec.pack import ENTRY_BYTES, TRAILER_BYTES, decode_index, encode_pack, tail_bytes
from pipeline.domain.errors import DamagedError
from pipeline.domain.ids import BinaryId


def named(*contents: bytes) -> dict[BinaryId, bytes]:
    return {BinaryId(blake3(content).hexdigest()): content for content in contents}


@given(st.lists(st.binary(max_size=100), max_size=30))
def test_every_content_is_where_the_index_says(contents: list[bytes]) -> None:
    packed = named(*contents)
    data, entries = encode_pack(packed)
    assert decode_index(data, len(data), "it") == entries
    found = {entry.digest.hex(): data[entry.offset : entry.offset + entry.length] for entry in entries}
    assert found == packed


def test_the_end_of_a_pack_is_enough_to_read_its_index() -> None:
    data, entries = encode_pack(named(b"one", b"two", b""))
    length = tail_bytes(data[-TRAILER_BYTES:], len(data), "it")
    assert length == 3 * ENTRY_BYTES + TRAILER_BYTES == 168
    assert decode_index(data[-length:], len(data), "it") == entries


def test_an_altered_byte_of_index_or_trailer_is_noticed() -> None:
    data, _ = encode_pack(named(b"one", b"two"))
    for at in range(len(b"onetwo"), len(data)):
        altered = bytearray(data)
        altered[at] ^= 1
        with pytest.raises(DamagedError, match="the pack x"):
            decode_index(bytes(altered), len(altered), "the pack x")


@pytest.mark.parametrize("length", [0, 10, 47, 48, 100])
def test_a_truncated_pack_is_noticed(length: int) -> None:
    data, _ = encode_pack(named(b"one", b"two"))
    with pytest.raises(DamagedError, match="the pack x"):
        decode_index(data[:length], length, "the pack x")
    with pytest.raises(DamagedError, match="the pack x"):
        decode_index(data[len(data) - length :], length, "the pack x")


def test_a_later_version_is_named() -> None:
    data, _ = encode_pack(named(b"one"))
    later = data[:-12] + b"\x02\0\0\0" + data[-8:]
    with pytest.raises(DamagedError, match="the pack x has format version 2; this release reads version 1"):
        decode_index(later, len(later), "the pack x")


def test_an_index_that_points_outside_is_refused() -> None:
    data, _ = encode_pack(named(b"one", b"two"))
    with pytest.raises(DamagedError, match="points outside of it"):
        decode_index(data[4:], len(data) - 4, "the pack x")
