"""What a rejected record costs, when it is rejected and in every later Movement, for each kind of reason.

Both tables have the same rows; the destination's is stricter than the source's, made by hand. The cost is the difference
to a Movement into a table that takes all rows, in the same round, divided by the number of rejected records. PostgreSQL to
PostgreSQL on one server, and SQLite to SQLite. `BENCH_ROWS` and `BENCH_REJECTED` set other numbers.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psycopg

from benchmarks import measuring
from tests.servers.postgresql import PostgresqlServer, postgresql

ROWS = int(os.environ.get("BENCH_ROWS", "100000"))
REJECTED = int(os.environ.get("BENCH_REJECTED", "7904"))
ROUNDS = 3
MOST_MS = 0.5
_EVERY = ROWS // REJECTED
_COLUMNS = "id {0} PRIMARY KEY, name {1}, code {1}, parent {0}, amount {0}"
_POSTGRES = {
    "accepts all": (),
    "CHECK": ("ALTER TABLE item ADD CHECK (amount >= 0)",),
    "NOT NULL": ("ALTER TABLE item ALTER name SET NOT NULL",),
    "varchar(n)": ("ALTER TABLE item ALTER code TYPE varchar(12)",),
    "another type": ("ALTER TABLE item ALTER code TYPE bigint USING 0",),
    "UNIQUE": ("CREATE UNIQUE INDEX ON item (parent, amount)",),
    "UNIQUE, an expression": ("CREATE UNIQUE INDEX ON item ((parent + 0), amount)",),
    "foreign key": (
        "CREATE TABLE parent (id bigint PRIMARY KEY)",
        f"INSERT INTO parent SELECT generate_series(0, {ROWS})",
        "ALTER TABLE item ADD FOREIGN KEY (parent) REFERENCES parent",
    ),
}
_SQLITE = {
    "accepts all": _COLUMNS,
    "CHECK": _COLUMNS + " CHECK (amount >= 0)",
    "NOT NULL": _COLUMNS.replace("name {1}", "name {1} NOT NULL"),
    "UNIQUE": _COLUMNS + ", UNIQUE (parent, amount)",
}


def run(directory: Path) -> None:
    """Measure, and print a table."""
    print(f"Rejected records: {REJECTED:,} of {ROWS:,} rows; ms a record, medians of {ROUNDS} (farthest apart)")
    with postgresql() as server:
        with psycopg.connect(server.uri("postgres"), autocommit=True) as connection:
            connection.execute("CREATE ROLE owner LOGIN")
        _measure("PostgreSQL", _POSTGRES, lambda kind, round_: _postgres(server, kind, directory / f"{kind}{round_}"))
    _measure("SQLite", _SQLITE, lambda kind, round_: _sqlite(kind, directory / f"sqlite {kind}{round_}"))


def _measure(technology: str, kinds: Mapping[str, object], once: Callable[[str, int], Sequence[float]]) -> None:
    found: dict[str, list[Sequence[float]]] = {kind: [] for kind in kinds}
    for round_ in range(ROUNDS):
        for kind in kinds:
            found[kind].append(once(kind, round_))
    for kind in kinds:
        if kind == "accepts all":
            seconds = [statistics.median(one[movement] for one in found[kind]) for movement in (0, 1)]
            print(f"  {technology:10} {kind:22} first {seconds[0]:7.2f} s      later {seconds[1]:7.2f} s")
            continue
        texts = []
        for movement, what in enumerate(("first", "later")):
            each = [
                (bad[movement] - good[movement]) * 1000 / REJECTED
                for bad, good in zip(found[kind], found["accepts all"], strict=True)
            ]
            middle = statistics.median(each)
            kept = "kept" if middle <= MOST_MS else "missed"
            texts.append(f"{what} {middle:7.3f} ms ({min(each):.3f} to {max(each):.3f}, {kept})")
        print(f"  {technology:10} {kind:22} {'   '.join(texts)}")


def _rows() -> Sequence[tuple[object, ...]]:
    """Return the rows; each of the bad ones breaks every kind of constraint."""
    bad = set(range(_EVERY, ROWS, _EVERY))
    bad = set(sorted(bad)[:REJECTED])
    return [
        (n, None, "a text that is too long", ROWS + 1, -1) if n in bad else (n, f"name {n}", str(n), n, n)
        for n in range(ROWS)
    ]


def _postgres(server: PostgresqlServer, kind: str, directory: Path) -> Sequence[float]:
    with psycopg.connect(server.uri("postgres"), autocommit=True) as connection:
        for name in ("app", "copy"):
            connection.execute(f'DROP DATABASE IF EXISTS "{name}"')
            connection.execute(f'CREATE DATABASE "{name}" OWNER owner')
        connection.execute("CHECKPOINT")
    create = f"CREATE TABLE item ({_COLUMNS.format('bigint', 'text')})"
    uris = {name: server.uri(name).replace("postgres:@", "owner:@", 1) for name in ("app", "copy")}
    with psycopg.connect(uris["app"], autocommit=True) as app:
        app.execute(create)
        with app.cursor().copy("COPY item FROM STDIN") as copy:
            for row in _rows():
                copy.write_row(row)
    with psycopg.connect(uris["copy"], autocommit=True) as copied:
        for statement in (create, *_POSTGRES[kind]):
            copied.execute(statement)
    return _move_twice(uris["app"], uris["copy"], kind, directory)


def _sqlite(kind: str, directory: Path) -> Sequence[float]:
    directory.mkdir()
    for name, columns in (("app.db", _COLUMNS), ("copy.db", _SQLITE[kind])):
        with sqlite3.connect(directory / name) as db:
            db.execute(f"CREATE TABLE item ({columns.format('INTEGER', 'TEXT')})")
            if name == "app.db":
                db.executemany("INSERT INTO item VALUES (?, ?, ?, ?, ?)", _rows())
        db.close()
    return _move_twice("app.db", "copy.db", kind, directory)


def _move_twice(source: str, destination: str, kind: str, directory: Path) -> Sequence[float]:
    """Return the seconds of a first Movement, and of one after it."""
    directory.mkdir(exist_ok=True)
    arguments: list[str | Path] = [source, destination, "--home", directory / "home"]
    rejected = 0 if kind == "accepts all" else REJECTED - kind.startswith("UNIQUE")  # one of equal values is accepted
    seconds = []
    for _ in range(2):
        moved = measuring.move(*arguments, directory=directory, statuses=("0", "1"))
        assert moved.summary["records"]["quarantined"] == rejected, (kind, moved.summary)
        seconds.append(moved.seconds)
    return seconds
