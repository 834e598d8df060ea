"""How true the time left is: in 20 real runs, how often the range that was shown held what came, and how near its middle was."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson

RUNS = 20
SETTINGS = {"PIPELINE_PROGRESS_SECONDS": "0.1", "PIPELINE_EVENT_FILE_ROWS": "30000"}


def run(directory: Path) -> None:
    """Print the score. Half of all errors at half time are smaller than the median."""
    dice, shown = random.Random(3), list[dict[str, Any]]()
    _build(directory / "app.db", dice)
    for number in range(RUNS):
        left_out = [f"--exclude=t{table}" for table in dice.sample(range(6), dice.randint(0, 3))]
        shown += _move(directory, "copy.db" if number % 3 else "sam:out", *left_out)
        for name in ("out", ".pipeline"):
            shutil.rmtree(directory / name, ignore_errors=True)
        for path in directory.glob("copy.db*"):
            path.unlink()
    held = [one["low"] <= one["came"] <= one["high"] for one in shown]
    errors = [abs((one["low"] + one["high"]) / 2 - one["came"]) / one["came"] for one in shown if one["percent"] == 50]
    print("\ntime left, 20 runs of some ten seconds")
    print(f"  ranges that held what came   {sum(held)} of {len(held)} (80 % wanted)")
    print(
        f"  median error at half time    {statistics.median(errors):.0%} (15 % wanted)"
        if errors
        else "  nothing was shown"
    )


def _build(path: Path, dice: random.Random) -> None:
    """Make a database whose tables differ in rows and in the width of a row."""
    with closing(sqlite3.connect(path)) as db, db:
        for table in range(6):
            db.execute(f"CREATE TABLE t{table} (id INTEGER PRIMARY KEY, a TEXT, b TEXT, c REAL)")
            text, count = "x" * dice.choice((10, 60, 200)), int(700_000 * dice.uniform(0.4, 1.6))
            db.executemany(
                f"INSERT INTO t{table} VALUES (?, ?, ?, ?)", ((n, f"name {n}", text, n * 1.5) for n in range(count))
            )


def _move(directory: Path, *arguments: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "pipeline", "move", "app.db", *arguments, "--json"]
    done = subprocess.run(command, cwd=directory, env={**os.environ, **SETTINGS}, capture_output=True, check=True)
    shown: list[dict[str, Any]] = orjson.loads(done.stdout.splitlines()[-1])["time_left_shown"]
    return shown
