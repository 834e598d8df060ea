"""Reading the blocks of an Event File ahead: the next are fetched and decompressed while one is loaded."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from pipeline.domain.errors import PipelineError
from pipeline.domain.exception_groups import unwrap_exception_group

READ_AHEAD_BLOCKS = 4
"""Blocks of one or two megabytes that may wait to be loaded."""


@asynccontextmanager
async def read_ahead(blocks: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    """Give the blocks of `blocks`, which a task of its own reads. Its errors are raised where the blocks are consumed."""
    send, receive = anyio.create_memory_object_stream[bytes | PipelineError](READ_AHEAD_BLOCKS)
    with unwrap_exception_group():
        async with anyio.create_task_group() as group, receive:
            group.start_soon(_pump, blocks, send, name="read ahead")
            async with aclosing(_unpacked(receive)) as unpacked:
                yield unpacked
            group.cancel_scope.cancel()


async def _pump(blocks: AsyncIterator[bytes], sink: MemoryObjectSendStream[bytes | PipelineError]) -> None:
    async with sink:
        with suppress(anyio.BrokenResourceError):  # the consumer has stopped reading
            try:
                async for block in blocks:
                    await sink.send(block)
            except PipelineError as error:
                await sink.send(error)


async def _unpacked(received: MemoryObjectReceiveStream[bytes | PipelineError]) -> AsyncGenerator[bytes, None]:
    async for block in received:
        if isinstance(block, PipelineError):
            raise block
        yield block
