"""A helper for `pipeline move`: a process of its own that imports while this one reads the source.

It ends when the other end of its line is closed, also when that happens because this process was killed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from multiprocessing.connection import Connection

import anyio
import structlog
from anyio.to_thread import run_sync

from pipeline.assembly.import_helper_process import Ended, Errand, Logged, Ready, Sent
from pipeline.domain.errors import TransientError
from pipeline.domain.movement import Movement
from pipeline.engine.imports.import_helper import HelperEvent
from pipeline.processes.children import end_child, start_child

JOIN_SECONDS = 20.0
"""How long the helper may take to end the transactions in hand once it is not needed any more, before it is ended."""


class ImportHelperProcess:
    """Starts a process that does what `errand` says, when it is wanted."""

    def __init__(self, errand: Errand) -> None:
        self._errand = errand

    @asynccontextmanager
    async def open(self, movement: Movement) -> AsyncIterator[AsyncIterator[HelperEvent]]:
        """Start the process, and wait until it is at work."""
        child, connection = await run_sync(start_child, "pipeline.assembly.import_helper_process")
        try:
            line = _Line(connection)
            await line.begin(self._errand, movement.number)
            async with aclosing(line.told()) as told:
                yield told
        finally:
            connection.close()
            with anyio.CancelScope(shield=True):
                await run_sync(end_child, child, JOIN_SECONDS)


class _Line:
    """What comes from the helper. Its log events are logged here."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._log = structlog.get_logger()

    async def begin(self, errand: Errand, movement: int) -> None:
        """Tell the helper what to do, and wait until it is at work; raise why it cannot be."""
        with suppress(BrokenPipeError, ConnectionResetError):  # what comes from it tells the rest
            self._connection.send((errand, movement))
        while not isinstance(sent := await self._receive(), Ready):
            if sent is None:
                raise TransientError("the process that was to help importing has ended before it began")
            self._take(sent)

    async def told(self) -> AsyncGenerator[HelperEvent, None]:
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
