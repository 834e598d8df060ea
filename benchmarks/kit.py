"""Importers: a handler that does nothing beside `orjson.loads` of the same lines, and objects that take 20 ms each."""

from __future__ import annotations

import gc
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import anyio
import orjson

import pipeline
from pipeline.domain.event_file import Encoding, FileEntry, Header
from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey, Phase, StreamName
from pipeline.domain.schema import Column, StreamSchema
from pipeline.kit import Batch, Import, Importer
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.ports.destination import FileToLoad, Loaded
from pipeline.testing.simulated.object_store import MemoryObjectStore

LINES = 500_000
OBJECTS = 8_000
SECONDS = 0.02
AT_ONCE = 16
TYPES = {"id": "integer", "name": "text", "text": "text", "amount": "real", "n": "integer"}
NAMES = tuple(TYPES)
COLUMNS = tuple(Column(name, type_) for name, type_ in TYPES.items())


@dataclass
class Row:
    """A row of the benchmark."""

    id: int
    name: str
    text: str
    amount: float
    n: int


def run(directory: Path) -> None:
    """Measure, and print two tables."""
    print(f"`applies` with a handler that does nothing, {LINES:,} records of 180 bytes; CPU seconds")
    lines = [orjson.dumps({"upsert": dict(zip(NAMES, row, strict=True))}) for row in _made(LINES)]
    gc.collect()
    gc.freeze()
    for row in (Row, dict):
        bare = min(_cpu_seconds(lambda: [orjson.loads(line) and None for line in lines]) for _ in range(3))
        taken = min(anyio.run(_apply, lines, row) for _ in range(3))
        print(f"  row={row.__name__:5} orjson.loads {bare:6.2f}   applies {taken:6.2f}   ratio {bare / taken:5.2f}")
    print(f"`creates` of {OBJECTS:,} objects of {SECONDS * 1000:.0f} ms, {AT_ONCE} side by side; seconds")
    _build(directory / "few.db", OBJECTS)
    seconds = anyio.run(_create, directory / "few.db", directory / "created")
    bare = anyio.run(_bare)
    print(f"  a bare loop {bare:6.2f}   creates {seconds:6.2f}   ratio {bare / seconds:5.2f}")


def _made(rows: int) -> Iterator[tuple[object, ...]]:
    return ((number, f"name {number}", "x" * 120, number * 1.5, number % 7) for number in range(rows))


def _build(path: Path, rows: int) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT, text TEXT, amount REAL, n INTEGER)")
        database.executemany("INSERT INTO things VALUES (?, ?, ?, ?, ?)", _made(rows))


async def _apply(lines: Sequence[bytes], row: type) -> float:
    """Return the CPU seconds that a handler takes for these lines, in one Event File."""
    importer = Importer("nothing")

    @importer.applies("things", row=row)
    async def apply(target: None, batch: Batch[object], ctx: Import) -> None: ...

    schema = StreamSchema(StreamName("things"), Label("things"), COLUMNS, ("id",))
    id_ = EventFileId(1, schema.stream, Phase.FULL, 0)
    entry = FileEntry(id_, schema.label, ObjectKey("x"), Encoding.PLAIN, 0, "", len(lines), 0)
    header = Header(FlowName("x"), id_, schema, len(lines), datetime.now(UTC))
    blocks = [b"\n".join(lines[at : at + 5000]) + b"\n" for at in range(0, len(lines), 5000)]

    async def content() -> AsyncIterator[bytes]:
        for block in blocks:
            yield block

    async with ImporterDestination("x", importer, None, MemoryObjectStore()).open(FlowName("x 1")) as session:
        begun = time.thread_time()
        loaded = await session.load(FileToLoad(entry, header, content(), _no_binary), after=())
        taken = time.thread_time() - begun
    assert isinstance(loaded, Loaded)
    assert loaded.mark.upserts == len(lines)
    return taken


def _no_binary(binary: object) -> NoReturn:
    raise AssertionError(binary)


async def _create(source: Path, home: Path) -> float:
    """Return the seconds between the first and the last creation."""
    importer, moments = Importer("api"), list[float]()

    @importer.creates("things", row=dict)
    async def create(target: None, row: dict[str, object], ctx: Import) -> str:
        moments.append(time.perf_counter())
        await anyio.sleep(SECONDS)
        moments.append(time.perf_counter())
        return f"new-{row['id']}"

    settings = pipeline.Settings(home=home)
    movement = await pipeline.move(
        str(source), ImporterDestination("api:x", importer, None), flow="x", settings=settings
    )
    assert movement.totals.upserts == OBJECTS
    return max(moments) - min(moments)


async def _bare() -> float:
    left = iter(range(OBJECTS))

    async def work() -> None:
        for _ in left:
            await anyio.sleep(SECONDS)

    begun = time.perf_counter()
    async with anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(work)
    return time.perf_counter() - begun


def _cpu_seconds(work: Callable[[], object]) -> float:
    begun = time.thread_time()
    work()
    return time.thread_time() - begun
