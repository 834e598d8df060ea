"""The rows of one table as blocks, in key order: read ahead by several connections, handed out in order.

Each range of the key (ranges.py) is one COPY on one connection. A few blocks wait for whoever takes them, no more: a
connection that is ahead stops reading, and the server waits with it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from anyio.to_thread import run_sync

from pipeline.connectors.postgres.reading.blocks import BlockBuilder, PostgresRowBlock, RowReading, row_reading
from pipeline.connectors.postgres.reading.copy_out import CopyOut, StoppedError
from pipeline.connectors.postgres.reading.ranges import ReadPlan
from pipeline.connectors.postgres.reading.selects import TableSelect
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.postgres.session.errors import translated
from pipeline.domain.exception_groups import unwrap_exception_group

BLOCK_ROWS = 8000
BLOCK_BYTES = 4 * 1024 * 1024
"""A block ends when it has reached one of the two."""
READ_ROWS = 500
READ_BYTES = 64 * 1024
"""So much is taken from the connection at a time, and looked at: it is at the processor's hand then."""


@dataclass(frozen=True, slots=True)
class _Range:
    """A range of the key: the condition for its rows, and the way from who reads it to who takes it."""

    condition: str
    send: MemoryObjectSendStream[PostgresRowBlock]
    receive: MemoryObjectReceiveStream[PostgresRowBlock]


@dataclass(frozen=True, slots=True)
class _Reading:
    """What the readers of a table share. `place` names the table in messages."""

    select: TableSelect
    place: str
    how: RowReading
    untaken: Iterator[_Range]


@asynccontextmanager
async def open_table(
    select: TableSelect,
    plan: ReadPlan,
    connect: Callable[[], Connection],
    *,
    place: str,
) -> AsyncIterator[AsyncIterator[PostgresRowBlock]]:
    """Open the rows of a table as `plan` says, with connections of their own."""
    ranges = [_Range(condition, *_new_stream(plan.blocks_ahead)) for condition in plan.conditions]
    reading = _Reading(select, place, row_reading(select, place), iter(ranges))
    with ExitStack() as stack, unwrap_exception_group():
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
                await run_sync(_start, reading, copy, one.condition)
                while (block := await run_sync(_next_block, reading, copy)) is not None:
                    await one.send.send(block)


def _start(reading: _Reading, copy: CopyOut, condition: str) -> None:
    with translated(reading.place):
        copy.start(reading.select.copy(condition))


def _next_block(reading: _Reading, copy: CopyOut) -> PostgresRowBlock | None:
    block = BlockBuilder(reading.how)
    with translated(reading.place):
        while block.count < BLOCK_ROWS and block.bytes < BLOCK_BYTES and (rows := copy.read(READ_ROWS, READ_BYTES)):
            block.add(rows)
    return block.block()
