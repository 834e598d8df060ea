"""The export of one stream: a diff of what the source holds now against what the Flow has stored."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing

import anyio

from pipeline.domain.diff import HASH_BYTES, RangeDiff, StateRange, count_up_to
from pipeline.domain.ids import Label, Phase
from pipeline.domain.keys import Key
from pipeline.domain.one_error import one_error
from pipeline.engine.chunks import ChunkWriter
from pipeline.ports.reporter import Reporter, RowsRead
from pipeline.ports.source import RowBlock, StoreBinary

OpenRows = AbstractAsyncContextManager[AsyncIterable[RowBlock]]


class StreamExport:
    """Walks the rows of one stream past its old ranges, and hands to the writer what differs."""

    def __init__(
        self, label: Label, writer: ChunkWriter, store_binary: StoreBinary, reporter: Reporter, *, state_complete: bool
    ) -> None:
        self._label = label
        self._writer = writer
        self._store_binary = store_binary
        self._reporter = reporter
        self._state_complete = state_complete
        self._diff: RangeDiff | None = None
        self._last_until: Key | None = None
        self._pending_keys: list[Key] = []
        self._pending_hashes = bytearray()

    async def run(self, rows: OpenRows, old_ranges: AsyncGenerator[StateRange, None]) -> None:
        """Export the stream. On return all that changed is stored."""
        async with aclosing(old_ranges):
            with one_error():
                await self._run(rows, old_ranges)

    async def _run(self, rows: OpenRows, old_ranges: AsyncGenerator[StateRange, None]) -> None:
        await self._next_range(old_ranges)
        async with rows as opened:
            blocks = aiter(opened)
            while (read := await self._read_while_compressing(blocks)) is not None:
                await self._take_block(*read, old_ranges)
        while self._diff is not None:
            await self._end_range(old_ranges)
        await self._writer.cut(None)

    async def _read_while_compressing(self, blocks: AsyncIterator[RowBlock]) -> tuple[RowBlock, bytes] | None:
        """Read and hash the next block while the lines of the one before are compressed.

        Compressing lets go of the interpreter's lock; reading and encoding do not, and side by side they only wait for
        each other (docs/decisions/0004).
        """
        async with anyio.create_task_group() as group:
            group.start_soon(self._writer.compress, name="compress")
            block = await anext(blocks, None)
        return None if block is None else (block, block.row_hashes())

    async def _take_block(self, block: RowBlock, hashes: bytes, old_ranges: AsyncGenerator[StateRange, None]) -> None:
        keys = block.keys()
        start, line_bytes = 0, 0
        while start < len(keys):
            end = min(len(keys), start + self._writer.max_rows)
            if self._diff is None:
                line_bytes += await self._take_new(block, keys, hashes, start, end)
                start = end
                continue
            known = min(count_up_to(keys, self._diff.old.until), end)
            if known > start:
                line_bytes += await self._take_known(self._diff, block, keys, hashes, start, known)
                start = known
            if known < end:
                await self._end_range(old_ranges)
        self._reporter.report(RowsRead(self._label, len(keys), line_bytes))

    async def _take_new(self, block: RowBlock, keys: Sequence[Key], hashes: bytes, start: int, end: int) -> int:
        """Rows behind all old ranges."""
        lines = await block.upserts(range(start, end), self._store_binary)
        self._writer.add_upserts(lines, end - start)
        self._writer.remember(keys[start:end], hashes[start * HASH_BYTES : end * HASH_BYTES])
        if self._writer.full:
            await self._writer.cut(keys[end - 1])
        return len(lines)

    async def _take_known(
        self, diff: RangeDiff, block: RowBlock, keys: Sequence[Key], hashes: bytes, start: int, end: int
    ) -> int:
        """Rows within the old range in hand."""
        part_keys, part_hashes = keys[start:end], hashes[start * HASH_BYTES : end * HASH_BYTES]
        changed = diff.take(part_keys, part_hashes)
        self._pending_keys.extend(part_keys)
        self._pending_hashes += part_hashes
        if not changed:
            return 0
        lines = await block.upserts([start + position for position in changed], self._store_binary)
        self._writer.add_upserts(lines, len(changed))
        if self._writer.full:
            self._writer.add_deletes(diff.take_deleted(part_keys[-1]))
            self._remember_pending()
            await self._writer.cut(part_keys[-1])
        elif len(self._pending_keys) > 2 * self._writer.range_rows:
            self._remember_pending()
        return len(lines)

    def _remember_pending(self) -> None:
        self._writer.remember(self._pending_keys, bytes(self._pending_hashes))
        self._pending_keys, self._pending_hashes = [], bytearray()

    async def _end_range(self, old_ranges: AsyncGenerator[StateRange, None]) -> None:
        """All rows of the old range in hand have been taken: settle it, and go on to the next."""
        diff = self._diff
        if diff is None:
            return
        if diff.unchanged:
            self._pending_keys, self._pending_hashes = [], bytearray()
            self._writer.remember_unchanged(diff.old)
        else:
            self._writer.add_deletes(diff.take_deleted(None))
            self._remember_pending()
            self._writer.close_range(diff.old.until)
        self._last_until = diff.old.until
        if self._writer.full:
            await self._writer.cut(self._last_until)
        await self._next_range(old_ranges)

    async def _next_range(self, old_ranges: AsyncGenerator[StateRange, None]) -> None:
        old = await anext(old_ranges, None)
        self._diff = None if old is None else RangeDiff(old)
        if old is None and not self._state_complete:
            await self._writer.begin_phase(Phase.FULL, self._last_until)
