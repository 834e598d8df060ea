"""Verifying 2 million equal rows, compared with the bare scan of one side; and a repair. `BENCH_ROWS` sets another size."""

from __future__ import annotations

import os
import sqlite3
import statistics
import sys
from pathlib import Path

import orjson

from benchmarks import data, measuring, scanning

ROWS = int(os.environ.get("BENCH_ROWS", "2000000"))
ROUNDS = 3


def run(directory: Path) -> None:
    """Measure, and print a table."""
    data.build(directory / "app.db", ROWS)
    measuring.move("app.db", "copy.db", "--flow", "bench", directory=directory)
    bare: list[float] = []
    equal: list[measuring.Run] = []
    for _ in range(ROUNDS):
        bare.append(scanning.scan("app.db", directory).seconds)
        equal.append(_verify(directory))
    assert orjson.loads(equal[0].output)["equal"]
    seconds = statistics.median(run_.seconds for run_ in equal)
    peak = max(run_.peak_bytes for run_ in equal)
    ratio = statistics.median(run_.seconds / scan for run_, scan in zip(equal, bare, strict=True))
    print(f"Verify, {ROWS:,} rows of 12 columns, SQLite against SQLite, whole processes, medians of {ROUNDS}")
    print(f"  {'bare scan of one side':52} {statistics.median(bare):8.2f} s")
    print(f"  {'verify of equal data':52} {seconds:8.2f} s  peak {peak >> 20:4} MiB")
    print(f"    {'against the bare scan':50} {ratio:8.2f}    at most 2: {'kept' if ratio <= 2 else 'missed'}")
    differing = _spoil(directory / "copy.db")
    repaired = _verify(directory, "--repair")
    document = orjson.loads(repaired.output)
    assert document["equal"]
    moved = document["repair"]["records"]
    assert moved["upserts"] + moved["deletes"] == differing
    print(f"  {f'verify --repair of {differing:,} differing keys':52} {repaired.seconds:8.2f} s")


def _verify(directory: Path, *options: str) -> measuring.Run:
    return measuring.run([sys.executable, "-m", "pipeline", "verify", "bench", *options, "--json"], directory)


def _spoil(database: Path) -> int:
    with sqlite3.connect(database) as db:
        changed = db.execute("UPDATE item SET note = 'spoilt' WHERE id % 2000 = 1").rowcount
        changed += db.execute("DELETE FROM item WHERE id % 2000 = 3").rowcount
    db.close()
    return changed
