"""What a long history costs: Movements of one changed row in each of 20 tables; `BENCH_MOVEMENTS` sets their number."""

from __future__ import annotations

import os
import sqlite3
import statistics
import time
from pathlib import Path

import anyio

import pipeline
from pipeline import Settings

MOVEMENTS = int(os.environ.get("BENCH_MOVEMENTS", "400"))
TABLES = 20
ROWS = 100
MOST_BYTES = 3_000
"""What one Movement may add for one table."""


def run(directory: Path) -> None:
    """Measure, and print a table."""
    print(f"A history of {MOVEMENTS} Movements, one changed row in each of {TABLES} tables of {ROWS} rows")
    anyio.run(_run, directory)


async def _run(directory: Path) -> None:
    settings = Settings(home=directory / "home")
    source, copy = str(directory / "app.db"), str(directory / "copy.db")
    _build(source)
    await pipeline.move(source, copy, flow="crm", settings=settings)
    first = _stored(settings.home)
    seconds = []
    for number in range(MOVEMENTS):
        _change(source, number)
        begun = time.perf_counter()
        movement = await pipeline.move(source, copy, flow="crm", settings=settings)
        seconds.append(time.perf_counter() - begun)
        assert movement.totals.upserts == TABLES
    tenth = max(1, MOVEMENTS // 10)
    early, late = statistics.median(seconds[:tenth]), statistics.median(seconds[-tenth:])
    print(
        f"  a Movement, median of the first and the last tenth {early:6.2f} s {late:6.2f} s, ratio {late / early:.2f}"
    )
    _print("after the first Movement", first)
    grown = _print("after all", _stored(settings.home))
    each = (grown - first[0]) / (MOVEMENTS * TABLES)
    print(f"  {'bytes a table and Movement':50} {each:10,.0f} (wanted: at most {MOST_BYTES:,})")
    await pipeline.compact("crm", settings=settings)
    await pipeline.prune("crm", delete=True, settings=settings)
    _print("compacted and pruned", _stored(settings.home))


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


def _print(what: str, stored: tuple[int, int, int]) -> int:
    size, files, directories = stored
    print(f"  {what:50} {size:10,} bytes {files:6,} files {directories:6,} directories")
    return size
