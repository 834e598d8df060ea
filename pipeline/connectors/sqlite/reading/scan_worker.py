"""A second reader of a database: another process that reads the very same state on another processor.

Two connections see the same state if nobody committed between the beginnings of their transactions. A third connection,
the *watch*, can tell: the `data_version` it sees changes with every commit of others. It is asked before the first
transaction begins and after the second has. If somebody did commit, which only happens in WAL mode, there is no second
reader: one is as right as two.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import anyio
import apsw
from anyio.to_thread import run_sync

from pipeline.connectors.sqlite.connection import open_reader
from pipeline.connectors.sqlite.reading.scan_worker_process import (
    Changed,
    Differing,
    Errand,
    GaveUp,
    Inode,
    Joined,
    Stretch,
    StretchEnded,
    inode_of,
)
from pipeline.domain.errors import PipelineError, TransientError
from pipeline.ports.ranged_source import UnchangedRows
from pipeline.processes.children import Child, end_child, has_room, start_child

WORTHWHILE_BYTES = 64 * 1024 * 1024
"""A smaller database is read about as quickly as a process starts."""
JOIN_SECONDS = 5.0


class ScanWorkerGoneError(Exception):
    """The second reader is gone. The text says why, as far as that is known."""


class ScanWorker:
    """Make one before the transaction begins that the second reader is to see the state of; `start` it when it is wanted."""

    def __init__(self, path: Path, busy_timeout_seconds: float) -> None:
        """Look at the database at `path`. Errors are those of `open_reader`, and SQLite's own."""
        self._errand = Errand(path.absolute(), busy_timeout_seconds)
        self._watch, _ = open_reader(path, busy_timeout_seconds)
        try:
            self._version = self._data_version()
        except apsw.Error:
            self._watch.close(True)
            raise
        self._inode: Inode = inode_of(path)
        self._child: Child | None = None
        self._line: Connection | None = None
        self._joined = False
        self._gone = False
        self._is_lent = False
        self.has_kept_waiting = False
        """Whether the stretch told last was waited for."""

    def start(self) -> None:
        """Start the process, unless that has been tried."""
        if self._child is not None or self._gone:
            return
        try:
            self._child, self._line = start_child("pipeline.connectors.sqlite.reading.scan_worker_process")
            self._line.send(self._errand)
        except (TransientError, OSError):
            self.leave()

    def is_ready(self) -> bool:
        """Whether it reads the same state; False as long as that is not known, and from when it is gone."""
        if not self._joined and self._line is not None and not self._gone and self._line.poll():
            self._join(self._line)
        return self._joined and not self._gone

    @property
    def is_gone(self) -> bool:
        """Whether it has failed, or nobody speaks to it any more."""
        return self._gone

    @contextmanager
    def lent(self) -> Iterator[ScanWorker | None]:
        """Lend it to whoever reads one table; None while another one is read. Left half-way, it is of no use any more."""
        if self._is_lent or self._gone:
            yield None
            return
        self._is_lent = True
        try:
            yield self
        except BaseException:
            self.leave()
            raise
        finally:
            self._is_lent = False

    def _join(self, line: Connection) -> None:
        try:
            told = line.recv()
            same = isinstance(told, Joined) and told.inode == self._inode and self._data_version() == self._version
        except (EOFError, OSError, apsw.Error):
            same = False
        if same:
            self._joined = True
        else:
            self.leave()

    def _data_version(self) -> Any:
        return self._watch.execute("PRAGMA data_version").get

    def ask(self, stretch: Stretch) -> None:
        """Have a stretch read, behind those asked for before."""
        if self._line is None or self._gone:
            return
        try:
            self._line.send(stretch)
        except OSError:
            self.leave()

    async def told(self) -> AsyncGenerator[UnchangedRows | Differing | Changed, None]:
        """Give the blocks of the stretch that was asked for first. ScanWorkerGoneError when it is gone before their end."""
        self.has_kept_waiting = False
        while True:
            told = await self._receive()
            if isinstance(told, StretchEnded):
                return
            if not isinstance(told, UnchangedRows | Differing | Changed):
                self.leave()
                reason = told.reason if isinstance(told, GaveUp) else "it has ended unexpectedly"
                raise ScanWorkerGoneError(reason)
            yield told

    async def _receive(self) -> object:
        if self._line is None or self._gone:
            return None
        try:
            if not self._line.poll():
                self.has_kept_waiting = True
                await anyio.wait_readable(self._line)
            return self._line.recv()
        except (EOFError, OSError):
            return None

    def leave(self) -> None:
        """Speak to it no more. It ends by itself."""
        self._gone = True
        if self._line is not None:
            self._line.close()

    def close(self) -> None:
        """Leave it, and close the watch."""
        self.leave()
        self._watch.close(True)

    async def aclose(self) -> None:
        """Close it, and wait until the process has ended."""
        self.close()
        if self._child is not None:
            with anyio.CancelScope(shield=True):
                await run_sync(end_child, self._child, JOIN_SECONDS)


def scan_worker_of(path: Path, busy_timeout_seconds: float) -> ScanWorker | None:
    """Return a second reader where one is of use: for a large database, on a machine with another processor.

    None as well where the database cannot be looked at: whoever reads it alone meets what is wrong, and says it.
    """
    try:
        large = path.stat().st_size >= WORTHWHILE_BYTES
        return ScanWorker(path, busy_timeout_seconds) if large and has_room() else None
    except (OSError, apsw.Error, PipelineError):
        return None
