"""The difference between the stored state and the source, range by range in key order.

The stored state holds, for each range of keys, the keys, a hash of each row and often a digest of all rows. `RangeDiff`
takes the current rows of a range and finds those that are new or changed; the remaining old rows are gone. If the
digest is equal, no row is compared. While the hashes agree from the start of the range on, no key is decoded.

A changed row goes unnoticed if its old and new hash are equal: one chance in 2**64 a changed row. A changed range goes
unnoticed if its digests are equal: one chance in 2**128, or in 2**64 a changed row where a source computes its digests
from row hashes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from struct import Struct

from pipeline.domain.keys import Key, order

HASH_BYTES = 8
_HASH = Struct(f"{HASH_BYTES}s")
_FIRST_STEP_BYTES = 16 * HASH_BYTES


@dataclass(frozen=True, slots=True)
class StateRange:
    """The stored state of the keys up to `until`: `HASH_BYTES` a row, in key order.

    `load_keys` decodes the keys. `stored` is the range as it was read, so that it can be written without decoding.
    `digest` is the digest of the rows (`HashedBlock.digest`), where it is known.
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
        """Return the range with this digest, if it is known and new."""
        if digest is None or digest == self.digest:
            return self
        return replace(self, digest=digest, stored=None)


def count_up_to(keys: Sequence[Key], until: Key) -> int:
    """Return the number of the ascending `keys` that are not after `until`."""
    return bisect_right(keys, order(until), key=order)


def split_hashes(hashes: bytes) -> list[bytes]:
    """Return the hash of each row."""
    return [row_hash for (row_hash,) in _HASH.iter_unpack(hashes)]


def count_agreeing(hashes: bytes, at: int, others: bytes, others_at: int) -> int:
    """Return how many consecutive rows have equal hashes, from these positions on.

    Compares longer and longer runs, then halves the one that differs.
    """
    start, shift = at * HASH_BYTES, (others_at - at) * HASH_BYTES
    end = min(len(hashes), len(others) - shift)
    step, growing = _FIRST_STEP_BYTES, True
    while start < end and step >= HASH_BYTES:
        until = min(start + step, end)
        if hashes[start:until] == others[start + shift : until + shift]:
            start = until
            step = step * 2 if growing else step
        else:
            step, growing = step // 2, False
    return start // HASH_BYTES - at


def restrict(part: StateRange, after: Key) -> StateRange | None:
    """Return the rows of `part` with keys after `after`, or None when there are none."""
    keys = part.load_keys()
    start = count_up_to(keys, after)
    if start == len(keys):
        return None
    rest = keys[start:]
    return StateRange(part.until, part.hashes[start * HASH_BYTES :], lambda: rest)


class GoneRows:
    """Which rows of a stream's stored ranges are gone at the source, by the number of the range: a bit a row.

    Ranges that have lost no row take no memory: 100 million rows take 13 MB at most.
    """

    def __init__(self) -> None:
        self._bits: dict[int, bytearray] = {}
        self.count = 0

    def add(self, number: int, rows: int, positions: Sequence[int]) -> None:
        """Add rows of the range `number`, which has `rows`."""
        bits = self._bits.setdefault(number, bytearray((rows + 7) // 8))
        for position in positions:
            bits[position >> 3] |= 1 << (position & 7)
        self.count += len(positions)

    def positions(self, number: int) -> list[int]:
        """Return the positions of the rows in the range `number`, ascending."""
        bits = self._bits.get(number, b"")
        return [byte * 8 + bit for byte, mask in enumerate(bits) if mask for bit in range(8) if mask >> bit & 1]


class RangeDiff:
    """Compares the current rows of one range with the old ones: take them in key order, then take those that are gone."""

    def __init__(self, old: StateRange) -> None:
        self.old = old
        self._compared = 0
        self._differs = False
        self._gone: list[int] = []
        self._keys: Sequence[Key] | None = None

    @property
    def unchanged(self) -> bool:
        """Whether the rows taken so far are exactly the rows of the old range."""
        return not self._differs and self._compared == self.old.rows

    @property
    def is_fresh(self) -> bool:
        """Whether no rows were taken yet."""
        return not self._differs and self._compared == 0

    def is_all(self, rows: int, digest: bytes) -> bool:
        """Whether no rows were taken yet, and these are exactly the rows of the old range."""
        return self.is_fresh and digest == self.old.digest and rows == self.old.rows

    def take_all(self) -> None:
        """Take all rows of the old range as unchanged."""
        self._compared = self.old.rows

    def take(self, keys: Sequence[Key], hashes: bytes) -> list[int]:
        """Take rows; return the positions of those that are new or changed."""
        changed: list[int] = []
        position = 0
        while True:
            agreeing = count_agreeing(hashes, position, self.old.hashes, self._compared)
            position += agreeing
            self._compared += agreeing
            if position == len(keys):
                return changed
            self._differs = True
            if self._compared == self.old.rows:
                return [*changed, *range(position, len(keys))]
            key, old_key = order(keys[position]), order(self._old_keys[self._compared])
            if key < old_key:
                changed.append(position)
                position += 1
            elif key == old_key:
                changed.append(position)
                position += 1
                self._compared += 1
            else:
                self._gone.append(self._compared)
                self._compared += 1

    def old_hash(self, key: Key) -> bytes | None:
        """Return the hash that the old range has of a key; None when it does not have the key."""
        at = bisect_left(self._old_keys, order(key), key=order)
        if at == len(self._old_keys) or order(self._old_keys[at]) != order(key):
            return None
        return self.old.hashes[at * HASH_BYTES : (at + 1) * HASH_BYTES]

    def take_gone(self, until: Key | None) -> list[int]:
        """Return the positions of the old rows up to `until` (None: all) whose keys no row taken so far has.

        They ascend, and each is returned once.
        """
        end = self.old.rows if until is None else count_up_to(self._old_keys, until)
        kept = bisect_left(self._gone, end)
        gone, self._gone = self._gone[:kept], self._gone[kept:]
        if self._compared < end:
            gone += range(self._compared, end)
            self._compared = end
        self._differs = self._differs or bool(gone)
        return gone

    def rows_at(self, positions: Sequence[int]) -> tuple[list[Key], bytes]:
        """Return the keys and hashes of the old rows at these positions."""
        hashes = b"".join([self.old.hashes[at * HASH_BYTES : (at + 1) * HASH_BYTES] for at in positions])
        return [self._old_keys[at] for at in positions], hashes

    @property
    def _old_keys(self) -> Sequence[Key]:
        """The keys of the old range, decoded only where rows differ."""
        if self._keys is None:
            self._keys = self.old.load_keys()
        return self._keys
