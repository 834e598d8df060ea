"""Reading the content of a file that its owner may be writing.

An upsert's size and modification time come from one status of the open file, its digest from the bytes read after that,
at most as many as the file had then. A log that only grows therefore gives exactly what it held at that moment. A file
that changed in another way is read again, at most `ATTEMPTS` times; then the last reading stands, and is logged.

The next Movement corrects such a content: a row's hash is of the older status with which its block was built, so the next
Movement sees another hash. For that, a change after the reading must show in the status. It does not in the same tick of
the file system's clock as the change before it (git calls such an entry racily clean), so a file is read only when its
last change is older than `TICK_SECONDS`. Writes through a memory map may be dated later; they show in a later Movement.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile, gettempdir

from anyio import to_thread
from blake3 import blake3

from pipeline.connectors.files.attributes import Attributes, read_attributes
from pipeline.connectors.files.directories import open_file
from pipeline.connectors.files.errors import UnreadableEntryError, entry_errors
from pipeline.connectors.files.names import shown
from pipeline.connectors.files.tree import Entry
from pipeline.domain.errors import DamagedError
from pipeline.domain.ids import BinaryId
from pipeline.log_events import log
from pipeline.ports.source import StoreBinary

ATTEMPTS = 3
PIECE_BYTES = 1024 * 1024
TICK_SECONDS = 0.02
"""A tick of the kernel's clock for file times is 1 to 10 ms; this leaves a margin."""
COARSE_TICK_SECONDS = 1.0
"""The tick of a file system that keeps times in whole seconds (ext4 with small inodes)."""


@dataclass(frozen=True, slots=True)
class Content:
    """A stored content, and what else belongs to it: the file's status, attributes, and permission bits for a copy."""

    binary: BinaryId
    size: int
    status: os.stat_result
    attributes: Attributes
    mode: int


async def store_content(root_fd: int, entry: Entry, store_binary: StoreBinary) -> Content:
    """Store the content of the file `entry`. A small file takes one thread call and one reading.

    UnreadableEntryError when the file is gone or may not be read.
    """
    reading = await to_thread.run_sync(_Reading.begin, root_fd, entry)
    try:
        if reading.data is not None:
            return await _store_small(reading, reading.data, store_binary)
        return await _store_large(reading, store_binary)
    finally:
        reading.close()


async def digest_content(root_fd: int, entry: Entry) -> tuple[str, int] | None:
    """Return the BLAKE3 digest of the file's current content and the permission bits for a copy, None if it is unreadable."""
    digest = blake3()
    try:
        reading = await to_thread.run_sync(_Reading.begin, root_fd, entry)
    except UnreadableEntryError:
        return None
    try:
        async with reading.open_body() as pieces:
            async for piece in pieces:
                await to_thread.run_sync(digest.update, piece)
    finally:
        reading.close()
    return digest.hexdigest(), reading.mode


def settle(status: os.stat_result) -> None:
    """Wait until the last change in `status` is older than a tick of the file system's clock.

    This waits in a thread, by the kernel's clock and not by the program's, which a test may replace. A change dated in
    the future (by the clock of a file server) counts as one of this moment.
    """
    tick = COARSE_TICK_SECONDS if status.st_ctime_ns % 1_000_000_000 == 0 else TICK_SECONDS
    age = time.time() - status.st_ctime_ns / 1e9
    if age < tick:
        time.sleep(min(tick, tick - age))


class _Reading:
    """One open file. `data` is its content when that is small enough to hold, `before` its status before reading."""

    def __init__(self, fd: int, path: bytes) -> None:
        self._fd = fd
        self.path = path
        self.read_bytes = 0
        self.data: bytes | None = None
        self._examine()

    def _examine(self) -> None:
        self.before = os.fstat(self._fd)
        self.mode, self.attributes = read_attributes(self._fd, self.before)

    @classmethod
    def begin(cls, root_fd: int, entry: Entry) -> _Reading:
        settle(entry.status)
        with entry_errors(f"the file {shown(entry.path)!r}"):
            fd = open_file(root_fd, entry.path)
        reading = cls(fd, entry.path)
        try:
            reading._read_if_small()
        except BaseException:
            reading.close()
            raise
        return reading

    def close(self) -> None:
        os.close(self._fd)

    def _read_if_small(self) -> None:
        if not stat.S_ISREG(self.before.st_mode):
            raise UnreadableEntryError(
                f"the file {shown(self.path)!r}: it changed while the pipeline was working: run the command again"
            )
        if self.before.st_size > PIECE_BYTES:
            return
        for attempt in range(ATTEMPTS):
            if attempt:
                self.restart()
            self.data = self.piece(0)
            if self.is_steady():
                return
        _warn_changed(self.path)

    def restart(self) -> None:
        """Take the status again, once the last change of the file is old enough."""
        settle(os.fstat(self._fd))
        self._examine()

    def content(self, binary: BinaryId, size: int) -> Content:
        """Return the content that was read, stored as `binary`."""
        return Content(binary, size, self.before, self.attributes, self.mode)

    def is_steady(self) -> bool:
        """Whether the file has at most grown since its status was taken."""
        after, before = os.fstat(self._fd), self.before
        return after.st_size > before.st_size or (after.st_size, after.st_mtime_ns, after.st_ctime_ns) == (
            before.st_size,
            before.st_mtime_ns,
            before.st_ctime_ns,
        )

    def piece(self, start: int) -> bytes:
        """Return the next bytes from `start`; empty at the end that the file had in `before`, or has now."""
        position, end = start, min(start + PIECE_BYTES, self.before.st_size)
        pieces = []
        with entry_errors(f"the file {shown(self.path)!r}"):
            while position < end and (data := os.pread(self._fd, end - position, position)):
                pieces.append(data)
                position += len(data)
        self.read_bytes = position
        return b"".join(pieces)

    @asynccontextmanager
    async def open_body(self) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open the content from its start. At the end `read_bytes` is its size."""
        yield _pieces(self.piece)


async def _pieces(read: Callable[[int], bytes]) -> AsyncIterator[bytes]:
    position = 0
    while piece := await to_thread.run_sync(read, position):
        position += len(piece)
        yield piece


async def _store_small(reading: _Reading, data: bytes, store_binary: StoreBinary) -> Content:
    @asynccontextmanager
    async def open_body() -> AsyncIterator[AsyncIterator[bytes]]:
        yield pieces()

    async def pieces() -> AsyncIterator[bytes]:
        if data:
            yield data

    return reading.content(await store_binary(open_body), len(data))


async def _store_large(reading: _Reading, store_binary: StoreBinary) -> Content:
    """Store a content by reading it twice; one that is never the same twice, from a private copy."""
    for _ in range(ATTEMPTS - 1):
        try:
            binary = await store_binary(reading.open_body)
        except DamagedError:
            if await to_thread.run_sync(reading.is_steady):
                raise
        else:
            if await to_thread.run_sync(reading.is_steady):
                return reading.content(binary, reading.read_bytes)
        await to_thread.run_sync(reading.restart)
    _warn_changed(reading.path)
    return await _store_copy(reading, store_binary)


async def _store_copy(reading: _Reading, store_binary: StoreBinary) -> Content:
    with entry_errors(f"a temporary file in {gettempdir()!r}"), TemporaryFile() as copy:
        size = 0
        while piece := await to_thread.run_sync(reading.piece, size):
            size += await to_thread.run_sync(copy.write, piece)
        await to_thread.run_sync(copy.flush)

        @asynccontextmanager
        async def open_body() -> AsyncIterator[AsyncIterator[bytes]]:
            yield _pieces(lambda position: os.pread(copy.fileno(), PIECE_BYTES, position))

        return reading.content(await store_binary(open_body), size)


def _warn_changed(path: bytes) -> None:
    log.warning("file_changed_while_read", path=shown(path), attempts=ATTEMPTS)
