"""The other process of an `RemoteSource`: reads a source, and answers what is asked about it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import anyio
from anyio.to_thread import run_sync

from pipeline.domain.errors import DefectError, PipelineError
from pipeline.domain.keys import Key
from pipeline.domain.schema import StreamSchema
from pipeline.ports.source import RowBlock, Snapshot, Source, StoreBinary
from pipeline.processes.process_setup import configure_runtime

OPEN, STREAMS, NEXT, KEYS, HASHES, UPSERTS = "open", "streams", "next", "keys", "hashes", "upserts"
BLOCKS_KEPT = 3
"""The block read ahead, the one before it, which is being compared, and the one before that, whose last key may be told."""


@dataclass(frozen=True, slots=True)
class Request:
    """A question. `block` is the number of a block of the stream in hand; block 0 begins the stream `schema`.

    `with_hashes`: the row hashes are wanted along with the block.
    """

    verb: str
    block: int = 0
    schema: StreamSchema | None = None
    positions: tuple[int, ...] = ()
    store_binary: StoreBinary | None = None
    with_hashes: bool = False


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of a block at once."""

    rows: int
    digest: bytes
    last_key: Key
    hashes: bytes | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of it: a value, or an error to be raised."""

    value: Any = None
    error: PipelineError | None = None


def main(line: int) -> None:
    """Serve what comes over the socket with this file descriptor, until its other end is closed.

    The first object received is the source.
    """
    configure_runtime()
    with Connection(line) as connection, suppress(EOFError, BrokenPipeError, ConnectionResetError):
        source: Source = connection.recv()
        anyio.run(_Server(connection, source).run)


class _Server:
    def __init__(self, connection: Connection, source: Source) -> None:
        self._connection = connection
        self._source = source
        self._snapshot: Snapshot | None = None
        self._rows: AsyncIterator[RowBlock] | None = None
        self._rows_opened = AsyncExitStack()
        self._blocks: dict[int, RowBlock | PipelineError | None] = {}

    async def run(self) -> None:
        """Open the source at the first question, then answer one after the other."""
        async with AsyncExitStack() as opened:
            while True:
                request: Request = await run_sync(self._connection.recv)
                answer = await self._answer(request, opened)
                await run_sync(self._connection.send, answer)
                if request.verb == NEXT and answer.value:
                    await self._read(request.block + 1)

    async def _answer(self, request: Request, opened: AsyncExitStack) -> Answer:
        try:
            if request.verb == OPEN:
                self._snapshot = await opened.enter_async_context(self._source.open_snapshot())
                opened.push_async_callback(self._close_rows)  # before the snapshot is
                return Answer()
            return Answer(await self._value(request))
        except PipelineError as error:
            return Answer(error=error)

    async def _value(self, request: Request) -> Any:
        if self._snapshot is None:
            raise DefectError("a source in another process was read before it was opened")
        if request.verb == STREAMS:
            return await self._snapshot.streams()
        if request.verb == NEXT:
            return await self._next(self._snapshot, request)
        block = self._block(request.block)
        if request.verb == KEYS:
            return list(block.keys())
        if request.verb == HASHES:
            return block.row_hashes()
        assert request.store_binary is not None
        return await block.upserts(request.positions, request.store_binary)

    async def _next(self, snapshot: Snapshot, request: Request) -> Told | None:
        """Tell of a block, None behind the last one."""
        if request.schema is not None and request.block == 0:
            await self._close_rows()
            self._rows = aiter(await self._rows_opened.enter_async_context(snapshot.open_rows(request.schema)))
            await self._read(0)
        if self._blocks[request.block] is None:
            return None
        block = self._block(request.block)
        hashes = block.row_hashes() if request.with_hashes else None
        return Told(len(block), block.digest(), block.last_key(), hashes)

    async def _read(self, number: int) -> None:
        """Read a block, and let go of those that nobody asks for any more. An error waits until the block is asked for."""
        if self._rows is None:
            return
        try:
            self._blocks[number] = await anext(self._rows, None)
        except PipelineError as error:
            self._blocks[number] = error
        self._blocks.pop(number - BLOCKS_KEPT, None)

    def _block(self, number: int) -> RowBlock:
        block = self._blocks.get(number)
        if isinstance(block, PipelineError):
            raise block
        if block is None:
            raise DefectError(f"block {number} of a source in another process was asked for too early or too late")
        return block

    async def _close_rows(self) -> None:
        self._rows = None
        self._blocks.clear()
        await self._rows_opened.aclose()
