"""The export of one stream: a diff of what the source holds now against what the Flow has stored."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial

import anyio

from pipeline.codec.event_files.event_file import MAX_LINE_BYTES, too_long
from pipeline.domain.comparison.diff import HASH_BYTES, GoneRows, RangeDiff, count_up_to
from pipeline.domain.errors import DefectError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import Phase
from pipeline.domain.keys import Key, order
from pipeline.domain.schema import StreamSchema
from pipeline.engine.export.attempt import ExportAttempt
from pipeline.engine.export.chunk_writer import ChunkWriter
from pipeline.engine.export.old_ranges import BlockPart, OldRanges, part_of
from pipeline.engine.export.source_checks import BlockChecks
from pipeline.engine.export.state_builder import RangeRows
from pipeline.engine.storage.snapshot_state import SnapshotState
from pipeline.ports.ranged_source import Known, UnchangedRows
from pipeline.ports.reporter import RowsRead
from pipeline.ports.source import ArrayRowBlock, ContentBlock, RowBlock, RowRejection, UnreadRows, UpsertSink

OpenedRows = AbstractAsyncContextManager[AsyncIterable[RowBlock | UnchangedRows | UnreadRows]]
OpenRows = Callable[[Known], OpenedRows]
AllowsDeletes = Callable[[int, int], Awaitable[bool]]
"""Whether a number of deletes is allowed in a stream that had a number of rows."""


class StreamExport:
    """Compares the rows of one stream with its old ranges, and gives to the writer what differs.

    How many rows are `gone` is known after the last row. So the last chunk alone has its deletes, if they are allowed;
    those of earlier chunks are withheld.
    """

    def __init__(self, attempt: ExportAttempt, schema: StreamSchema, state: SnapshotState, writer: ChunkWriter) -> None:
        self._label = schema.label
        self._report = attempt.context.reporter.report
        self._binaries = attempt.binaries
        self._reject = partial(attempt.reject, schema)
        self._limits = attempt.context.limits
        self._state_complete = state.complete
        self._old = OldRanges(state.ranges())
        self._last_until: Key | None = None
        self._rows = RangeRows()
        self._checks = BlockChecks()
        self._writer = writer
        self._is_keyed_by_content = schema.is_keyed_by_content
        self._upserts = 0
        self._takes_arrays = writer.takes_arrays()
        self.gone = GoneRows()

    async def run(self, rows: OpenRows | None, allows: AllowsDeletes) -> bool:
        """Export the stream, which has no rows where `rows` is None. On return all that changed is stored.

        Returns whether its deletes are allowed. `gone` then are those rows whose deletes the writer may have withheld.
        """
        async with aclosing(self._old):
            with unwrap_exception_group():
                await self._run(rows)
        replaced = self._upserts if self._is_keyed_by_content else 0
        allowed = await allows(max(0, self.gone.count - replaced), self._old.rows)
        await self._writer.cut(None, deleting=allowed)
        return allowed

    async def _run(self, rows: OpenRows | None) -> None:
        await self._next_range()
        if rows is not None:
            async with rows(self._old.known) as blocks, anyio.create_task_group() as compressing:
                async for block in blocks:
                    await self._export_block(block)
                    await self._writer.compress_in(compressing)
        while self._old.diff is not None:
            await self._end_range()

    async def _export_block(self, block: RowBlock | UnchangedRows | UnreadRows) -> None:
        diff = self._old.diff
        if isinstance(block, UnreadRows):
            await self._pass_unread(block)
        elif isinstance(block, UnchangedRows):
            if diff is None or not diff.is_all(block.rows, block.digest):
                raise DefectError(f"{self._label}: rows that the source reports as unchanged are not the old range")
            await self._pass_unchanged(diff, block.last_key)
        elif diff is not None and diff.is_all(len(block), block.digest()):
            await self._pass_unchanged(diff, block.last_key(), _content_bytes(block))
        else:
            await self._compare_rows(block)

    async def _pass_unchanged(self, diff: RangeDiff, last_key: Key, content_bytes: int = 0) -> None:
        """Pass over all rows of the current range, which are as they were.

        The range stays current while it reaches further than `last_key`: new rows may follow in it.
        """
        self._checks.check_unchanged(last_key)
        diff.take_all()
        if _ends_at(last_key, diff):
            await self._end_range()
        else:
            self._rows.add(diff.old.load_keys(), diff.old.hashes, diff.old.digest)
        self._report(RowsRead(self._label, diff.old.rows, 0, unchanged_bytes=content_bytes))

    async def _pass_unread(self, unread: UnreadRows) -> None:
        """Pass over rows that cannot be read: those that are stored count as they are stored."""
        self._reject(unread.first, RowRejection(unread.reason))
        while (diff := self._old.diff) is not None:
            keys = diff.old.load_keys()
            start, end = (bisect_left(keys, order(bound), key=order) for bound in (unread.first, unread.end))
            if start < end:
                hashes = diff.old.hashes[start * HASH_BYTES : end * HASH_BYTES]
                diff.take(keys[start:end], hashes)
                self._rows.add(keys[start:end], hashes)
            if order(diff.old.until) >= order(unread.end):
                break
            await self._end_range()

    async def _compare_rows(self, block: RowBlock) -> None:
        keys, hashes = self._checks.read(block)
        start, line_bytes, given = 0, 0, self._binaries.given_bytes
        while start < len(keys):
            end = min(len(keys), start + self._limits.event_file_rows)
            if self._old.diff is None:
                line_bytes += await self._add_new(part_of(block, keys, hashes, start, end))
                start = end
                continue
            known = min(count_up_to(keys, self._old.diff.old.until), end)
            if known > start:
                line_bytes += await self._compare(self._old.diff, part_of(block, keys, hashes, start, known))
                start = known
            if known < end or (start == len(keys) and _ends_at(keys[-1], self._old.diff)):
                await self._end_range()
        stored = self._binaries.given_bytes - given
        unchanged = max(0, _content_bytes(block) - stored)
        self._report(RowsRead(self._label, len(keys), line_bytes, stored, unchanged))

    async def _add_new(self, part: BlockPart) -> int:
        """Add rows after all old ranges; return the bytes of their lines."""
        written, stored = await self._add_upserts(part, range(len(part.keys)), None)
        self._writer.add_rows(RangeRows(list(stored.keys), bytearray(stored.hashes), stored.digest))
        if self._writer.full:
            await self._writer.cut(part.keys[-1])
        return written

    async def _compare(self, diff: RangeDiff, part: BlockPart) -> int:
        """Compare rows of the current range, and add those that differ; return the bytes of their lines."""
        changed = diff.take(part.keys, part.hashes)
        written, stored = await self._add_upserts(part, changed, diff) if changed else (0, part)
        self._rows.add(stored.keys, stored.hashes, stored.digest)
        if not changed:
            return 0
        if self._writer.full:
            self._move_rows_to_state(diff, part.keys[-1])
            await self._writer.cut(part.keys[-1])
        elif len(self._rows.keys) > 2 * self._limits.range_rows:
            self._move_rows_to_state(diff, part.keys[-1])
        return written

    async def _add_upserts(
        self, part: BlockPart, positions: Sequence[int], old: RangeDiff | None
    ) -> tuple[int, BlockPart]:
        """Add the rows at these positions of `part`; return the bytes of their lines, and the part as it is stored."""
        sink = UpsertSink(self._binaries.store, self._binaries.store_contents)
        wanted = part.positions(positions)
        block = part.block if self._takes_arrays and isinstance(part.block, ArrayRowBlock) else None
        lines = await (part.block.upserts(wanted, sink) if block is None else block.upsert_arrays(wanted, sink))
        if len(lines) > MAX_LINE_BYTES:
            lines = _without_long_lines(lines, wanted, sink)
        count = len(positions) - len(sink.rejected)
        self._checks.check_lines(lines, count)
        self._writer.add_upserts(lines, count, arrays=block is not None)
        self._upserts += count
        for at, rejection in sink.rejected.items():
            self._reject(part.keys[at - part.start], rejection)
        return len(lines), part.without(sink.rejected, old)

    def _move_rows_to_state(self, diff: RangeDiff, until: Key | None) -> None:
        """Give to the writer all rows of the current range up to `until` (None: all), those that are gone included."""
        rows, self._rows = self._rows, RangeRows()
        positions = diff.take_gone(until)
        if not positions:
            self._writer.add_rows(rows)
            return
        self.gone.add(self._old.number, diff.old.rows, positions)
        keys, hashes = diff.rows_at(positions)
        self._writer.add_rows(rows, RangeRows(keys, bytearray(hashes)))

    async def _end_range(self) -> None:
        """Finish the current range, all rows of which have been read, and go on to the next."""
        diff = self._old.diff
        if diff is None:
            return
        if diff.unchanged:
            rows, self._rows = self._rows, RangeRows()
            self._writer.add_unchanged_range(diff.old.with_digest(rows.digest))
        else:
            self._move_rows_to_state(diff, None)
            self._writer.end_range(diff.old.until)
        self._last_until = diff.old.until
        if self._writer.full:
            await self._writer.cut(self._last_until)
        await self._next_range()

    async def _next_range(self) -> None:
        if await self._old.advance() is None and not self._state_complete:
            await self._writer.begin_phase(Phase.FULL, self._last_until)


def _content_bytes(block: RowBlock) -> int:
    return block.content_bytes() if isinstance(block, ContentBlock) else 0


def _without_long_lines(lines: bytes, positions: Sequence[int], sink: UpsertSink) -> bytes:
    """Reject the rows at these positions whose lines nobody could read, and return the others."""
    found = lines.splitlines(keepends=True)
    given = [position for position in positions if position not in sink.rejected]
    for position, line in zip(given, found, strict=False):  # how many there must be is checked afterwards
        if len(line) > MAX_LINE_BYTES:
            sink.reject(position, too_long(len(line)))
    return b"".join([line for line in found if len(line) <= MAX_LINE_BYTES])


def _ends_at(key: Key, diff: RangeDiff) -> bool:
    """Return whether no row after the one with `key` can be in the old range."""
    return order(key) >= order(diff.old.until)
