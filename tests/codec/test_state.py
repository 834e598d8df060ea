"""Snapshot state survives a round trip, in pieces of any size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.codec.state import StateReader, encode_range, encode_state_head, encode_stored
from pipeline.domain.comparison.diff import HASH_BYTES
from pipeline.domain.errors import DamagedError
from pipeline.domain.keys import Key, RawText
from tests.fakes.rows import schema_of

_keys = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.one_of(st.binary(), st.just(RawText(b"\xff")))))


@given(st.lists(_keys, max_size=4), st.integers(1, 200))
def test_ranges_survive_in_pieces(parts: list[list[Key]], piece: int) -> None:
    hashes = [bytes(range(7)) + bytes([number]) for number in range(100)]
    data = encode_state_head(schema_of("t")) + b"".join(
        encode_range((index, b""), keys, b"".join(hashes[: len(keys)])) for index, keys in enumerate(parts)
    )
    reader = StateReader(headed=True, what="x")
    found = [part for at in range(0, len(data), piece) for part in reader.feed(data[at : at + piece])]
    reader.close()
    assert reader.schema == schema_of("t")
    assert [part.until for part in found] == [(index, b"") for index in range(len(parts))]
    assert [list(part.load_keys()) for part in found] == parts
    assert [part.rows for part in found] == [len(keys) for keys in parts]
    assert all(len(part.hashes) == part.rows * HASH_BYTES for part in found)


def test_a_range_keeps_its_digest_if_it_has_one() -> None:
    hashes = bytes(HASH_BYTES)
    data = encode_range((1,), [(1,)], hashes, bytes(range(16))) + encode_range((2,), [(2,)], hashes)
    found = list(StateReader(headed=False, what="snapshots/x").feed(data))
    assert [part.digest for part in found] == [bytes(range(16)), None]
    assert [encode_stored(part) for part in found] == [part.stored for part in found]
    renewed = found[1].with_digest(b"\1" * 16)
    assert next(iter(StateReader(headed=False, what="x").feed(encode_stored(renewed)))).digest == b"\1" * 16


def test_a_truncated_state_is_refused() -> None:
    data = encode_range((1,), [(1,)], bytes(HASH_BYTES))
    reader = StateReader(headed=False, what="snapshots/x")
    assert list(reader.feed(data[:-1])) == []
    with pytest.raises(DamagedError, match="snapshots/x is truncated"):
        reader.close()
