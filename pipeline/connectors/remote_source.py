"""A source that is read in a process of its own, so that two sources are read and hashed on two processors.

Reading makes millions of small Python objects, which one process does one at a time. Only a digest and a key cross over
from the other process for every block; hashes, keys and lines do when they are asked for.

The other process ends with the context that opened it, and by itself when this process is gone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import anyio
from anyio.to_thread import run_sync

from pipeline.connectors.remote_source_process import HASHES, KEYS, NEXT, OPEN, STREAMS, UPSERTS, Answer, Request, Told
from pipeline.domain.errors import TransientError
from pipeline.domain.keys import Key
from pipeline.domain.schema import StreamSchema
from pipeline.ports.source import Source, StoreBinary
from pipeline.processes.children import end_child, start_child

JOIN_SECONDS = 5.0
"""How long the other process may take to end once nobody speaks to it any more, before it is ended."""


class RemoteSource:
    """A picklable source that is read in a subprocess.

    The `store_binary` of `upserts` runs in the subprocess, so it must be picklable too: a function of a module.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def location(self) -> str:
        """The location of the source."""
        return self._source.location

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[ApartSnapshot]:
        """Start the process, and open the source there."""
        child, connection = await run_sync(start_child, "pipeline.connectors.remote_source_process")
        try:
            line = _Line(connection, self.location)
            await line.open(self._source)
            yield ApartSnapshot(line)
        finally:
            connection.close()
            with anyio.CancelScope(shield=True):
                await run_sync(end_child, child, JOIN_SECONDS)


class _Line:
    """The way to the other process: one question at a time, each with one answer."""

    def __init__(self, connection: Connection, location: str) -> None:
        self._connection = connection
        self._location = location
        self._lock = anyio.Lock()

    async def open(self, source: Source) -> None:
        """Say what is to be read, and have it opened."""
        with suppress(BrokenPipeError, ConnectionResetError):  # the first answer tells the rest
            await run_sync(self._connection.send, source)
        await self.ask(Request(OPEN))

    async def ask(self, request: Request) -> Any:
        """Return the answer; raise what was raised there."""
        async with self._lock:
            return await run_sync(self.ask_nowait, request)

    def ask_nowait(self, request: Request) -> Any:
        """Ask and block until there is an answer. Nobody else may be asking."""
        try:
            self._connection.send(request)
            answer: Answer = self._connection.recv()
        except (EOFError, OSError) as error:
            raise TransientError(
                f"{self._location}: the process that read it has ended unexpectedly. Run the command again."
            ) from error
        if answer.error is not None:
            raise answer.error
        return answer.value


class ApartSnapshot:
    """A Snapshot in another process. One stream is read at a time: to open a second waits until the first is closed."""

    def __init__(self, line: _Line) -> None:
        self._line = line
        self._reading = anyio.Lock()

    async def streams(self) -> Sequence[StreamSchema]:
        """All streams there are, ordered by name."""
        schemas: Sequence[StreamSchema] = await self._line.ask(Request(STREAMS))
        return schemas

    @asynccontextmanager
    async def open_rows(self, schema: StreamSchema) -> AsyncIterator[AsyncIterator[ApartBlock]]:
        """Open the rows of a stream. Blocks are read ahead."""
        async with self._reading, aclosing(self._blocks(schema)) as blocks:
            yield blocks

    async def _blocks(self, schema: StreamSchema) -> AsyncGenerator[ApartBlock, None]:
        number, demand = 0, _Demand()
        while told := await self._line.ask(Request(NEXT, number, schema=schema, with_hashes=demand.hashes)):
            demand = _Demand()
            yield ApartBlock(self._line, number, told, demand)
            number += 1


@dataclass(slots=True)
class _Demand:
    """Whether the hashes of the latest block were asked for: then those of the next one come along with it."""

    hashes: bool = False


class ApartBlock:
    """A RowBlock in another process, which keeps it until the one after the next is asked for.

    To ask for keys or hashes waits for the other process, the first time for as long as it takes to read one block.
    """

    def __init__(self, line: _Line, number: int, told: Told, demand: _Demand) -> None:
        self._line = line
        self._number = number
        self._told = told
        self._demand = demand

    def __len__(self) -> int:
        return self._told.rows

    def digest(self) -> bytes:
        """The digest, which came with the block."""
        return self._told.digest

    def last_key(self) -> Key:
        """The last key, which came with the block."""
        return self._told.last_key

    def keys(self) -> Sequence[Key]:
        """The keys."""
        keys: Sequence[Key] = self._line.ask_nowait(Request(KEYS, self._number))
        return keys

    def row_hashes(self) -> bytes:
        """The hashes, which came with the block if those of the one before were asked for."""
        self._demand.hashes = True
        if self._told.hashes is not None:
            return self._told.hashes
        hashes: bytes = self._line.ask_nowait(Request(HASHES, self._number))
        return hashes

    async def upserts(self, positions: Sequence[int], store_binary: StoreBinary) -> bytes:
        """The lines. `store_binary` runs in the subprocess."""
        request = Request(UPSERTS, self._number, positions=tuple(positions), store_binary=store_binary)
        lines: bytes = await self._line.ask(request)
        return lines
