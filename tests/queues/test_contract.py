"""The event queue's contract, against the SQLite file and the fake, on both event loops."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from pipeline.ports.event_queue import EventQueue
from pipeline.queues.sqlite.event_queue import open_sqlite_queue
from pipeline.testing.simulated.event_queue import MemoryEventQueue
from tests.contracts.event_queue import CLAUSES, Clause, Terms, check

TERMS = Terms(visibility_seconds=0.2, max_receives=3)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("clause", CLAUSES)
def test_sqlite_event_queue(clause: Clause, backend: str, tmp_path: Path) -> None:
    @asynccontextmanager
    async def open_queue(seconds: float) -> AsyncIterator[EventQueue]:
        async with open_sqlite_queue(
            tmp_path / "queue.db", name="groups", visibility_seconds=seconds, max_receives=3
        ) as it:
            yield it

    anyio.run(check, clause, open_queue, TERMS, backend=backend)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("clause", CLAUSES)
def test_memory_event_queue(clause: Clause, backend: str) -> None:
    @asynccontextmanager
    async def open_queue(seconds: float) -> AsyncIterator[EventQueue]:
        yield MemoryEventQueue(visibility_seconds=seconds, max_receives=3)

    anyio.run(check, clause, open_queue, TERMS, backend=backend)
