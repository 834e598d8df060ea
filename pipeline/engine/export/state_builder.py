"""The snapshot state of one chunk: its rows as ranges of keys and hashes, encoded as frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.codec.state import encode_range, encode_stored
from pipeline.domain.comparison.diff import HASH_BYTES, StateRange
from pipeline.domain.keys import Key


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


class StateBuilder:
    """Gathers the rows of a chunk, in key order, in ranges of `range_rows`. `size` is in bytes of ended ranges."""

    def __init__(self, range_rows: int) -> None:
        self._range_rows = range_rows
        self._frames: list[bytes] = []
        self._open = RangeRows()
        self.size = 0

    def add_rows(self, keys: Sequence[Key], hashes: bytes, digest: bytes | None = None) -> None:
        """Add rows. Those of a block with a `digest` become a range of their own, if they are neither few nor many."""
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
