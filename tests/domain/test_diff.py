"""The diff of a range finds exactly the new, changed and deleted rows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.comparison.diff import HASH_BYTES, RangeDiff, StateRange, count_up_to, restrict
from pipeline.domain.keys import Key, RawText, order

Rows = dict[int, int]
_rows = st.dictionaries(st.integers(0, 30), st.integers(0, 3))


def packed(rows: Rows) -> tuple[list[Key], bytes]:
    ordered = sorted(rows.items())
    return [(key,) for key, _ in ordered], b"".join((key * 8 + value).to_bytes(HASH_BYTES) for key, value in ordered)


def state(rows: Rows) -> StateRange:
    keys, hashes = packed(rows)
    return StateRange((30,), hashes, lambda: keys)


@given(_rows, _rows, st.integers(1, 7), st.none() | st.integers(0, 30))
def test_upserts_and_deletes_are_the_true_difference(old: Rows, new: Rows, block: int, cut: int | None) -> None:
    diff = RangeDiff(state(old))
    keys, hashes = packed(new)
    upserts: list[Key] = []
    for start in range(0, len(keys), block):
        part = keys[start : start + block]
        positions = diff.take(part, hashes[start * HASH_BYTES : (start + len(part)) * HASH_BYTES])
        upserts += [part[position] for position in positions]
    unchanged = diff.unchanged
    early = [] if cut is None else diff.take_gone((cut,))
    assert all(order(key) <= order((cut,)) for key in diff.rows_at(early)[0])
    positions = [*early, *diff.take_gone(None)]
    gone, hashes = diff.rows_at(positions)
    assert hashes == packed({key: text for key, text in old.items() if (key,) in gone})[1]
    assert upserts == [(key,) for key in sorted(new) if old.get(key) != new[key]]
    assert gone == [(key,) for key in sorted(old) if key not in new]
    assert unchanged == (old == new)


def test_a_digest_shows_only_a_whole_range_as_unchanged() -> None:
    keys, hashes = packed({1: 1, 2: 1})
    part = StateRange((30,), hashes, lambda: keys, digest=b"d")
    diff = RangeDiff(part)
    assert not diff.is_all(2, b"e")
    assert not diff.is_all(1, b"d")
    assert diff.is_all(2, b"d")
    diff.take_all()
    assert diff.unchanged
    assert not diff.is_all(2, b"d")
    rest = restrict(part, (1,))
    assert rest is not None
    assert rest.digest is None


def test_rows_after_the_end_of_an_equal_range_are_new() -> None:
    keys, hashes = packed({1: 1, 2: 1})
    diff = RangeDiff(StateRange((30,), hashes, lambda: keys, digest=b"d"))
    diff.take_all()
    assert diff.take([(3,)], bytes(HASH_BYTES)) == [0]
    assert diff.take_gone(None) == []
    assert not diff.unchanged


@given(_rows, st.integers(-1, 31))
def test_a_restricted_range_has_the_rows_after_the_bound(rows: Rows, after: int) -> None:
    rest = restrict(state(rows), (after,))
    expected = {key: value for key, value in rows.items() if key > after}
    if rest is None:
        assert not expected
    else:
        assert (list(rest.load_keys()), rest.hashes) == packed(expected)


def test_keys_sort_like_values_in_sqlite() -> None:
    ordered: list[Key] = [
        (None,), (-(2**63),), (float("-inf"),), (-1.5,), (0,), (1,), (1.5,), (2**63 - 1,), (float("inf"),),
        ("",), ("A",), ("a",), ("\uffff",), ("\U00010000",), (RawText(b"\xff"),), (b"",), (b"\x00",), (b"a",),
    ]  # fmt: skip
    ordered[1], ordered[2] = ordered[2], ordered[1]
    backwards = list(reversed(ordered))
    assert sorted(backwards, key=order) == ordered
    assert count_up_to(ordered, ("a",)) == ordered.index(("a",)) + 1
