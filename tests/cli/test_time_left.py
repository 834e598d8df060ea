"""The time left in real runs: what was shown is stored with what came. `python -m benchmarks time_left` scores it."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipeline.domain.progress import model
from pipeline.engine.export import source_progress
from tests.cli.app import CommandLine, make_database, process_environment


def build(path: Path, dice: random.Random, tables: int, rows: int) -> None:
    """Make a database whose tables differ in rows and in the width of a row."""
    with closing(sqlite3.connect(path)) as db, db:
        for table in range(tables):
            db.execute(f"CREATE TABLE t{table} (id INTEGER PRIMARY KEY, a TEXT, b TEXT, c REAL)")
            text, count = "x" * dice.choice((10, 60, 200)), int(rows * dice.uniform(0.4, 1.6))
            db.executemany(
                f"INSERT INTO t{table} VALUES (?, ?, ?, ?)", ((n, f"name {n}", text, n * 1.5) for n in range(count))
            )


def test_what_is_shown_is_a_range_and_is_stored(pipeline: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Movement is short, so the time left is shown from the first second on."""
    for name in ("SHOWN_FROM_SECONDS", "LEAST_SECONDS"):
        monkeypatch.setattr(model, name, 0.0)
    monkeypatch.setenv("PIPELINE_PROGRESS_SECONDS", "0.1")
    monkeypatch.setenv("PIPELINE_EVENT_FILE_ROWS", "5000")
    build(pipeline.directory / "app.db", random.Random(1), tables=3, rows=120_000)
    moved = pipeline("move", "app.db", "copy.db", "--flow", "crm", "--json")
    assert moved.code == 0, moved.err
    result: Any = moved.objects[-1]
    assert result["time_left_shown"]
    for one in result["time_left_shown"]:
        assert one["percent"] in (25, 50, 75)
        assert 0 <= one["low"] <= one["high"]
        assert one["came"] >= 0
    flows: Any = pipeline("status", "--json").objects[0]["flows"]
    assert flows[0]["movements"][-1]["time_left_shown"] == result["time_left_shown"]


def test_of_a_tree_it_is_shown_too(pipeline: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tree is small, so it is counted at once, and the time left is shown from the first second on."""
    for name in ("SHOWN_FROM_SECONDS", "LEAST_SECONDS"):
        monkeypatch.setattr(model, name, 0.0)
    monkeypatch.setattr(source_progress, "COUNT_AFTER_SECONDS", 0.0)
    monkeypatch.setenv("PIPELINE_PROGRESS_SECONDS", "0.1")
    monkeypatch.setenv("PIPELINE_EVENT_FILE_ROWS", "300")
    for number in range(3_000):
        file = pipeline.directory / "app" / f"{number % 7}" / f"{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"%d" % number * (number % 400))
    moved = pipeline("move", "app/", "copy/", "--flow", "files", "--json")
    assert moved.code == 0, moved.err
    result: Any = moved.objects[-1]
    assert result["time_left_shown"]
    lines: Any = moved.objects
    assert {group["rows_expected"] for line in lines for group in line.get("groups", ())} >= {3_007}


def test_status_is_watched_until_the_movement_has_settled(pipeline: CommandLine) -> None:
    build(pipeline.directory / "app.db", random.Random(1), tables=2, rows=120_000)
    environment = {**process_environment(), "PIPELINE_PROGRESS_SECONDS": "0.2"}
    command = [sys.executable, "-m", "pipeline"]
    moving = subprocess.Popen(
        [*command, "move", "app.db", "copy.db", "--flow", "crm"],
        cwd=pipeline.directory,
        env={**environment, "PIPELINE_EVENT_FILE_ROWS": "10000"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    objects = pipeline.directory / ".pipeline" / "store" / "objects"
    while not (objects / "flows/crm/movements/1/movement.json").exists() and moving.poll() is None:
        os.sched_yield()
    watched = subprocess.run(
        [*command, "status", "--watch", "--json"], cwd=pipeline.directory, env=environment, capture_output=True, timeout=60,
        check=True,
    )  # fmt: skip
    assert moving.wait() == 0
    seen = [orjson.loads(line)["flows"][0] for line in watched.stdout.splitlines()]
    assert len(seen) >= 2
    assert seen[-1]["movements"][-1]["status"] == "SUCCESS"
    assert {one["movements"][-1]["status"] for one in seen[:-1]} <= {"READY", "IN_PROGRESS"}
    percents = [worker["percent"] for one in seen for worker in one["workers"]]
    assert percents == sorted(percents)


def test_status_of_what_has_settled_is_watched_once(pipeline: CommandLine) -> None:
    make_database(pipeline.directory / "app.db")
    assert pipeline("move", "app.db", "copy.db").code == 0
    assert len(pipeline("status", "--watch", "--json").objects) == 1
