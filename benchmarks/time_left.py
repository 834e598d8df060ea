"""How true the time left is: in 20 real runs, how often the range that was shown held what came, and how near its middle was."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import psycopg

from tests.servers.postgresql import PostgresqlServer, postgresql

SETTINGS = {"PIPELINE_PROGRESS_SECONDS": "0.1", "PIPELINE_EVENT_FILE_ROWS": "30000"}
ROWS = 600_000
Shown = list[dict[str, Any]]


def run(directory: Path) -> None:
    """Print the score of each kind of run, and of all. Half of all errors at half time are smaller than the median."""
    with postgresql() as server:
        kinds = _Kinds(directory, server)
        runs: Sequence[tuple[str, int, Callable[[], Shown]]] = (
            ("tables of SQLite to SQLite", 5, lambda: kinds.some_tables("copy.db")),
            ("tables of SQLite to Event Files", 3, lambda: kinds.some_tables("sam:out")),
            ("tables with indexes, SQLite to SQLite", 3, lambda: kinds.move("indexed.db", "copy.db")),
            ("200 tables, SQLite to SQLite", 2, lambda: kinds.move("many.db", "copy.db")),
            ("a table with indexes, PostgreSQL to PostgreSQL", 3, kinds.to_postgresql),
            ("the same to SQLite", 2, lambda: kinds.move(server.uri("app"), "copy.db")),
            ("a fifth of the rows has changed", 2, kinds.changed),
        )
        found = {name: [shown for _ in range(times) for shown in one()] for name, times, one in runs}
    print("\ntime left, 20 runs: ranges that held what came, median error at half time")
    for name, shown in found.items():
        print(f"  {name:46}  {_score(shown)}")
    print(f"  {'all (80 % and 15 % wanted)':46}  {_score([one for shown in found.values() for one in shown])}")


def _score(shown: Shown) -> str:
    held = [one["low"] <= one["came"] <= one["high"] for one in shown]
    errors = [abs((one["low"] + one["high"]) / 2 - one["came"]) / one["came"] for one in shown if one["percent"] == 50]
    return f"{sum(held)} of {len(held)}, " + (f"{statistics.median(errors):.0%}" if errors else "nothing at half time")


class _Kinds:
    """The kinds of runs, each in a directory of its own."""

    def __init__(self, directory: Path, server: PostgresqlServer) -> None:
        self._directory, self._server = directory, server
        self._dice, self._numbers = random.Random(3), count()
        build(directory / "app.db", self._dice, 6, ROWS)
        build(
            directory / "indexed.db",
            self._dice,
            2,
            ROWS,
            "CREATE INDEX a{0} ON t{0} (a)",
            "CREATE INDEX c{0} ON t{0} (c, b)",
        )
        build(directory / "many.db", self._dice, 200, 5_000)
        self._copies = iter(("copy1", "copy2", "copy3"))
        for name in ("app", "copy1", "copy2", "copy3"):
            with psycopg.connect(server.uri("postgres"), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}".encode())
        with psycopg.connect(server.uri("app"), autocommit=True) as connection:
            connection.execute("CREATE TABLE parent AS SELECT n AS id FROM generate_series(1, 50000) AS n")
            connection.execute("ALTER TABLE parent ADD PRIMARY KEY (id)")
            connection.execute(
                "CREATE TABLE app (id bigint PRIMARY KEY, parent int REFERENCES parent, a text, b text, n numeric)"
            )
            connection.execute(
                "INSERT INTO app SELECT n, n % 50000 + 1, md5(n::text), repeat('y', (n % 80)::int), n * 1.25 "
                "FROM generate_series(1, 1000000) AS n"
            )
            for column in ("parent", "a", "b"):
                connection.execute(f"CREATE INDEX ON app ({column})".encode())
            connection.execute("ANALYZE")

    def move(self, source: str, destination: str, *arguments: str, place: Path | None = None) -> Shown:
        """Move into a place of its own, which is removed afterwards, or into `place`, which is kept."""
        at = place or self._directory / str(next(self._numbers))
        at.mkdir(exist_ok=True)
        source = source if ":" in source else str(self._directory / source)
        command = [sys.executable, "-m", "pipeline", "move", source, destination, *arguments, "--json"]
        done = subprocess.run(command, cwd=at, env={**os.environ, **SETTINGS}, capture_output=True, check=True)
        shown: Shown = orjson.loads(done.stdout.splitlines()[-1])["time_left_shown"]
        if place is None:
            shutil.rmtree(at)
        return shown

    def some_tables(self, destination: str) -> Shown:
        """Move three to six tables."""
        left_out = [f"--exclude=t{table}" for table in self._dice.sample(range(6), self._dice.randint(0, 3))]
        return self.move("app.db", destination, *left_out)

    def to_postgresql(self) -> Shown:
        """Move a table with its indexes into a database of its own."""
        return self.move(self._server.uri("app"), self._server.uri(next(self._copies)))

    def changed(self) -> Shown:
        """Move all rows, then change a fifth of them and move again."""
        place = self._directory / f"changed{next(self._numbers)}"
        place.mkdir()
        shutil.copy(self._directory / "app.db", place / "app.db")
        self.move(str(place / "app.db"), "copy.db", place=place)
        with closing(sqlite3.connect(place / "app.db")) as db, db:
            for table in range(6):
                db.execute(f"UPDATE t{table} SET c = c + 1 WHERE id % 5 = 0")
        shown = self.move(str(place / "app.db"), "copy.db", place=place)
        shutil.rmtree(place)
        return shown


def build(path: Path, dice: random.Random, tables: int, rows: int, *indexes: str) -> None:
    """Make a database whose tables differ in rows and in the width of a row."""
    with closing(sqlite3.connect(path)) as db, db:
        for table in range(tables):
            db.execute(f"CREATE TABLE t{table} (id INTEGER PRIMARY KEY, a TEXT, b TEXT, c REAL)")
            text, number = "x" * dice.choice((10, 60, 200)), int(rows * dice.uniform(0.4, 1.6))
            db.executemany(
                f"INSERT INTO t{table} VALUES (?, ?, ?, ?)",
                ((n, f"name {n * 7919 % number}", text, n * 1.5) for n in range(number)),
            )
            for index in indexes:
                db.execute(index.format(table))
