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
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from tempfile import TemporaryFile, gettempdir
from typing import NamedTuple, Self

from anyio import to_thread
from blake3 import blake3

from pipeline.connectors.files.attributes import Attributes, read_attributes
from pipeline.connectors.files.directories import Parents, open_file
from pipeline.connectors.files.errors import UnreadableEntryError, entry_errors
from pipeline.connectors.files.names import shown
from pipeline.connectors.files.tree import Entry
from pipeline.domain.ids import BinaryId
from pipeline.log_events import log
from pipeline.ports.source import ChangedContentError, StoreBinary

ATTEMPTS = 3
PIECE_BYTES = 1024 * 1024
TICK_SECONDS = 0.02
"""A tick of the kernel's clock for file times is 1 to 10 ms; this leaves a margin."""
COARSE_TICK_SECONDS = 1.0
"""The tick of a file system that keeps times in whole seconds (ext4 with small inodes)."""


class Content(NamedTuple):
    """A content, and what else belongs to it: the file's status, attributes, and permission bits for a copy.

    `data` is the content itself, None when it is too large to hold.
    """

    size: int
    status: os.stat_result
    attributes: Attributes
    mode: int
    data: bytes | None = None


def read_contents(root_fd: int, entries: Iterable[Entry]) -> list[Content | UnreadableEntryError]:
    """Read files, in one call of a thread for many small ones. In place of one that is gone, or unreadable, is the error.

    Large files are opened only; `data` of their contents is None.
    """
    found: list[Content | UnreadableEntryError] = []
    with Parents(root_fd) as parents:
        for entry in entries:
            try:
                with _Reading(parents, entry) as reading:
                    found.append(reading.content(reading.read_if_small()))
            except UnreadableEntryError as error:
                found.append(error)
    return found


async def store_large(root_fd: int, entry: Entry, store_binary: StoreBinary) -> tuple[BinaryId, Content]:
    """Store the content of a file by reading it twice; one that is never the same twice, from a private copy.

    UnreadableEntryError when the file is gone or may not be read.
    """
    with await to_thread.run_sync(_begin, root_fd, entry) as reading:
        for _ in range(ATTEMPTS - 1):
            with suppress(ChangedContentError):  # it is read again
                binary = await store_binary(reading.open_body)
                if await to_thread.run_sync(reading.is_steady):
                    return binary, reading.content()
            await to_thread.run_sync(reading.restart)
        _warn_changed(reading.path)
        return await _store_copy(reading, store_binary)


async def digest_large(root_fd: int, entry: Entry) -> str:
    """Return the BLAKE3 digest of a file's content. UnreadableEntryError as with `store_large`."""
    digest = blake3()
    with await to_thread.run_sync(_begin, root_fd, entry) as reading:
        async with reading.open_body() as pieces:
            async for piece in pieces:
                await to_thread.run_sync(digest.update, piece)
    return digest.hexdigest()


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
    """One open file: a context manager. `before` is its status before reading."""

    def __init__(self, parents: Parents, entry: Entry) -> None:
        settle(entry.status)
        self.path = entry.path
        self.read_bytes = 0
        with entry_errors("the file", entry.path):
            self._fd = open_file(parents, entry.path)
        try:
            self._examine()
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def _examine(self) -> None:
        self.before = os.fstat(self._fd)
        if not stat.S_ISREG(self.before.st_mode):
            raise UnreadableEntryError(
                f"the file {shown(self.path)!r}: it changed while the pipeline was working: run the command again"
            )
        self.mode, self.attributes = read_attributes(self._fd, self.before)

    def read_if_small(self) -> bytes | None:
        """Return the content, None when it is too large to hold."""
        for attempt in range(ATTEMPTS):
            if attempt:
                self.restart()
            if self.before.st_size > PIECE_BYTES:
                return None
            data = self.piece(0)
            if self.is_steady():
                return data
        _warn_changed(self.path)
        return data

    def restart(self) -> None:
        """Take the status again, once the last change of the file is old enough."""
        settle(os.fstat(self._fd))
        self._examine()

    def content(self, data: bytes | None = None) -> Content:
        """Return the content that was read."""
        return Content(self.read_bytes, self.before, self.attributes, self.mode, data)

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
        with entry_errors("the file", self.path):
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


def _begin(root_fd: int, entry: Entry) -> _Reading:
    with Parents(root_fd) as parents:
        return _Reading(parents, entry)


async def _store_copy(reading: _Reading, store_binary: StoreBinary) -> tuple[BinaryId, Content]:
    with entry_errors(f"a temporary file in {gettempdir()!r}"), TemporaryFile() as copy:
        size = 0
        while piece := await to_thread.run_sync(reading.piece, size):
            size += await to_thread.run_sync(copy.write, piece)
        await to_thread.run_sync(copy.flush)

        @asynccontextmanager
        async def open_body() -> AsyncIterator[AsyncIterator[bytes]]:
            yield _pieces(lambda position: os.pread(copy.fileno(), PIECE_BYTES, position))

        return await store_binary(open_body), reading.content()


def _warn_changed(path: bytes) -> None:
    log.warning("file_changed_while_read", path=shown(path), attempts=ATTEMPTS)
