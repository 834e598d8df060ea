"""A table that is read by two: a stretch of known ranges here, the next one by the second reader, and so on.

Of most blocks the second reader tells only that they are as they are known to be. Whatever goes wrong over there, the
stretch is read here from where it had got to.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count

import structlog

from pipeline.connectors.sqlite.reading.blocks import RowForm
from pipeline.connectors.sqlite.reading.rows import SqliteRows
from pipeline.connectors.sqlite.reading.scan_worker import ScanWorker, ScanWorkerGoneError
from pipeline.connectors.sqlite.reading.scan_worker_process import Changed, Differing, Stretch
from pipeline.domain.event_file import KeyRange
from pipeline.domain.keys import Key, RawText, order
from pipeline.domain.schema import StreamSchema
from pipeline.ports.ranged_source import Known, KnownRange, UnchangedRows
from pipeline.ports.source import RowBlock, StoreBinary

STRETCH_RANGES = 8
"""Ranges of some thousand rows that are read here at a time."""
LEAST_RANGES, MOST_RANGES = 4, 16
"""Ranges that the second reader reads at a time: more as long as it is done before they are asked for."""
STRETCHES_PLANNED = 4
RANGES_TO_START = 40
"""With fewer ahead the table is read before the second reader has started."""

_log = structlog.get_logger()

OpenWithin = Callable[[KeyRange], SqliteRows]


@dataclass(frozen=True, slots=True)
class _Planned:
    """Rows that come next, and who reads them."""

    covers: KeyRange
    by_second: bool


class ParallelScan:
    """The rows of one table, from the first key on, for one task."""

    def __init__(self, schema: StreamSchema, known: Known, second: ScanWorker, open_here: OpenWithin) -> None:
        """`open_here` opens the rows within a range of keys here."""
        self._schema = schema
        self._form = RowForm(schema)
        self._known = known
        self._second = second
        self._open_here = open_here
        self._plan: deque[_Planned] = deque()
        self._planned_until: Key | None = None
        self._takes_turns = False
        self._share = STRETCH_RANGES
        self._end_is_told = False

    async def blocks(self) -> AsyncGenerator[RowBlock | UnchangedRows, None]:
        """Give the blocks."""
        self._takes_turns = await self._is_worthwhile()
        if self._takes_turns:
            self._second.start()
        while True:
            self._extend_plan()
            planned = self._plan.popleft()
            read = self._from_second if planned.by_second else self._from_here
            async with aclosing(read(planned.covers)) as blocks:
                async for block in blocks:
                    yield block
            if planned.covers.until is None:
                return

    async def _is_worthwhile(self) -> bool:
        """Whether there are many rows, and a stretch of them can be found without a look at those before it."""
        ahead = self._ranges_ahead()
        if self._second.is_gone or len(ahead) < RANGES_TO_START:
            return False
        stretch = self._open_here(KeyRange(ahead[0].until, ahead[1].until))
        async with aclosing(stretch):
            return await stretch.is_quick_to_begin()

    def _extend_plan(self) -> None:
        """Plan as far as ranges are known and the second reader is there; at the least, a stretch to be read here."""
        ahead = self._ranges_ahead()
        while self._takes_turns and len(self._plan) < STRETCHES_PLANNED:
            ready = self._second.is_ready()
            by_second = ready and bool(self._plan) and not self._plan[-1].by_second
            size = self._share if by_second else STRETCH_RANGES
            if len(ahead) < size or (self._plan and not ready):
                break
            ranges, ahead = ahead[:size], ahead[size:]
            covers = KeyRange(self._planned_until, ranges[-1].until)
            if by_second:
                self._second.ask(Stretch(self._schema, covers, tuple(ranges)))
            self._add(covers, by_second=by_second)
            self._takes_turns = not self._second.is_gone
        if not self._plan:
            self._add(KeyRange(self._planned_until, None), by_second=False)

    def _add(self, covers: KeyRange, *, by_second: bool) -> None:
        self._plan.append(_Planned(covers, by_second))
        self._planned_until = covers.until

    def _ranges_ahead(self) -> Sequence[KnownRange]:
        """Return the known ranges behind what is planned, up to one whose end cannot be named in a query."""
        found: list[KnownRange] = []
        planned = None if self._planned_until is None else order(self._planned_until)
        for ahead in count():
            one = self._known(ahead)
            if one is None or any(isinstance(value, RawText) for value in one.until):
                return found
            if planned is None or order(one.until) > planned:
                found.append(one)
        raise AssertionError

    async def _from_here(self, covers: KeyRange) -> AsyncGenerator[RowBlock, None]:
        async with aclosing(self._open_here(covers)) as rows:
            async for block in rows:
                yield block

    async def _from_second(self, covers: KeyRange) -> AsyncGenerator[RowBlock | UnchangedRows, None]:
        """Give the blocks that the second reader tells of. What it does not tell is read here."""
        last, in_vain = covers.after, 0
        try:
            async with aclosing(self._second.told()) as blocks:
                async for told in blocks:
                    block = self._block(told, last)
                    if block is not None:
                        yield block
                    else:
                        in_vain += 1
                        async with aclosing(self._from_here(KeyRange(last, told.last_key))) as again:
                            async for block in again:
                                yield block
                    last = told.last_key
        except ScanWorkerGoneError as error:
            if not self._end_is_told:
                _log.warning("second_reader_gone", table=self._schema.stream, reason=str(error))
            self._end_is_told = True
            async with aclosing(self._from_here(KeyRange(last, covers.until))) as rest:
                async for block in rest:
                    yield block
        self._share += -1 if self._second.has_kept_waiting else 2
        self._share = max(LEAST_RANGES, min(self._share, MOST_RANGES))
        if self._second.is_gone or in_vain > LEAST_RANGES:
            self._takes_turns = False

    def _block(self, told: UnchangedRows | Differing | Changed, last: Key | None) -> RowBlock | UnchangedRows | None:
        """Return a block that was told of; None where it is to be read here.

        That is one with many changes, and one that was taken for known and is not as things stand by now.
        """
        if isinstance(told, Changed):
            return None
        if isinstance(told, Differing):
            return ScannedBlock(self._form, told, lambda: self._from_here(KeyRange(last, told.last_key)))
        known = self._known(0)
        return told if known is not None and known.digest == told.digest else None


class ScannedBlock:
    """Rows of which the second reader has told. Those that are known have not come along, and are read if need be."""

    def __init__(self, form: RowForm, told: Differing, read: Callable[[], AsyncGenerator[RowBlock, None]]) -> None:
        self._form = form
        self._told = told
        self._read = read

    def __len__(self) -> int:
        return len(self._told.key_parts)

    def digest(self) -> bytes:
        """The digest."""
        return self._told.digest

    def last_key(self) -> Key:
        """The last key."""
        return self._told.last_key

    def keys(self) -> Sequence[Key]:
        """The keys."""
        return self._form.keys(self._told.key_parts)

    def row_hashes(self) -> bytes:
        """The hashes."""
        return self._told.hashes

    async def upserts(self, positions: Sequence[int], store_binary: StoreBinary) -> bytes:
        """The lines."""
        rows = self._told.rows
        if all(at in rows for at in positions):
            return self._form.lines([rows[at] for at in positions])
        lines, start = b"", 0
        async with aclosing(self._read()) as blocks:
            async for block in blocks:
                own = [at - start for at in positions if start <= at < start + len(block)]
                lines += await block.upserts(own, store_binary) if own else b""
                start += len(block)
        return lines
