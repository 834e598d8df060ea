"""Reading a file's content while its owner may be writing to it.

What holds: an upsert's size and modification time are of one look at the open file, its digest is of the bytes that
were really read after that look, and at most as many bytes were read as the file had then. A log that only grows
therefore gives exactly what it held at that look, however busy it is. A file that was changed otherwise is read
again, `ATTEMPTS` times at most; then what was read stands, and the log event `file_changed_while_read` names it.

Such a content is never kept for good. The hash that goes with an upsert is of the look that built the block, which is
the older one; so the next Movement sees another hash and reads the file again. For this a change after the reading
must show in the status. It would not if it fell into the same tick of the file system's clock as the change before
(git calls such an entry racily clean). So a file is read only when its last change is older than `TICK_SECONDS`.
A program that writes through a memory map may have its change dated later than it is; that shows in a later Movement.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import IO

import structlog
from anyio import to_thread
from blake3 import blake3

from pipeline.connectors.files.directories import open_file
from pipeline.connectors.files.errors import GONE, translate, translated
from pipeline.connectors.files.names import shown
from pipeline.connectors.files.spool import open_spool, write_spool
from pipeline.connectors.files.tree import Entry
from pipeline.domain.errors import DamagedError, TransientError
from pipeline.domain.ids import BinaryId
from pipeline.ports.source import StoreBinary

ATTEMPTS = 3
PIECE_BYTES = 1024 * 1024
TICK_SECONDS = 0.02
"""A tick of the kernel's clock for file times is 1 to 10 ms; this leaves room."""
COARSE_TICK_SECONDS = 1.0
"""Where times are whole seconds, the file system keeps no more of them (ext4 with small inodes)."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Content:
    """What an upsert says of a file's content, and the look at the file that it belongs to."""

    binary: BinaryId
    size: int
    status: os.stat_result


async def store_content(root_fd: int, entry: Entry, store_binary: StoreBinary) -> Content:
    """Store the content of the file `entry`; a small one in a single visit to a thread and one reading.

    TransientError when there is no such file any more, RefusedError when it may not be read.
    """
    reading = await to_thread.run_sync(_Reading.begin, root_fd, entry)
    try:
        if reading.data is not None:
            return await _store_small(reading, reading.data, store_binary)
        return await _store_large(reading, store_binary)
    finally:
        reading.close()


async def digest_content(root_fd: int, entry: Entry) -> str | None:
    """Return the BLAKE3 digest of the file's present content, or None when there is no such file any more."""
    digest = blake3()
    try:
        reading = await to_thread.run_sync(_Reading.begin, root_fd, entry)
    except TransientError:
        return None
    try:
        async with reading.open_body() as pieces:
            async for piece in pieces:
                await to_thread.run_sync(digest.update, piece)
    finally:
        reading.close()
    return digest.hexdigest()


def settle(status: os.stat_result) -> None:
    """Wait until the last change that `status` tells of is older than a tick of the file system's clock.

    This waits for the kernel's clock in a thread, not for the program's, which a test may turn. A change dated in the
    future (the clock of a file server) is waited for as one of this moment.
    """
    tick = COARSE_TICK_SECONDS if status.st_ctime_ns % 1_000_000_000 == 0 else TICK_SECONDS
    age = time.time() - status.st_ctime_ns / 1e9
    if age < tick:
        time.sleep(min(tick, tick - age))


class _Reading:
    """One file, open; `data` is its content when that is small enough to hold."""

    def __init__(self, fd: int, path: bytes) -> None:
        self._fd = fd
        self.path = path
        self.before = os.fstat(fd)
        self.read_bytes = 0
        self.data: bytes | None = None

    @classmethod
    def begin(cls, root_fd: int, entry: Entry) -> _Reading:
        settle(entry.status)
        what = f"the file {shown(entry.path)!r}"
        try:
            fd = open_file(root_fd, entry.path)
        except OSError as error:
            if error.errno in GONE:
                raise _changed(entry.path) from error
            raise translate(error, what) from error
        reading = cls(fd, entry.path)
        try:
            with translated(what):
                reading._read_if_small()
        except BaseException:
            reading.close()
            raise
        return reading

    def close(self) -> None:
        os.close(self._fd)

    def _read_if_small(self) -> None:
        if not stat.S_ISREG(self.before.st_mode):
            raise _changed(self.path)
        if self.before.st_size > PIECE_BYTES:
            return
        for attempt in range(ATTEMPTS):
            if attempt:
                self.look_again()
            self.data = self._piece(0)
            if self.is_steady():
                return
        _tell_changed(self.path)

    def look_again(self) -> None:
        """Begin anew: the file as it is now, once its last change is old enough."""
        settle(os.fstat(self._fd))
        self.before = os.fstat(self._fd)

    def is_steady(self) -> bool:
        """Whether nothing but growth happened to the file since it was looked at."""
        after = os.fstat(self._fd)
        before = self.before
        return after.st_size > before.st_size or (after.st_size, after.st_mtime_ns, after.st_ctime_ns) == (
            before.st_size,
            before.st_mtime_ns,
            before.st_ctime_ns,
        )

    def _piece(self, start: int) -> bytes:
        """The next bytes from `start`; none at the end of the file as it was looked at, or as it is now."""
        wanted = min(PIECE_BYTES, self.before.st_size - start)
        pieces = []
        while wanted > 0 and (data := os.pread(self._fd, wanted, start)):
            pieces.append(data)
            start += len(data)
            wanted -= len(data)
        return b"".join(pieces)

    @asynccontextmanager
    async def open_body(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the content from its start; `read_bytes` counts what this opening has given."""
        yield self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        self.read_bytes = 0
        with translated(f"the file {shown(self.path)!r}"):
            while piece := await to_thread.run_sync(self._piece, self.read_bytes):
                self.read_bytes += len(piece)
                yield piece

    def copy_to(self, spool: IO[bytes]) -> int:
        """Write the content to `spool`, reading it once; return its size in bytes."""
        size = 0
        with translated(f"the file {shown(self.path)!r}"):
            while piece := self._piece(size):
                write_spool(spool, piece)
                size += len(piece)
        return size


async def _store_small(reading: _Reading, data: bytes, store_binary: StoreBinary) -> Content:
    @asynccontextmanager
    async def open_body() -> AsyncIterator[AsyncIterator[bytes]]:
        yield pieces()

    async def pieces() -> AsyncIterator[bytes]:
        if data:
            yield data

    return Content(await store_binary(open_body), len(data), reading.before)


async def _store_large(reading: _Reading, store_binary: StoreBinary) -> Content:
    """Store a content by reading it twice; one that is never twice the same, from a private copy."""
    for _ in range(ATTEMPTS - 1):
        try:
            binary = await store_binary(reading.open_body)
        except DamagedError:
            if await to_thread.run_sync(reading.is_steady):
                raise
        else:
            if await to_thread.run_sync(reading.is_steady):
                return Content(binary, reading.read_bytes, reading.before)
        await to_thread.run_sync(reading.look_again)
    _tell_changed(reading.path)
    return await _store_copy(reading, store_binary)


async def _store_copy(reading: _Reading, store_binary: StoreBinary) -> Content:
    with open_spool() as copy:
        size = await to_thread.run_sync(reading.copy_to, copy)

        @asynccontextmanager
        async def open_body() -> AsyncIterator[AsyncIterator[bytes]]:
            yield pieces()

        async def pieces() -> AsyncIterator[bytes]:
            position = 0
            while piece := await to_thread.run_sync(os.pread, copy.fileno(), PIECE_BYTES, position):
                position += len(piece)
                yield piece

        return Content(await store_binary(open_body), size, reading.before)


def _tell_changed(path: bytes) -> None:
    _log.warning("file_changed_while_read", path=shown(path), attempts=ATTEMPTS)


def _changed(path: bytes) -> TransientError:
    return TransientError(f"the file {shown(path)!r} changed while being read: run the command again")
