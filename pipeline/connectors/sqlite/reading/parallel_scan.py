"""A parallel scan of one table: this process and a scan worker alternate over batches of known key ranges.

If the worker fails, this process scans the batch itself, from where the worker had got to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import count

import anyio
from anyio.to_thread import run_sync

from pipeline.connectors.sqlite.reading.blocks import RowForm
from pipeline.connectors.sqlite.reading.rows import TableReading, read_blocks
from pipeline.connectors.sqlite.reading.scan_worker import DifferingRows, ScannedBlock, ScanWorker
from pipeline.domain.event_file import KeyRange
from pipeline.domain.keys import Key, RawText, order
from pipeline.domain.schema import StreamSchema
from pipeline.ports.ranged_source import Known, KnownRange, UnchangedRows
from pipeline.ports.source import RowBlock, UpsertSink
from pipeline.processes.channel import Reply

BATCH_RANGES = 8
"""Ranges, of some thousand rows each, that are scanned here at a time, and at first by the worker."""
LEAST_RANGES, MOST_RANGES = 4, 16
"""Ranges that the worker scans at a time: more while it is done before they are needed."""
BATCHES_PLANNED = 4
RANGES_TO_START = 40
"""With fewer ahead, this process has scanned the table before the worker has started."""

Blocks = AsyncGenerator[RowBlock, None]
OpenReading = Callable[[KeyRange], TableReading]


@dataclass(frozen=True, slots=True)
class _Batch:
    """Rows to scan, and the worker's reply if it scans them."""

    within: KeyRange
    reply: Reply[ScannedBlock] | None = None


class ParallelScan:
    """The rows of one table, from the first key on, for one task."""

    def __init__(
        self, schema: StreamSchema, known: Known, worker: ScanWorker, open_here: OpenReading, lock: anyio.Lock
    ) -> None:
        """`open_here` opens the rows within a range of keys in this process, where each read holds `lock`."""
        self._schema = schema
        self._form = RowForm(schema)
        self._known = known
        self._worker = worker
        self._open_here = open_here
        self._lock = lock
        self._plan: deque[_Batch] = deque()
        self._planned_until: Key | None = None
        self._worker_takes_part = False
        self._worker_ranges = BATCH_RANGES

    async def blocks(self) -> AsyncGenerator[RowBlock | UnchangedRows, None]:
        """Give the blocks."""
        self._worker_takes_part = await self._is_worthwhile()
        if self._worker_takes_part:
            self._worker.start()
        while True:
            self._extend_plan()
            batch = self._plan.popleft()
            scan: AsyncGenerator[RowBlock | UnchangedRows, None] = (
                self._from_worker(batch.within, batch.reply) if batch.reply else self._from_here(batch.within)
            )
            async with aclosing(scan):
                async for block in scan:
                    yield block
            if batch.within.until is None:
                return

    async def _is_worthwhile(self) -> bool:
        """Whether there are many rows, and a batch of them is found without reading those before it."""
        ahead = self._ranges_ahead()
        if not self._worker.is_usable or len(ahead) < RANGES_TO_START:
            return False
        async with self._lock:
            return await run_sync(self._open_here(KeyRange(ahead[0].until, ahead[1].until)).is_seekable)

    def _extend_plan(self) -> None:
        """Plan as far as ranges are known and the worker is ready; at the least, one batch to scan here."""
        ahead = self._ranges_ahead()
        while self._worker_takes_part and len(self._plan) < BATCHES_PLANNED:
            is_ready = self._worker.is_ready()
            by_worker = is_ready and bool(self._plan) and self._plan[-1].reply is None
            size = self._worker_ranges if by_worker else BATCH_RANGES
            if len(ahead) < size or (self._plan and not is_ready):
                break
            ranges, ahead = ahead[:size], ahead[size:]
            within = KeyRange(self._planned_until, ranges[-1].until)
            self._add(_Batch(within, self._worker.scan(self._schema, within, ranges) if by_worker else None))
        if not self._plan:
            self._add(_Batch(KeyRange(self._planned_until, None)))

    def _add(self, batch: _Batch) -> None:
        self._plan.append(batch)
        self._planned_until = batch.within.until

    def _ranges_ahead(self) -> Sequence[KnownRange]:
        """Return the known ranges after the planned ones, up to one whose end cannot be named in a query."""
        found: list[KnownRange] = []
        planned = None if self._planned_until is None else order(self._planned_until)
        for ahead in count():
            one = self._known(ahead)
            if one is None or any(isinstance(value, RawText) for value in one.until):
                break
            if planned is None or order(one.until) > planned:
                found.append(one)
        return found

    async def _from_here(self, within: KeyRange) -> Blocks:
        async with aclosing(read_blocks(self._open_here(within), self._lock, self._known)) as rows:
            async for block in rows:
                yield block

    async def _from_worker(
        self, within: KeyRange, reply: Reply[ScannedBlock]
    ) -> AsyncGenerator[RowBlock | UnchangedRows, None]:
        """Give the blocks that the worker scans, and scan here what it does not send."""
        last, scanned_again = within.after, 0
        async with aclosing(self._worker.read(reply)) as blocks:
            async for scanned in blocks:
                here = partial(self._from_here, KeyRange(last, scanned.last_key))
                if isinstance(scanned, DifferingRows):
                    scanned_again += not scanned.rows
                    yield WorkerBlock(self._form, scanned, here)
                elif self._is_current(scanned):
                    yield scanned
                else:
                    async with aclosing(here()) as again:
                        async for block in again:
                            yield block
                last = scanned.last_key
        ranges = self._worker_ranges + (-1 if reply.kept_waiting else 2)
        self._worker_ranges = max(LEAST_RANGES, min(ranges, MOST_RANGES))
        if not self._worker.is_usable:
            async with aclosing(self._from_here(KeyRange(last, within.until))) as rest:
                async for block in rest:
                    yield block
        if not self._worker.is_usable or scanned_again > LEAST_RANGES:
            self._worker_takes_part = False

    def _is_current(self, rows: UnchangedRows) -> bool:
        """Whether the current range of the caller is still the one that the worker compared with."""
        known = self._known(0)
        return known is not None and known.digest == rows.digest


class WorkerBlock:
    """A RowBlock that the worker scanned. Rows that it did not send are read here if they are needed."""

    def __init__(self, form: RowForm, scanned: DifferingRows, read: Callable[[], Blocks]) -> None:
        self._form = form
        self._scanned = scanned
        self._read = read

    def __len__(self) -> int:
        return len(self._scanned.key_parts)

    def digest(self) -> bytes:
        """The digest."""
        return self._scanned.digest

    def last_key(self) -> Key:
        """The last key."""
        return self._scanned.last_key

    def keys(self) -> Sequence[Key]:
        """The keys."""
        return self._form.keys(self._scanned.key_parts)

    def row_hashes(self) -> bytes:
        """The hashes."""
        return self._scanned.hashes

    async def upserts(self, positions: Sequence[int], sink: UpsertSink) -> bytes:
        """The lines."""
        rows = self._scanned.rows
        if all(at in rows for at in positions):
            return self._form.lines([rows[at] for at in positions], arrays=False)
        lines, start = b"", 0
        async with aclosing(self._read()) as blocks:
            async for block in blocks:
                own = [at - start for at in positions if start <= at < start + len(block)]
                own_sink = UpsertSink(sink.store_binary)
                lines += await block.upserts(own, own_sink) if own else b""
                sink.rejected.update({start + at: rejection for at, rejection in own_sink.rejected.items()})
                start += len(block)
        return lines
