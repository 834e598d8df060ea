"""The rows of one table as blocks, in key order: read ahead by several connections, handed out in order.

Each range of the key (ranges.py) is one COPY on one connection. Only a few blocks wait to be taken: a connection that
is ahead stops reading, and the server waits.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from anyio.to_thread import run_sync

from pipeline.connectors.postgres.reading.blocks import BlockBuilder, PostgresRowBlock, RowFormat
from pipeline.connectors.postgres.reading.connections import SnapshotConnections
from pipeline.connectors.postgres.reading.copy_out import CopyOut, StoppedError
from pipeline.connectors.postgres.reading.ranges import ReadPlan
from pipeline.connectors.postgres.reading.selects import TableSelect
from pipeline.connectors.postgres.session.errors import table_errors
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.keys import Key

BLOCK_ROWS = 8000
BLOCK_BYTES = 4 * 1024 * 1024
"""A block ends when it has reached one of the two."""
READ_ROWS = 500
READ_BYTES = 64 * 1024
"""The most that is read before it is hashed: it is still in the processor's cache then."""


@dataclass(frozen=True, slots=True)
class _Range:
    """A range of the key: the condition for its rows, and the channel for its blocks."""

    condition: str
    send: MemoryObjectSendStream[PostgresRowBlock]
    receive: MemoryObjectReceiveStream[PostgresRowBlock]


@asynccontextmanager
async def open_table(
    select: TableSelect, plan: ReadPlan, connections: SnapshotConnections, too_large: Mapping[Key, int]
) -> AsyncIterator[AsyncIterator[PostgresRowBlock]]:
    """Open the rows of a table as `plan` says. Those that are `too_large`, by key with their bytes, are rejected."""
    channel, row_format = anyio.create_memory_object_stream[PostgresRowBlock], RowFormat(select, too_large)
    ranges = [_Range(condition, *channel(plan.blocks_ahead)) for condition in plan.conditions]
    untaken = iter(ranges)
    with ExitStack() as stack, unwrap_exception_group():
        for one in ranges:
            stack.enter_context(one.send)
            stack.enter_context(one.receive)
        async with anyio.create_task_group() as tasks:
            copies: list[CopyOut] = []
            try:
                for _ in range(plan.readers):
                    connection = await connections.take()
                    stack.callback(connections.give_back, connection)
                    copies.append(CopyOut(connection))
                for copy in copies:
                    tasks.start_soon(_read_ranges, select, row_format, untaken, copy, name=f"read {select.place}")
                async with aclosing(_in_order(ranges)) as blocks:
                    yield blocks
            finally:
                for copy in copies:
                    copy.stop()
                tasks.cancel_scope.cancel()


async def _in_order(ranges: Sequence[_Range]) -> AsyncGenerator[PostgresRowBlock, None]:
    for one in ranges:
        async for block in one.receive:
            yield block


async def _read_ranges(select: TableSelect, row_format: RowFormat, untaken: Iterator[_Range], copy: CopyOut) -> None:
    """Read one range after the other, of those that no other reader has taken."""
    with suppress(StoppedError):
        for one in untaken:
            with one.send:
                block = await run_sync(_first_block, select, row_format, copy, one.condition)
                while block is not None:
                    await one.send.send(block)
                    block = None if copy.at_end else await run_sync(_next_block, select, row_format, copy)


def _first_block(select: TableSelect, row_format: RowFormat, copy: CopyOut, condition: str) -> PostgresRowBlock | None:
    with table_errors(select.place):
        copy.start(select.copy(condition))
    return _next_block(select, row_format, copy)


def _next_block(select: TableSelect, row_format: RowFormat, copy: CopyOut) -> PostgresRowBlock | None:
    block = BlockBuilder(row_format)
    with table_errors(select.place):
        while block.count < BLOCK_ROWS and block.bytes < BLOCK_BYTES and (rows := copy.read(READ_ROWS, READ_BYTES)):
            block.add(rows)
    return block.block()
