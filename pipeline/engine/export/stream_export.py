"""The export of one stream: a diff of what the source holds now against what the Flow has stored."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field

import anyio

from pipeline.domain.comparison.diff import HASH_BYTES, RangeDiff, StateRange, count_up_to
from pipeline.domain.errors import DefectError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import Label, Phase
from pipeline.domain.keys import Key, order
from pipeline.engine.export.chunk_writer import ChunkWriter
from pipeline.ports.ranged_source import Known, KnownRange, UnchangedRows
from pipeline.ports.reporter import Reporter, RowsRead
from pipeline.ports.source import RowBlock, StoreBinary

OpenedRows = AbstractAsyncContextManager[AsyncIterable[RowBlock | UnchangedRows]]
OpenRows = Callable[[Known], OpenedRows]
AHEAD = 64
"""So many old ranges are at hand, so that a source that can do so reads some of them ahead."""


class _OldRanges:
    """What a Flow has stored of a stream, range by range: the `diff` with the one in hand, and those that come next."""

    def __init__(self, stored: AsyncGenerator[StateRange, None]) -> None:
        self._stored = stored
        self._next: deque[StateRange] = deque()
        self.diff: RangeDiff | None = None

    async def advance(self) -> RangeDiff | None:
        """Take the next range in hand; None behind the last."""
        while len(self._next) < AHEAD and (old := await anext(self._stored, None)) is not None:
            self._next.append(old)
        self.diff = RangeDiff(self._next.popleft()) if self._next else None
        return self.diff

    def known(self, ahead: int) -> KnownRange | None:
        """Blocks had best end where the old ranges do: then digests can be compared."""
        if ahead == 0:
            diff = self.diff
            return None if diff is None else _known(diff.old, diff.old.digest if diff.is_fresh else None)
        if ahead > len(self._next):
            return None
        old = self._next[ahead - 1]
        return _known(old, old.digest)

    async def aclose(self) -> None:
        """Close what the ranges are read from."""
        await self._stored.aclose()


@dataclass(slots=True)
class _Taken:
    """The rows of the old range in hand that have been taken, for when it turns out to have changed.

    `digest` is theirs as long as they are exactly one block.
    """

    keys: list[Key] = field(default_factory=list)
    hashes: bytearray = field(default_factory=bytearray)
    digest: bytes | None = None

    def add(self, keys: Sequence[Key], hashes: bytes, digest: bytes | None) -> None:
        """Take more rows: of the whole block with this `digest`, or of a part of one."""
        self.digest = None if self.keys else digest
        self.keys.extend(keys)
        self.hashes += hashes


class StreamExport:
    """Walks the rows of one stream past its old ranges, and hands to the writer what differs."""

    def __init__(
        self,
        label: Label,
        old_ranges: AsyncGenerator[StateRange, None],
        writer: ChunkWriter,
        store_binary: StoreBinary,
        reporter: Reporter,
        *,
        state_complete: bool,
    ) -> None:
        self._label = label
        self._writer = writer
        self._store_binary = store_binary
        self._reporter = reporter
        self._state_complete = state_complete
        self._old = _OldRanges(old_ranges)
        self._last_until: Key | None = None
        self._taken = _Taken()

    async def run(self, rows: OpenRows | None) -> None:
        """Export the stream, which has no rows where `rows` is None. On return all that changed is stored."""
        async with aclosing(self._old):
            with unwrap_exception_group():
                await self._run(rows)

    async def _run(self, rows: OpenRows | None) -> None:
        await self._next_range()
        if rows is not None:
            async with rows(self._old.known) as opened, anyio.create_task_group() as beside:
                async for block in opened:
                    await self._take_block(block)
                    await self._writer.compress_beside(beside)
        while self._old.diff is not None:
            await self._end_range()
        await self._writer.cut(None)

    async def _take_block(self, block: RowBlock | UnchangedRows) -> None:
        diff = self._old.diff
        if isinstance(block, UnchangedRows):
            if diff is None or not diff.is_all(block.rows, block.digest):
                raise DefectError(f"{self._label}: rows that the source reports as unchanged are not the old range")
            await self._take_unchanged(diff, block.last_key)
        elif diff is not None and diff.is_all(len(block), block.digest()):
            await self._take_unchanged(diff, block.last_key())
        else:
            await self._take_rows(block)

    async def _take_rows(self, block: RowBlock) -> None:
        keys, hashes = block.keys(), block.row_hashes()
        start, line_bytes = 0, 0
        while start < len(keys):
            end = min(len(keys), start + self._writer.max_rows)
            if self._old.diff is None:
                line_bytes += await self._take_new(_Part(block, keys, hashes, start, end))
                start = end
                continue
            known = min(count_up_to(keys, self._old.diff.old.until), end)
            if known > start:
                line_bytes += await self._take_known(self._old.diff, _Part(block, keys, hashes, start, known))
                start = known
            if known < end or (start == len(keys) and _ends_at(keys[-1], self._old.diff)):
                await self._end_range()
        self._reporter.report(RowsRead(self._label, len(keys), line_bytes))

    async def _take_unchanged(self, diff: RangeDiff, last_key: Key) -> None:
        """Take all rows of the current old range, as they were.

        The range stays current while it reaches further than `last_key`: new rows may follow in it.
        """
        diff.take_all()
        if _ends_at(last_key, diff):
            await self._end_range()
        else:
            self._taken.add(diff.old.load_keys(), diff.old.hashes, diff.old.digest)
        self._reporter.report(RowsRead(self._label, diff.old.rows, 0))

    async def _take_new(self, part: _Part) -> int:
        """Rows behind all old ranges."""
        lines = await part.block.upserts(range(part.start, part.end), self._store_binary)
        self._writer.add_upserts(lines, len(part))
        self._writer.remember(part.keys, part.hashes, part.digest)
        if self._writer.full:
            await self._writer.cut(part.keys[-1])
        return len(lines)

    async def _take_known(self, diff: RangeDiff, part: _Part) -> int:
        """Rows within the old range in hand."""
        changed = diff.take(part.keys, part.hashes)
        self._taken.add(part.keys, part.hashes, part.digest)
        if not changed:
            return 0
        lines = await part.block.upserts([part.start + position for position in changed], self._store_binary)
        self._writer.add_upserts(lines, len(changed))
        if self._writer.full:
            self._writer.add_deletes(diff.take_deleted(part.keys[-1]))
            self._remember_taken()
            await self._writer.cut(part.keys[-1])
        elif len(self._taken.keys) > 2 * self._writer.range_rows:
            self._remember_taken()
        return len(lines)

    def _remember_taken(self) -> None:
        taken, self._taken = self._taken, _Taken()
        self._writer.remember(taken.keys, bytes(taken.hashes), taken.digest)

    async def _end_range(self) -> None:
        """All rows of the old range in hand have been taken: settle it, and go on to the next."""
        diff = self._old.diff
        if diff is None:
            return
        if diff.unchanged:
            taken, self._taken = self._taken, _Taken()
            self._writer.remember_unchanged(diff.old.with_digest(taken.digest))
        else:
            self._writer.add_deletes(diff.take_deleted(None))
            self._remember_taken()
            self._writer.close_range(diff.old.until)
        self._last_until = diff.old.until
        if self._writer.full:
            await self._writer.cut(self._last_until)
        await self._next_range()

    async def _next_range(self) -> None:
        if await self._old.advance() is None and not self._state_complete:
            await self._writer.begin_phase(Phase.FULL, self._last_until)


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of a block from `start` to before `end`, all of which lie in one old range, or behind all."""

    block: RowBlock
    keys_of_block: Sequence[Key]
    hashes_of_block: bytes
    start: int
    end: int

    def __len__(self) -> int:
        return self.end - self.start

    @property
    def keys(self) -> Sequence[Key]:
        return self.keys_of_block[self.start : self.end]

    @property
    def hashes(self) -> bytes:
        return self.hashes_of_block[self.start * HASH_BYTES : self.end * HASH_BYTES]

    @property
    def digest(self) -> bytes | None:
        """The digest of the block, if all of it is taken at once."""
        return self.block.digest() if len(self) == len(self.block) else None


def _ends_at(key: Key, diff: RangeDiff) -> bool:
    """Whether no row behind the one with `key` can lie in the old range."""
    return order(key) >= order(diff.old.until)


def _known(old: StateRange, digest: bytes | None) -> KnownRange:
    return KnownRange(old.until, old.hashes, digest)
