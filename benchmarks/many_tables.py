"""What a table more costs: many tables of ten rows, with an index and a foreign key each; the first Movement, and one in which
nothing has changed. PostgreSQL to PostgreSQL on one server, and SQLite to SQLite. `BENCH_TABLES` sets another number.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg

from benchmarks import measuring
from tests.servers.postgresql import PostgresqlServer, postgresql

TABLES = int(os.environ.get("BENCH_TABLES", "371"))
ROUNDS = 3
ROWS = 10
MOST_MS = {"first": 20.0, "nothing changed": 5.0}
_COLUMNS = "id {0} PRIMARY KEY, name text NOT NULL, parent {0} REFERENCES table_{1} (id)"


def run(directory: Path) -> None:
    """Measure, and print a table."""
    print(f"{TABLES} tables of {ROWS} rows; ms a table of a whole process, medians of {ROUNDS} (farthest apart)")
    with postgresql() as server:
        _measure("PostgreSQL", lambda round_: _postgres(server, directory / f"postgres{round_}"))
    _measure("SQLite", lambda round_: _sqlite(directory / f"sqlite{round_}"))


def _measure(technology: str, once: Callable[[int], Sequence[float]]) -> None:
    found = [once(round_) for round_ in range(ROUNDS)]
    for movement, (what, most) in enumerate(MOST_MS.items()):
        each = sorted(seconds[movement] * 1000 / TABLES for seconds in found)
        middle = statistics.median(each)
        kept = "kept" if middle <= most else "missed"
        print(
            f"  {technology:10} {what:16} {middle:7.1f} ms ({each[0]:.1f} to {each[-1]:.1f})   at most {most:g}: {kept}"
        )


def _statements(integer: str) -> Sequence[str]:
    made = []
    for number in range(TABLES):
        values = ", ".join(f"({row}, 'name {row}', {row})" for row in range(ROWS))
        made += [
            f"CREATE TABLE table_{number} ({_COLUMNS.format(integer, max(number - 1, 0))})",
            f"CREATE INDEX index_{number} ON table_{number} (parent)",
            f"INSERT INTO table_{number} VALUES {values}",
        ]
    return made


def _postgres(server: PostgresqlServer, directory: Path) -> Sequence[float]:
    for name in ("app", "copy"):
        with psycopg.connect(server.uri("postgres"), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}"'.encode())
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
    with psycopg.connect(server.uri("app")) as app:
        for statement in _statements("bigint"):
            app.execute(statement.encode())
    return _move_twice(server.uri("app"), server.uri("copy"), directory)


def _sqlite(directory: Path) -> Sequence[float]:
    directory.mkdir()
    with sqlite3.connect(directory / "app.db") as db:
        for statement in _statements("INTEGER"):
            db.execute(statement)
    db.close()
    return _move_twice("app.db", "copy.db", directory)


def _move_twice(source: str, destination: str, directory: Path) -> Sequence[float]:
    """Return the seconds of a first Movement, and of one in which nothing has changed."""
    directory.mkdir(exist_ok=True)
    seconds = []
    for files in (TABLES, 0):
        moved = measuring.move(source, destination, "--home", directory / "home", directory=directory)
        assert moved.summary["event_files"]["exported"] == files, moved.summary
        seconds.append(moved.seconds)
    return seconds
