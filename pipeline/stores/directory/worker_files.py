"""Reads and writes files in worker threads: aiofiles, on asyncio and trio.

aiofiles passes each operation to its loop's `run_in_executor`. Here that is anyio's `run_sync`, so aiofiles runs on trio,
too, and a cancelled caller waits for its thread: no thread uses a file descriptor that is being closed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import anyio.to_thread

from pipeline.stores.directory.errors import translated

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from aiofiles.threadpool.binary import AsyncFileIO

T = TypeVar("T")


class _WorkerThreads:
    async def run_in_executor(self, executor: None, function: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(function)


WORKER_THREADS = cast("AbstractEventLoop", _WorkerThreads())
"""Stands in for an event loop: it has the one method that aiofiles uses."""


def in_worker_threads(file: FileIO) -> AsyncFileIO:
    """Return `file` with awaitable methods that run in worker threads."""
    import aiofiles.threadpool  # most Movements read and write small files alone

    return cast("AsyncFileIO", aiofiles.threadpool.wrap(file, loop=WORKER_THREADS))


class FilePieces:
    """A file from some position on, in pieces. Of a file that ends within the first one, that is all there is to read."""

    def __init__(self, first: bytes, rest: AsyncFileIO | None, place: Path, piece_bytes: int) -> None:
        self._first = first
        self._rest = rest
        self._place = place
        self._piece_bytes = piece_bytes

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece, self._first = self._first, b""
        if not piece and self._rest is not None:
            with translated("read", self._place):
                piece = await self._rest.read(self._piece_bytes)
        if not piece:
            raise StopAsyncIteration
        return piece

    async def close(self) -> None:
        """Close the file."""
        if self._rest is not None:
            await self._rest.close()


async def open_at(path: Path, start: int, piece_bytes: int) -> FilePieces:
    """Open `path` for reading from `start` on. The caller closes it.

    The first piece is read in the thread that opens the file: a Movement reads several small files a table.
    """

    def open_and_read() -> tuple[bytes, FileIO | None]:
        file = FileIO(path)
        try:
            file.seek(start)
            first = file.read(piece_bytes)
            while len(first) < piece_bytes:
                more = file.read(piece_bytes - len(first))
                if not more:
                    file.close()
                    return first, None
                first += more
        except BaseException:
            file.close()
            raise
        return first, file

    first, rest = await anyio.to_thread.run_sync(open_and_read)
    return FilePieces(first, None if rest is None else in_worker_threads(rest), path, piece_bytes)
