"""The snapshot state of one chunk: its rows as ranges of keys and hashes, encoded as frames.

Whether the deletes of a chunk are allowed is known after the last row of the stream. So a chunk with deletes has two
states until then: with its deletes applied, and with the rows as they are at the destination.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.codec.state import encode_range, encode_stored
from pipeline.domain.comparison.diff import HASH_BYTES, StateRange
from pipeline.domain.keys import Key, order


@dataclass(slots=True)
class RangeRows:
    """Consecutive rows. `digest` is theirs while they are exactly one block."""

    keys: list[Key] = field(default_factory=list)
    hashes: bytearray = field(default_factory=bytearray)
    digest: bytes | None = None

    def add(self, keys: Sequence[Key], hashes: bytes, digest: bytes | None = None) -> None:
        """Add the rows of a whole block with this `digest`, or of a part of one."""
        self.digest = None if self.keys else digest
        self.keys.extend(keys)
        self.hashes += hashes

    def merged(self, others: RangeRows) -> RangeRows:
        """Return these rows and `others`, in key order."""
        found, start = RangeRows(), 0
        for at, key in enumerate(others.keys):
            end = bisect_left(self.keys, order(key), lo=start, key=order)
            found.add(self.keys[start:end], bytes(self.hashes[start * HASH_BYTES : end * HASH_BYTES]))
            found.add([key], bytes(others.hashes[at * HASH_BYTES : (at + 1) * HASH_BYTES]))
            start = end
        found.add(self.keys[start:], bytes(self.hashes[start * HASH_BYTES :]))
        return found


class StateBuilder:
    """Gathers the rows of a chunk, in key order, in ranges of `range_rows`. `size` is in bytes of ended ranges."""

    def __init__(self, range_rows: int) -> None:
        self._range_rows = range_rows
        self._frames: list[bytes] = []
        self._open = RangeRows()
        self.size = 0

    def copy(self) -> StateBuilder:
        """Return a builder that holds the same rows."""
        other = StateBuilder(self._range_rows)
        other._frames, other.size = list(self._frames), self.size
        other._open = RangeRows(list(self._open.keys), bytearray(self._open.hashes), self._open.digest)
        return other

    def add_rows(self, rows: RangeRows) -> None:
        """Add rows. Those of a block with a digest become a range of their own, if they are neither few nor many."""
        keys, hashes, digest = rows.keys, bytes(rows.hashes), rows.digest
        if not keys:
            return
        most = self._range_rows
        is_range = digest is not None and most // 4 <= len(keys) <= most + most // 2
        if self._open.keys and (is_range or self._open.digest):
            self.end_range()
        if is_range:
            self._open = RangeRows(list(keys), bytearray(hashes), digest)
            return
        for start in range(0, len(keys), most):
            part = keys[start : start + most]
            self._open.add(part, hashes[start * HASH_BYTES : (start + len(part)) * HASH_BYTES])
            if len(self._open.keys) >= most:
                self.end_range()

    def add_range(self, unchanged: StateRange) -> None:
        """Add a whole range as it was stored."""
        self._add_frame(encode_stored(unchanged))

    def end_range(self, until: Key | None = None) -> None:
        """End the current range at `until`, which need not be the key of a row; by default at its last row."""
        if self._open.keys:
            ended, self._open = self._open, RangeRows()
            bound = ended.keys[-1] if until is None else until
            self._add_frame(encode_range(bound, ended.keys, bytes(ended.hashes), ended.digest))

    def part(self) -> bytes:
        """Return all ended ranges as one state part."""
        return b"".join(self._frames)

    def _add_frame(self, frame: bytes) -> None:
        self._frames.append(frame)
        self.size += len(frame)


class ChunkState:
    """The state of a chunk with its deletes applied, and from the first delete on without them."""

    def __init__(self, range_rows: int) -> None:
        self._applied = StateBuilder(range_rows)
        self._withheld: StateBuilder | None = None

    @property
    def size(self) -> int:
        """The bytes of ended ranges."""
        return (self._withheld or self._applied).size

    def add_rows(self, present: RangeRows, gone: RangeRows | None = None) -> None:
        """Add rows that the source has, and among them rows that are `gone` there."""
        if gone is not None and self._withheld is None:
            self._withheld = self._applied.copy()
        self._applied.add_rows(present)
        if self._withheld is not None:
            self._withheld.add_rows(present if gone is None else present.merged(gone))

    def add_range(self, unchanged: StateRange) -> None:
        """Add a whole range as it was stored."""
        for builder in self._builders():
            builder.add_range(unchanged)

    def end_range(self, until: Key | None) -> None:
        """End the current range at `until`, which need not be the key of a row; None: at its last row."""
        for builder in self._builders():
            builder.end_range(until)

    def part(self, *, deleting: bool) -> bytes:
        """Return all ended ranges as one state part, with the deletes applied or not."""
        return (self._applied if deleting or self._withheld is None else self._withheld).part()

    def _builders(self) -> Sequence[StateBuilder]:
        return [self._applied] if self._withheld is None else [self._applied, self._withheld]
