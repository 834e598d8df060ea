"""Runs the command line in this process or in one of its own, and makes small databases to move."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.cli.main import run


@dataclass(frozen=True)
class Outcome:
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, object]]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class CommandLine:
    """Runs commands in a directory of their own."""

    directory: Path
    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str | Path) -> Outcome:
        """Run `pipeline` with these arguments."""
        code = run([str(argument) for argument in arguments])
        captured = self.capture.readouterr()
        return Outcome(code, captured.out, captured.err)


def run_process(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `python -m pipeline` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *map(str, arguments)],
        cwd=cwd,
        env=process_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def process_environment() -> dict[str, str]:
    """The environment without settings, and with this source tree first."""
    root = str(Path(__file__).parents[2])
    return {name: value for name, value in os.environ.items() if not name.startswith("PIPELINE_")} | {
        "PYTHONPATH": root
    }


def make_database(path: Path, rows: int = 100) -> Path:
    """Make a database with one table of people."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL, age INTEGER)")
        connection.executemany("INSERT INTO people VALUES (?, ?, ?)", _people(rows))
    return path


def _people(rows: int) -> Iterator[tuple[int, str, int]]:
    return ((number, f"Person {number}", number % 90) for number in range(1, rows + 1))


def change(path: Path, statement: str) -> None:
    """Change a database."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def contents(path: Path, table: str = "people") -> list[tuple[object, ...]]:
    """All rows of a table."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
