"""The embedded event queue: a table in an SQLite file, shared by any number of processes on one machine."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread

from pipeline.domain.errors import LeaseLostError
from pipeline.ports.event_queue import Message, QueueDepth, Receipt, check_bodies
from pipeline.queues.sqlite.errors import translated
from pipeline.queues.sqlite.table import MessageTable

T = TypeVar("T")

MAX_MESSAGES = 10
_FIRST_PAUSE_SECONDS = 0.01
_LONGEST_PAUSE_SECONDS = 0.2
"""A message from another process is noticed within this time; one from this process at once."""


@asynccontextmanager
async def open_sqlite_queue(
    path: Path,
    *,
    name: str,
    visibility_seconds: float = 30.0,
    max_receives: int = 5,
    now: Callable[[], float] = time.time,
) -> AsyncIterator[SqliteEventQueue]:
    """Open one queue in the SQLite file at `path`.

    Args:
        path: the file, on a local file system. It and its directory are created if they are missing.
        name: one queue in the file; queues with different names share nothing but the file.
        visibility_seconds: how long a delivered message stays invisible to others.
        max_receives: a message becomes a dead letter after this many deliveries without an acknowledgement.
        now: the clock, in seconds; all processes on one file must share it.
    """
    with translated(path):
        table = await anyio.to_thread.run_sync(MessageTable, path, name)
    queue = SqliteEventQueue(table, path, visibility_seconds, max_receives, now)
    try:
        yield queue
    finally:
        with anyio.CancelScope(shield=True):
            await queue._run(table.close)


class SqliteEventQueue:
    """Implements `pipeline.ports.event_queue.EventQueue`; made by `open_sqlite_queue`."""

    def __init__(
        self,
        table: MessageTable,
        path: Path,
        visibility_seconds: float,
        max_receives: int,
        now: Callable[[], float],
    ) -> None:
        self._table = table
        self._path = path
        self._visibility_seconds = visibility_seconds
        self._max_receives = max_receives
        self._now = now
        self._turn = anyio.Lock()
        self._bell = anyio.Event()

    async def send(self, bodies: Sequence[bytes]) -> None:
        check_bodies(bodies)
        await self._run(lambda: self._table.send(bodies, self._now()))
        self._ring()

    async def receive(self, *, max_messages: int = 1, wait_seconds: float = 0.0) -> Sequence[Message]:
        deadline = anyio.current_time() + wait_seconds
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            bell = self._bell
            messages = await self._run(lambda: self._receive(min(max_messages, MAX_MESSAGES)))
            left_seconds = deadline - anyio.current_time()
            if messages or left_seconds <= 0:
                return messages
            with anyio.move_on_after(min(pause_seconds, left_seconds)):
                await bell.wait()
            pause_seconds = min(pause_seconds * 1.5, _LONGEST_PAUSE_SECONDS)

    def _receive(self, max_messages: int) -> list[Message]:
        now = self._now()
        return self._table.receive(max_messages, now, now + self._visibility_seconds, self._max_receives)

    async def extend(self, receipt: Receipt, seconds: float) -> None:
        if not await self._run(lambda: self._table.set_visible_at(receipt, self._now() + seconds)):
            raise LeaseLostError("the message has been delivered to another worker, or acknowledged")
        self._ring()

    async def acknowledge(self, receipts: Sequence[Receipt]) -> None:
        await self._run(lambda: self._table.remove(receipts))

    async def reject(self, message: Message, reason: str) -> None:
        """See the port. If another worker holds the message by now, that worker decides, and nothing changes here."""
        await self._run(lambda: self._table.bury(message.receipt, reason))

    async def depth(self) -> QueueDepth:
        return await self._run(lambda: self._table.depth(self._now()))

    async def _run(self, operation: Callable[[], T]) -> T:
        """Run one operation in a worker thread. There is one connection, so operations take turns."""
        async with self._turn:
            with translated(self._path):
                return await anyio.to_thread.run_sync(operation)

    def _ring(self) -> None:
        """Wake the receivers of this process."""
        self._bell.set()
        self._bell = anyio.Event()
