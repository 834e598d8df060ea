"""A service for the tests of the channel."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from pipeline.domain.errors import ConfigurationError, RefusedError
from pipeline.log_events import bound, log


class Calculator:
    """Does simple things."""

    async def double(self, number: int) -> int:
        """Return a result."""
        return 2 * number

    async def process_id(self) -> int:
        """Return the id of the process that serves."""
        return os.getpid()

    async def numbers(self, until: int, bytes_each: int) -> AsyncGenerator[tuple[int, bytes], None]:
        """Give many values."""
        for number in range(until):
            yield number, bytes(bytes_each)

    async def refuse(self) -> None:
        """Raise an error that crosses the channel."""
        raise RefusedError("the disk is full")

    async def numbers_until_refused(self) -> AsyncGenerator[int, None]:
        """Give a value, then raise."""
        yield 1
        raise RefusedError("the disk is full")

    async def length(self, data: bytes) -> int:
        """Return the size of an argument."""
        return len(data)

    async def log(self) -> None:
        """Log an event."""
        with bound(flow="crm"):
            log.warning("disk_full", path=Path("/data"), files=3, ratio=0.5)

    async def fail(self) -> None:
        """Fail as no service should."""
        raise ZeroDivisionError

    async def unsendable(self) -> object:
        """Return what cannot be sent."""
        return threading.Lock()

    async def end(self) -> None:
        """End the process."""
        os._exit(1)


@asynccontextmanager
async def open_calculator(_closed: anyio.Event) -> AsyncIterator[Calculator]:
    """Open the service."""
    yield Calculator()


@asynccontextmanager
async def refuse_to_open(_closed: anyio.Event) -> AsyncIterator[Calculator]:
    """Fail to open the service."""
    if not _closed.is_set():
        raise ConfigurationError("there is no such place")
    yield Calculator()


class Waiting:
    """A service that waits."""

    def __init__(self, closed: anyio.Event) -> None:
        self._closed = closed

    async def wait(self) -> AsyncGenerator[str, None]:
        """Wait until the parent is gone."""
        yield "waiting"
        await self._closed.wait()


@asynccontextmanager
async def open_waiting(path: str, closed: anyio.Event) -> AsyncIterator[Waiting]:
    """Open the service; write to `path` when it is closed in order."""
    yield Waiting(closed)
    assert closed.is_set()
    await anyio.Path(path).write_text("closed")
