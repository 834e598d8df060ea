"""The rows of one table as blocks, in key order: read ahead by several connections, handed out in order.

Each range of the key (ranges.py) is one COPY on one connection. A few blocks wait for whoever takes them, no more: a
connection that is ahead stops reading, and the server waits with it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from anyio.to_thread import run_sync

from pipeline.connectors.postgres.blocks import Demand, FetchLines, PostgresRowBlock
from pipeline.connectors.postgres.connection import Connection
from pipeline.connectors.postgres.copying import CopyOut, StoppedError
from pipeline.connectors.postgres.decoding import RowReading, decode_located, decode_with_lines, hash_seed, key_reader
from pipeline.connectors.postgres.errors import translated
from pipeline.connectors.postgres.ranges import ReadPlan
from pipeline.connectors.postgres.selects import TableSelect
from pipeline.domain.one_error import one_error

BLOCK_ROWS = 8000
BLOCK_BYTES = 4 * 1024 * 1024
"""A block ends with the row that reaches one of the two."""


@dataclass(frozen=True, slots=True)
class _Range:
    """A range of the key: the condition for its rows, and the way from who reads it to who takes it."""

    condition: str
    send: MemoryObjectSendStream[PostgresRowBlock]
    receive: MemoryObjectReceiveStream[PostgresRowBlock]


@dataclass(slots=True)
class _Reading:
    """What the readers of a table share. `place` names the table in messages."""

    select: TableSelect
    place: str
    fetch_lines: FetchLines
    ranges: Sequence[_Range]
    untaken: Iterator[_Range]
    demand: Demand = field(default_factory=Demand)

    def with_lines(self) -> bool:
        """Whether the next range is best read with its lines at once."""
        return not self.select.can_locate or (len(self.ranges) > 1 and self.demand.is_high)


@asynccontextmanager
async def open_table(
    select: TableSelect,
    plan: ReadPlan,
    connect: Callable[[], Connection],
    fetch_lines: FetchLines,
    *,
    place: str,
) -> AsyncIterator[AsyncIterator[PostgresRowBlock]]:
    """Open the rows of a table as `plan` says, with connections of their own."""
    ranges = [_Range(condition, *_new_stream(plan.blocks_ahead)) for condition in plan.conditions]
    reading = _Reading(select, place, fetch_lines, ranges, iter(ranges))
    with ExitStack() as stack, one_error():
        for one in ranges:
            stack.enter_context(one.send)
            stack.enter_context(one.receive)
        async with anyio.create_task_group() as tasks:
            copies: list[CopyOut] = []
            try:
                for _ in range(plan.readers):
                    connection = await run_sync(connect)
                    stack.callback(connection.close)
                    copies.append(CopyOut(connection))
                for copy in copies:
                    tasks.start_soon(_read_ranges, reading, copy, name=f"read {place}")
                async with aclosing(_in_order(ranges)) as blocks:
                    yield blocks
            finally:
                for copy in copies:
                    copy.stop()
                tasks.cancel_scope.cancel()


def _new_stream(
    blocks: int,
) -> tuple[MemoryObjectSendStream[PostgresRowBlock], MemoryObjectReceiveStream[PostgresRowBlock]]:
    return anyio.create_memory_object_stream[PostgresRowBlock](blocks)


async def _in_order(ranges: Sequence[_Range]) -> AsyncGenerator[PostgresRowBlock, None]:
    for one in ranges:
        async for block in one.receive:
            yield block


async def _read_ranges(reading: _Reading, copy: CopyOut) -> None:
    """Read one range after the other, of those that no other reader has taken."""
    with suppress(StoppedError):
        for one in reading.untaken:
            with one.send:
                blocks = _RangeReader(reading, copy, reading.with_lines())
                await run_sync(blocks.start, one.condition)
                while (block := await run_sync(blocks.next_block)) is not None:
                    await one.send.send(block)


class _RangeReader:
    """Makes blocks of the rows of one range. Its methods run in worker threads, one after the other."""

    def __init__(self, reading: _Reading, copy: CopyOut, with_lines: bool) -> None:
        self._reading, self._copy, self._with_lines = reading, copy, with_lines
        self._how = RowReading(reading.place, hash_seed(reading.select.table), key_reader(reading.select.key_terms))

    def start(self, condition: str) -> None:
        with translated(self._reading.place):
            self._copy.start(self._reading.select.rows(condition, with_lines=self._with_lines))

    def next_block(self) -> PostgresRowBlock | None:
        with translated(self._reading.place):
            rows = self._copy.read(BLOCK_ROWS, BLOCK_BYTES)
        return self._block(rows) if rows else None

    def _block(self, rows: list[memoryview]) -> PostgresRowBlock:
        demand = self._reading.demand
        if self._with_lines:
            decoded, lines = decode_with_lines(rows, self._how)
            return PostgresRowBlock(decoded, demand, lines=lines)
        return PostgresRowBlock(
            decode_located(rows, self._how), demand, rows=rows, fetch_lines=self._reading.fetch_lines
        )
