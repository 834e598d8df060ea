"""Reads and writes files in worker threads: aiofiles, on asyncio and trio.

aiofiles passes each operation to its loop's `run_in_executor`. Here that is anyio's `run_sync`, so aiofiles runs on trio,
too, and a cancelled caller waits for its thread: no thread uses a file descriptor that is being closed.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Callable
from io import FileIO
from pathlib import Path
from typing import TypeVar, cast

import aiofiles.threadpool
import anyio.to_thread
from aiofiles.threadpool.binary import AsyncFileIO

from pipeline.stores.directory.errors import translated

T = TypeVar("T")


class _WorkerThreads:
    async def run_in_executor(self, executor: None, function: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(function)


WORKER_THREADS = cast(AbstractEventLoop, _WorkerThreads())
"""Stands in for an event loop: it has the one method that aiofiles uses."""


def in_worker_threads(file: FileIO) -> AsyncFileIO:
    """Return `file` with awaitable methods that run in worker threads."""
    return cast(AsyncFileIO, aiofiles.threadpool.wrap(file, loop=WORKER_THREADS))


class FilePieces:
    """The rest of an open file, in pieces."""

    def __init__(self, file: AsyncFileIO, place: Path, piece_bytes: int) -> None:
        self._file = file
        self._place = place
        self._piece_bytes = piece_bytes

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        with translated("read", self._place):
            piece = await self._file.read(self._piece_bytes)
        if not piece:
            raise StopAsyncIteration
        return piece


async def open_at(path: Path, start: int) -> AsyncFileIO:
    """Open `path` for reading from `start` on. The caller closes it."""

    def open_and_seek() -> FileIO:
        file = FileIO(path)
        file.seek(start)
        return file

    return in_worker_threads(await anyio.to_thread.run_sync(open_and_seek))
