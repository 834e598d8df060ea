"""A small app with four tables, in SQLite or in PostgreSQL."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol

import psycopg

from tests.servers.postgresql import PostgresqlServer
from tests.torture.place import State

RECOVERY_SECONDS = 60.0
"""PostgreSQL refuses connections while it recovers from a crash."""
WORDS = ("alpha", "beta", "", "Ω", "it's", "🦔", "tab\there", "line\nfeed")
NUMBERED = ("t0", "t1", "t2")
_PAIRS = "CREATE TABLE pairs(a TEXT NOT NULL, b INTEGER NOT NULL, c TEXT, PRIMARY KEY(a, b))"

Step = tuple[str, Sequence[tuple[object, ...]]]
"""A statement with a %s for each value, and its rows of values."""


class Engine(Protocol):
    """Runs SQL."""

    @property
    def key_type(self) -> str:
        """The type of a numeric primary key."""
        ...

    def write(self, statements: Sequence[str], steps: Iterable[Step]) -> None:
        """Run all in one transaction."""
        ...

    def read(self, query: str) -> list[tuple[object, ...]]:
        """Return the rows of a query."""
        ...

    def tables(self) -> list[str]:
        """Return the names of the app's tables."""
        ...


@dataclass(frozen=True)
class SqliteEngine:
    """A file in WAL mode, which can be read and written concurrently."""

    path: Path
    key_type: str = "INTEGER"

    def write(self, statements: Sequence[str], steps: Iterable[Step]) -> None:
        """Run all in one transaction."""
        with closing(sqlite3.connect(self.path, timeout=60)) as db:
            db.execute("PRAGMA journal_mode=WAL")
            with db:
                for statement in statements:
                    db.execute(statement)
                for statement, rows in steps:
                    db.executemany(statement.replace("%s", "?"), rows)

    def read(self, query: str) -> list[tuple[object, ...]]:
        """Return the rows of a query."""
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=60)) as db:
            return db.execute(query).fetchall()

    def tables(self) -> list[str]:
        """Return the names of the app's tables."""
        names = [str(name) for (name,) in self.read("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1")]
        return [name for name in names if not name.startswith(("sqlite_", "_pipeline"))]


@dataclass(frozen=True)
class PostgresEngine:
    """A database of a server that may be recovering from a crash."""

    server: PostgresqlServer
    name: str
    key_type: str = "BIGINT"

    def create(self) -> None:
        """Create the database."""
        with psycopg.connect(self.server.uri("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {self.name}".encode())

    def write(self, statements: Sequence[str], steps: Iterable[Step]) -> None:
        """Run all in one transaction."""
        with psycopg.connect(self.server.uri(self.name)) as connection:
            for statement in statements:
                connection.execute(statement.encode())
            for statement, rows in steps:
                connection.cursor().executemany(statement.encode(), rows)

    def read(self, query: str) -> list[tuple[object, ...]]:
        """Return the rows of a query."""
        self.wait_for_recovery()
        with psycopg.connect(self.server.uri(self.name)) as connection:
            return connection.execute(query.encode()).fetchall()

    def wait_for_recovery(self) -> None:
        """Wait until the server accepts connections."""
        deadline = time.monotonic() + RECOVERY_SECONDS
        while True:
            try:
                psycopg.connect(self.server.uri(self.name)).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def tables(self) -> list[str]:
        """Return the names of the app's tables, and of any unexpected ones."""
        query = (
            "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p') "
            "AND nspname NOT IN ('pg_catalog', 'information_schema', '_pipeline') AND relpersistence <> 't' ORDER BY 1"
        )
        return [str(name) for (name,) in self.read(query)]

    def backends(self) -> list[int]:
        """Return the server's process ids of all other connections to this database."""
        query = (
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend' ORDER BY pid"
        )
        return [int(str(pid)) for (pid,) in self.read(query)]

    def terminate_backends(self) -> int:
        """Terminate all other connections to this database; return their number."""
        found = self.backends()
        for pid in found:
            self.read(f"SELECT pg_terminate_backend({pid})")
        return len(found)


@dataclass(frozen=True)
class Database:
    """The app's tables in a database. `location` is their argument for `pipeline`."""

    engine: Engine
    location: str

    def build(self, random: Random, size: int) -> None:
        """Create the tables with this many rows each."""
        columns = f"(id {self.engine.key_type} PRIMARY KEY, name TEXT, amount DOUBLE PRECISION, body TEXT)"
        steps = [
            (f"INSERT INTO {table} VALUES(%s, %s, %s, %s)", [_row(random, number) for number in range(size)])
            for table in NUMBERED
        ]
        pairs = [(word, number, random.choice(WORDS)) for number in range(size // len(WORDS)) for word in WORDS]
        self.engine.write(
            [*(f"CREATE TABLE {table}{columns}" for table in NUMBERED), _PAIRS],
            [*steps, ("INSERT INTO pairs VALUES(%s, %s, %s)", pairs)],
        )

    def change(self, random: Random, size: int) -> None:
        """Change, add and delete rows of each table, in one transaction."""
        steps: list[Step] = []
        for table in NUMBERED:
            numbers = random.sample(range(20 * size), size)
            steps.append((f"DELETE FROM {table} WHERE id = %s", [(number,) for number in numbers]))
            kept = [_row(random, number) for number in numbers if random.random() < 0.8]
            steps.append((f"INSERT INTO {table} VALUES(%s, %s, %s, %s)", kept))
        some = {(random.choice(WORDS), random.randrange(size)) for _ in range(size)}
        steps.append(("DELETE FROM pairs WHERE a = %s AND b = %s", sorted(some)))
        again = [(*key, random.choice(WORDS)) for key in sorted(some) if random.random() < 0.6]
        steps.append(("INSERT INTO pairs VALUES(%s, %s, %s)", again))
        self.engine.write([], steps)

    def state(self) -> State:
        """Return all rows of all tables."""
        return {table: sorted(self.engine.read(f"SELECT * FROM {table}")) for table in self.engine.tables()}

    def leftovers(self) -> Sequence[str]:
        """Return unexpected files beside an SQLite file, or open connections of PostgreSQL."""
        if isinstance(self.engine, PostgresEngine):
            return [f"the backend {pid}" for pid in self.engine.backends()]
        assert isinstance(self.engine, SqliteEngine)
        path = self.engine.path
        known = {path.name + ending for ending in ("", "-wal", "-shm")}
        return [str(found) for found in path.parent.glob(f"{path.name}*") if found.name not in known]


def _row(random: Random, number: int) -> tuple[object, ...]:
    amount = random.choice([None, 0.0, 1 / 3, random.random(), -1e300])
    return number, random.choice([None, *WORDS]), amount, random.choice(WORDS) * random.randrange(30)
