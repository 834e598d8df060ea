"""An importer process of the benchmark `fleet`: it waits for the start, imports the group, and writes its measurements.

python -m benchmarks.importing DIRECTORY KIND NUMBER
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import apsw
import orjson

from pipeline.assembly.runtime import open_runtime
from pipeline.codec.documents.message import GroupCompleted, encode_message
from pipeline.codec.event_files.compression import Decoder
from pipeline.connectors.sqlite import SqliteDestination
from pipeline.domain.event_file import Encoding
from pipeline.domain.ids import EventFileId, FlowName, StreamName
from pipeline.domain.movement import Flow, Movement
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.workers.import_worker import ImportWorker
from pipeline.ports.destination import (
    Destination,
    DestinationSession,
    FileToLoad,
    LoadOutcome,
    Mark,
    Rejection,
    Violation,
)
from pipeline.ports.reporter import Event, EventFileImported
from pipeline.settings import load_settings
from tests.fleet.fleet import FLOW

SLOW_SECONDS = 0.05


class Counting:
    """A Reporter that writes the number of Event Files imported by this process to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0

    def report(self, event: Event) -> None:
        """Count an import."""
        if isinstance(event, EventFileImported):
            self._count += 1
            self._path.write_text(f"{self._count}\n")


class Marking:
    """A destination that takes 50 ms a transaction, or reads every record and stores none. It keeps marks in SQLite."""

    def __init__(self, path: Path, *, reading: bool) -> None:
        self._marks = SqliteDestination(path)
        self._reading = reading
        self.location = self._marks.location

    @asynccontextmanager
    async def open(self, flow: FlowName) -> AsyncIterator[DestinationSession]:
        """Open the marks."""
        async with self._marks.open(flow) as session:
            yield _MarkingSession(session, self._reading)


async def _nothing() -> AsyncIterator[bytes]:
    """Yield no blocks: the time has been spent before, outside SQLite's write lock."""
    blocks: tuple[bytes, ...] = ()
    for block in blocks:
        yield block


class _MarkingSession:
    def __init__(self, session: DestinationSession, reading: bool) -> None:
        self._session = session
        self._reading = reading

    async def marks(self) -> Mapping[EventFileId, Mark]:
        return await self._session.marks()

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        async for block in file.blocks:
            if self._reading:
                for line in block.splitlines():
                    orjson.loads(line)
        if not self._reading:
            await anyio.sleep(SLOW_SECONDS)
        return await self._session.load(replace(file, blocks=_nothing()), after=after)

    async def retry_rejected(self) -> Sequence[Rejection]:
        return await self._session.retry_rejected()

    async def finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        return []


async def main(directory: Path, kind: str, number: int) -> None:
    """Prepare, wait for the start, import, and write this process's peak memory to a file."""
    settings = load_settings()
    reporter = Counting(directory / f"imported{number}")
    async with open_runtime(settings) as runtime, runtime.fleet_context(reporter) as parts:
        movement = await runtime.flows.read_movement(FlowName(FLOW), 1)
        (directory / f"ready{number}").touch()
        await _until((directory / "go").exists)
        if kind == "bare":
            await bare_loop(parts, movement, directory / "bare.db")
            _note_end(directory, number)
        else:
            await work(parts, movement, directory, kind, number)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    (directory / f"peak{number}").write_text(str(peak))


async def work(parts: EngineContext, movement: Movement, directory: Path, kind: str, number: int) -> None:
    """Import until all Event Files are marked."""
    path = directory / f"{kind}.db"
    destination: Destination = SqliteDestination(path) if kind == "sqlite" else Marking(path, reading=kind == "reading")

    def connect(flow: Flow) -> Destination:
        return destination

    ((label, key),) = movement.file_lists.items()
    total = len(await parts.flows.read_file_list(key))
    if number == 0:
        await parts.queue.send([encode_message(GroupCompleted(movement.flow, 1, label, key))])
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(ImportWorker(parts, connect, f"importer {number}").run, stop)
        await _until(lambda: _imported(directory) >= total)
        _note_end(directory, number)
        stop.set()


async def _until(holds: Callable[[], bool]) -> None:
    while True:
        if holds():
            return
        await anyio.sleep(0.01)


def _imported(directory: Path) -> int:
    counts = [path.read_text() for path in directory.glob("imported*")]
    return sum(int(count) for count in counts if count.endswith("\n"))


def _note_end(directory: Path, number: int) -> None:
    (directory / f"ended{number}").write_text(str(time.monotonic()))


async def bare_loop(parts: EngineContext, movement: Movement, path: Path) -> None:
    """Download, decompress and parse each file, and upsert it in its own transaction, as a script would."""
    ((_, key),) = movement.file_lists.items()
    db = apsw.Connection(str(path))
    made = False
    for entry in await parts.flows.read_file_list(key):
        body = b"".join(Decoder(Encoding.ZSTD).feed((await parts.store.get(entry.key)).data))
        header, _, lines = body.partition(b"\n")
        if not made:
            columns = [column["name"] for column in orjson.loads(header)["columns"]]
            declared = ", ".join(["id INTEGER PRIMARY KEY", *columns[1:]])
            db.execute(f"CREATE TABLE item({declared})")
            updates = ", ".join(f"{name} = excluded.{name}" for name in columns[1:])
            places = ",".join("?" * len(columns))
            upsert = f"INSERT INTO item VALUES({places}) ON CONFLICT(id) DO UPDATE SET {updates}"
            made = True
        records = [orjson.loads(line)["upsert"] for line in lines.splitlines()]
        with db:
            db.executemany(upsert, [tuple(record.values()) for record in records])
    db.close()


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
