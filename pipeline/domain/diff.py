"""The difference between what a Flow has stored and what its source holds now, range by range in key order.

An earlier export left, for each range of keys, the keys, a hash of each row and often a digest of all. `RangeDiff`
takes the present rows of such a range as they are read, and tells which are new or changed; what is left over of the
old keys was deleted. A range that has its digest is unchanged, and no row is looked at. While the hashes agree from the
start of the range on, no key is looked at.

A changed row goes unnoticed only if its old and new hash are equal: with 64 bits, one chance in 2**64 a changed row. A
range with a change in it goes unnoticed if the digests are equal: one chance in 2**128, or in 2**64 for each change of
it where a source makes its digests of row hashes.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipeline.domain.keys import Key, order

HASH_BYTES = 8


@dataclass(frozen=True, slots=True)
class StateRange:
    """What was stored of the keys up to `until`: a hash of `HASH_BYTES` a row, in key order.

    `load_keys` gives the keys; `stored` is the whole range as it was stored, if it was, so that it can be stored again.
    `digest` is that of the rows, as a block of them has it (`RowBlock.digest`), where it is known.
    """

    until: Key
    hashes: bytes
    load_keys: Callable[[], Sequence[Key]]
    stored: bytes | None = None
    digest: bytes | None = None

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.hashes) // HASH_BYTES

    def with_digest(self, digest: bytes | None) -> StateRange:
        """Return the range with the digest of its rows, where that has only now become known."""
        if digest is None or digest == self.digest:
            return self
        return replace(self, digest=digest, stored=None)


def count_up_to(keys: Sequence[Key], until: Key) -> int:
    """Return how many of the ascending `keys` are not after `until`."""
    return bisect_right(keys, order(until), key=order)


def restrict(part: StateRange, after: Key) -> StateRange | None:
    """Return the rows of `part` whose keys are after `after`; None when there are none."""
    keys = part.load_keys()
    start = count_up_to(keys, after)
    if start == len(keys):
        return None
    rest = keys[start:]
    return StateRange(part.until, part.hashes[start * HASH_BYTES :], lambda: rest)


class RangeDiff:
    """Compares the present rows of one range with the old ones. Feed them in key order, then ask for what is deleted."""

    def __init__(self, old: StateRange) -> None:
        self.old = old
        self._agreed = 0
        self._rest: dict[Key, bytes] | None = None

    @property
    def unchanged(self) -> bool:
        """Whether the rows taken so far are all the rows of the old range, as they were."""
        return self._rest is None and self._agreed == self.old.rows

    def is_all(self, rows: int, digest: bytes) -> bool:
        """Whether so many rows of this digest are all the rows of the old range, as they were, and none was taken yet."""
        fresh = self._rest is None and self._agreed == 0
        return fresh and digest == self.old.digest and rows == self.old.rows

    def take_all(self) -> None:
        """Take the rows of which `is_all` has told."""
        self._agreed = self.old.rows

    def take(self, keys: Sequence[Key], hashes: bytes) -> list[int]:
        """Return the positions of those of these rows that are new or changed."""
        if self._rest is None:
            start = self._agreed * HASH_BYTES
            if self.old.hashes[start : start + len(hashes)] == hashes:
                self._agreed += len(keys)
                return []
            self._rest = self._old_rows()
        rest = self._rest
        return [
            position
            for position, key in enumerate(keys)
            if rest.pop(key, None) != hashes[position * HASH_BYTES : (position + 1) * HASH_BYTES]
        ]

    def take_deleted(self, until: Key | None) -> list[Key]:
        """Return, once, the old keys up to `until` (None: all) that no row taken so far had."""
        if self._rest is None:
            if self._agreed == self.old.rows:
                return []
            self._rest = self._old_rows()
        if until is None:
            gone = list(self._rest)
        else:
            bound = order(until)
            gone = [key for key in self._rest if order(key) <= bound]
        for key in gone:
            del self._rest[key]
        return gone

    def _old_rows(self) -> dict[Key, bytes]:
        keys, hashes = self.old.load_keys(), self.old.hashes
        return {
            keys[row]: hashes[row * HASH_BYTES : (row + 1) * HASH_BYTES] for row in range(self._agreed, self.old.rows)
        }
