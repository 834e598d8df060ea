"""What a long history costs: Movements of one changed row in each of 20 tables; `BENCH_MOVEMENTS` sets their number.

Two Flows in turns: one that is compacted and pruned by itself, and one that is not.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import anyio

import pipeline
from pipeline import Settings
from pipeline.assembly import backends
from pipeline.assembly.commands.declared.apply import set_flow
from pipeline.assembly.commands.flows import add_flow_destination, import_flow
from pipeline.stores.directory.object_store import DirectoryObjectStore
from tests.engine.long_flow import CountingStore

MOVEMENTS = int(os.environ.get("BENCH_MOVEMENTS", "400"))
TABLES = 20
ROWS = 100
MOST_BYTES = 3_000
"""What one Movement may add for one table."""
requests: Counter[str] = Counter()
"""The requests of this process to a store so far: on S3 each is one, except for large bodies."""


def open_counted(root: Path) -> CountingStore:
    """Open a store whose requests are counted."""
    return CountingStore(DirectoryObjectStore(root), requests)


@dataclass
class Measured:
    """A Flow with its own directory, the seconds of each Movement, and the requests of all of them."""

    directory: Path
    seconds: list[float] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)

    @property
    def settings(self) -> Settings:
        """Its home."""
        return Settings(home=self.directory / "home", log_level="error")

    async def move(self) -> pipeline.Movement:
        """Move the Flow."""
        source, copy = str(self.directory / "app.db"), str(self.directory / "copy.db")
        return await pipeline.move(source, copy, flow="crm", settings=self.settings)

    async def move_change(self, number: int) -> None:
        """Change a row of each table, and move the Flow."""
        _change(str(self.directory / "app.db"), number)
        requests.clear()
        begun = time.perf_counter()
        movement = await self.move()
        self.seconds.append(time.perf_counter() - begun)
        self.requests += requests
        assert movement.totals.upserts == TABLES


def run(directory: Path) -> None:
    """Measure, and print a table."""
    print(f"A history of {MOVEMENTS} Movements, one changed row in each of {TABLES} tables of {ROWS} rows")
    with patch.object(backends, "DirectoryObjectStore", open_counted):
        anyio.run(_run, directory)


async def _run(directory: Path) -> None:
    flows = {"kept small by itself": Measured(directory / "kept"), "left alone": Measured(directory / "left")}
    for name, one in flows.items():
        one.directory.mkdir()
        _build(str(one.directory / "app.db"))
        await one.move()
        if name == "left alone":
            await set_flow("crm", ["maintenance.automatic=false"], lambda changes: True, settings=one.settings)
    first = {name: _stored(one.settings.home)[0] for name, one in flows.items()}
    for number in range(MOVEMENTS):
        for one in flows.values():
            await one.move_change(number)
    for name, one in flows.items():
        await _report(name, one, first[name])


async def _report(name: str, one: Measured, first: int) -> None:
    tenth = max(1, MOVEMENTS // 10)
    early, late = statistics.median(one.seconds[:tenth]), statistics.median(one.seconds[-tenth:])
    size, files, directories = _stored(one.settings.home)
    asked = ", ".join(f"{count / MOVEMENTS:.0f} {kind}" for kind, count in sorted(one.requests.items()))
    print(f"  {name}")
    print(
        f"    a Movement: first tenth {early:.2f} s, last tenth {late:.2f} s, mean {sum(one.seconds) / MOVEMENTS:.2f} s"
    )
    print(f"    requests of a Movement: {asked}")
    print(f"    the store: {size:,} bytes, {files:,} files, {directories:,} directories")
    each = (size - first) / (MOVEMENTS * TABLES)
    print(f"    bytes a table and Movement: {each:,.0f} (wanted: at most {MOST_BYTES:,})")
    await add_flow_destination("crm", str(one.directory / "new.db"), name="new", settings=one.settings)
    begun = time.perf_counter()
    movement = await import_flow("new", settings=one.settings)
    print(f"    a new destination: {time.perf_counter() - begun:.2f} s, {movement.totals.upserts:,} records")


def _build(path: str) -> None:
    with sqlite3.connect(path) as db:
        for table in range(TABLES):
            db.execute(f"CREATE TABLE t{table} (id INTEGER PRIMARY KEY, name TEXT)")
            db.executemany(f"INSERT INTO t{table} VALUES (?, ?)", ((row, f"name {row}") for row in range(ROWS)))
    db.close()


def _change(path: str, number: int) -> None:
    with sqlite3.connect(path) as db:
        for table in range(TABLES):
            db.execute(f"UPDATE t{table} SET name = ? WHERE id = ?", (f"changed {number}", number % ROWS))
    db.close()


def _stored(home: Path) -> tuple[int, int, int]:
    """Return the bytes, files and directories of the store."""
    paths = list((home / "store" / "objects").rglob("*"))
    files = [path for path in paths if path.is_file()]
    return sum(path.stat().st_size for path in files), len(files), len(paths) - len(files)
