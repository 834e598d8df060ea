"""A helper for `pipeline move`: a process of its own that imports while this one reads the source.

It ends when the other end of its line is closed, also when that happens because this process was killed.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

import anyio
import structlog
from anyio.to_thread import run_sync

from pipeline.assembly.helper_process import Ended, Errand, Logged, Ready, Sent, serve
from pipeline.domain.errors import TransientError
from pipeline.domain.movement import Movement
from pipeline.engine.helping import Told

JOIN_SECONDS = 20.0
"""How long the helper may take to end the transactions in hand once it is not needed any more, before it is ended."""


def has_room() -> bool:
    """Whether there is a second processor for a helper to run on."""
    return len(os.sched_getaffinity(0)) > 1 if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1) > 1


class HelperProcess:
    """Starts a process that does what `errand` says, when it is wanted."""

    def __init__(self, errand: Errand) -> None:
        self._errand = errand

    @asynccontextmanager
    async def open(self, movement: Movement) -> AsyncIterator[AsyncIterator[Told]]:
        """Start the process, and wait until it is at work."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=serve, args=(theirs, self._errand, movement.number), name="pipeline-import", daemon=True
        )
        try:
            with theirs:
                await run_sync(process.start)
            line = _Line(ours)
            await line.await_ready()
            async with aclosing(line.told()) as told:
                yield told
        finally:
            ours.close()
            with anyio.CancelScope(shield=True):
                await run_sync(_end, process)


def _end(process: SpawnProcess) -> None:
    if process.pid is None:
        return
    process.join(JOIN_SECONDS)
    if process.is_alive():
        process.kill()
        process.join()
    process.close()


class _Line:
    """What comes from the helper. Its log events are logged here."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._log = structlog.get_logger()

    async def await_ready(self) -> None:
        """Wait until the helper is at work; raise why it cannot be."""
        while not isinstance(sent := await self._receive(), Ready):
            if sent is None:
                raise TransientError("the process that was to help importing has ended before it began")
            self._take(sent)

    async def told(self) -> AsyncGenerator[Told, None]:
        """Give what the helper tells until it ends."""
        while (sent := await self._receive()) is not None:
            if isinstance(sent, Ended | Logged | Ready):
                self._take(sent)
            else:
                yield sent

    def _take(self, sent: Sent) -> None:
        if isinstance(sent, Ended):
            raise sent.error
        if isinstance(sent, Logged):
            getattr(self._log, sent.level)(sent.event, **sent.values)

    async def _receive(self) -> Sent | None:
        """Return what was sent next; None when the helper is gone."""
        try:
            if not self._connection.poll():
                await anyio.wait_readable(self._connection)
            sent: Sent = self._connection.recv()
        except (EOFError, OSError):
            return None
        return sent
