"""What a Flow has stored of a stream, range by range, and the present rows of the current range."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Collection, Sequence
from dataclasses import dataclass

from pipeline.domain.comparison.diff import HASH_BYTES, RangeDiff, StateRange, split_hashes
from pipeline.domain.keys import Key
from pipeline.ports.ranged_source import KnownRange
from pipeline.ports.source import RowBlock

LOOK_AHEAD_RANGES = 64
"""Old ranges kept at hand, for a source that can read along several at a time."""


class OldRanges:
    """Stored ranges in key order. `diff` compares present rows with the current one; it is None after the last.

    `number` counts the ranges before the current one, and `rows` the rows of all ranges up to it.
    """

    def __init__(self, stored: AsyncGenerator[StateRange, None]) -> None:
        self._stored = stored
        self._next: deque[StateRange] = deque()
        self.diff: RangeDiff | None = None
        self.number = -1
        self.rows = 0

    async def advance(self) -> RangeDiff | None:
        """Go on to the next range, and return its diff."""
        while len(self._next) < LOOK_AHEAD_RANGES and (old := await anext(self._stored, None)) is not None:
            self._next.append(old)
        self.diff = RangeDiff(self._next.popleft()) if self._next else None
        if self.diff is not None:
            self.number += 1
            self.rows += self.diff.old.rows
        return self.diff

    def known(self, ahead: int) -> KnownRange | None:
        """Return a range as the source knows it (`Known`), so that blocks end where ranges do and digests compare."""
        if ahead == 0:
            diff = self.diff
            return None if diff is None else _known(diff.old, diff.old.digest if diff.is_fresh else None)
        if ahead > len(self._next):
            return None
        old = self._next[ahead - 1]
        return _known(old, old.digest)

    async def aclose(self) -> None:
        """Stop reading."""
        await self._stored.aclose()


def _known(old: StateRange, digest: bytes | None) -> KnownRange:
    return KnownRange(old.until, old.hashes, digest)


@dataclass(frozen=True, slots=True)
class BlockPart:
    """Rows of a block from position `start` on, all in one old range or after all; `digest` if it is the whole block."""

    block: RowBlock
    start: int
    keys: Sequence[Key]
    hashes: bytes
    digest: bytes | None

    def positions(self, within: Sequence[int]) -> Sequence[int]:
        """Return the positions in the block of rows at these ascending positions of the part."""
        if len(within) == len(self.keys):
            return range(self.start, self.start + len(within))
        return [self.start + position for position in within]

    def without(self, rejected: Collection[int], old: RangeDiff | None) -> BlockPart:
        """Return the part as it is stored after these positions of the block were rejected.

        A rejected row stays as the range `old` has it, and is left out if that has none.
        """
        if not rejected:
            return self
        keys: list[Key] = []
        hashes = bytearray()
        for at, (key, row_hash) in enumerate(zip(self.keys, split_hashes(self.hashes), strict=True), self.start):
            stored: bytes | None = row_hash
            if at in rejected:
                stored = None if old is None else old.old_hash(key)
            if stored is not None:
                keys.append(key)
                hashes += stored
        return BlockPart(self.block, self.start, keys, bytes(hashes), None)


def part_of(block: RowBlock, keys: Sequence[Key], hashes: bytes, start: int, end: int) -> BlockPart:
    """Return the rows of a block from `start` to before `end`, given all its keys and hashes."""
    digest = block.digest() if end - start == len(keys) else None
    return BlockPart(block, start, keys[start:end], hashes[start * HASH_BYTES : end * HASH_BYTES], digest)
