"""One worker at a time loads an Event File; others wait as long as it runs."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from pipeline.connectors.files import FilesDestination
from pipeline.connectors.files.loading import destination
from pipeline.domain.errors import TransientError
from pipeline.domain.ids import BinaryId
from tests.connectors.files.moving import FLOW, MemoryBinaries, file_id, to_load, upsert_line


class Slow(MemoryBinaries):
    """Contents whose reading waits until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.may_go_on = anyio.Event(), anyio.Event()

    @asynccontextmanager
    async def open(self, id_: BinaryId) -> AsyncIterator[AsyncIterator[bytes]]:
        self.begun.set()
        await self.may_go_on.wait()
        async with super().open(id_) as pieces:
            yield pieces


@asynccontextmanager
async def another_worker(root: Path) -> AsyncIterator[None]:
    """Another worker is loading an Event File."""
    slow = Slow()
    line = upsert_line("x", size=1, digest=slow.add(b"x"))
    async with FilesDestination(root).open(FLOW) as session, anyio.create_task_group() as group:
        group.start_soon(lambda: session.load(to_load(file_id(1), [line], slow), after=[]))
        await slow.begun.wait()
        yield
        slow.may_go_on.set()


async def test_a_worker_that_loads_shows_that_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destination, "LOCK_SHOWN_SECONDS", 0)
    async with another_worker(tmp_path / "copy"):
        (lock,) = (tmp_path / "copy" / ".pipeline-import" / "locks").iterdir()
        for _ in range(2):
            os.utime(lock, (0, 0))
            with anyio.fail_after(30):
                while not lock.stat().st_mtime:
                    await anyio.lowlevel.checkpoint()


async def test_a_load_waits_as_long_as_the_other_worker_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look takes ten seconds of this clock. The other one is frozen after the hundredth."""
    binaries, looks, clock = MemoryBinaries(), itertools.count(1), itertools.count(0, 10)
    line = upsert_line("x", size=1, digest=binaries.add(b"x"))
    async with another_worker(tmp_path / "copy"), FilesDestination(tmp_path / "copy").open(FLOW) as session:
        with monkeypatch.context() as patch:
            patch.setattr(destination, "LOCK_POLL_SECONDS", 0)
            patch.setattr(destination, "_time_of", lambda *_: min(next(looks), 100))
            patch.setattr(anyio, "current_time", lambda: float(next(clock)))
            with pytest.raises(TransientError, match="another worker is loading"):
                await session.load(to_load(file_id(1), [line], binaries), after=[])
    assert 100 < next(looks) < 110
