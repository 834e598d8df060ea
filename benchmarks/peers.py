"""First Movements beside what a user would take instead: whole processes, in turns, in one run.

- PostgreSQL to PostgreSQL: `pg_dump | psql`, psql's binary `COPY | COPY`, pgcopydb and dlt.
- SQLite to PostgreSQL: pgloader.
- SQLite to SQLite: `ATTACH; INSERT … SELECT`, `.dump | sqlite3` and `.backup`.

Every program runs with its defaults, and one that is not installed is named. After each run the copy is compared with
the source row by row: that of a Movement must be equal, and another program whose copy is not is marked.

PostgreSQL is the newest server that Debian's packages have put on this machine, since pg_dump and pgcopydb copy no
server that is newer than they are; without one, the server of the wheel. Trees have a benchmark of their own,
`many_files`.
"""

from __future__ import annotations

import shlex
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import psycopg

from benchmarks import chart, data, item, measuring
from localstack.environment import EnvironmentNotMadeError, environment
from tests.servers.postgresql import PostgresqlServer, installed, postgresql, program

ROUNDS = 3
Command = Sequence[str | Path]
_OURS = "pipeline move"
_DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True, slots=True)
class Program:
    """A program that copies: `copy` runs its command once, to the end; `needs` is the program that must be installed."""

    name: str
    copy: Callable[[Path], measuring.Run]
    needs: str = ""


def run(directory: Path) -> None:
    """Measure, print a table for each pair of places, and draw it."""
    data.build(directory / "app.db", item.ROWS)
    with _server() as (server, programs):
        databases = Databases(server, programs, directory / "app.db")
        item.make(server, "app")
        item.fill(server.uri("app"), item.ROWS)
        Comparison("PostgreSQL to PostgreSQL", databases.from_postgresql(), databases.fresh, databases.equal).run(
            directory / "postgresql"
        )
        Comparison("SQLite to PostgreSQL", databases.from_sqlite(), databases.fresh, databases.equal).run(
            directory / "across"
        )
    expected = _sqlite_digest(directory / "app.db")

    def equal(place: Path) -> bool:
        return _sqlite_digest(place / "copy.db") == expected

    Comparison("SQLite to SQLite", _from_sqlite_to_sqlite(directory / "app.db"), _nothing, equal).run(
        directory / "sqlite"
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several programs that copy the same. `prepare` makes an empty destination; `equal` tells whether all rows are there."""

    title: str
    programs: list[Program]
    prepare: Callable[[], None]
    equal: Callable[[Path], bool]

    def run(self, directory: Path) -> None:
        """Measure all in turns, check that all copies are equal, print and draw."""
        there = [one for one in self.programs if not one.needs or shutil.which(one.needs)]
        runs: dict[str, list[measuring.Run]] = {one.name: [] for one in there}
        differing = set()
        for round_ in range(ROUNDS + 1):
            for one in there:
                self.prepare()
                place = directory / f"{round_}-{one.name.replace(' ', '_').replace('|', '')}"
                place.mkdir(parents=True)
                measured = one.copy(place)
                if not self.equal(place):
                    differing.add(one.name)
                shutil.rmtree(place)
                if round_:  # the first round warms up
                    runs[one.name].append(measured)
        if _OURS in differing:
            raise RuntimeError(f"{self.title}: the copy differs from the source")
        self._print(runs, differing)
        for one in self.programs:
            if one not in there:
                print(f"  {one.name:34} is not installed")

    def _print(self, runs: dict[str, list[measuring.Run]], differing: set[str]) -> None:
        rows = item.ROWS
        print(f"{self.title}, {rows:,} rows of 12 columns, medians of {ROUNDS}, least and most")
        bars = []
        for name, measured in runs.items():
            seconds = measuring.spread([one.seconds for one in measured])
            ratio = measuring.spread(
                [theirs.seconds / ours.seconds for theirs, ours in zip(measured, runs[_OURS], strict=True)]
            )
            peak = max(one.peak_bytes for one in measured) >> 20
            beside = "" if name == _OURS else f"  pipeline has {ratio.median:.2f} of its rate"
            print(
                f"  {name:34} {seconds.median:6.2f} s ({seconds.least:.2f} to {seconds.most:.2f}) {peak:>5} MiB{beside}"
            )
            if name in differing:
                print(f"  {'':34} its copy is not equal to the source")
            bars.append((name, rows / seconds.median))
        if rows == item.USUAL_ROWS:
            chart.draw(f"peers-{self.title.lower().replace(' ', '-')}", self.title, bars, ROUNDS)


@dataclass(frozen=True, slots=True)
class Databases:
    """A server with the database `app`, which is copied to the database `copy`; PostgreSQL's programs of its release."""

    server: PostgresqlServer
    programs: Path
    sqlite: Path

    def fresh(self) -> None:
        """Make the destination, empty."""
        item.make(self.server, "copy")

    def equal(self, _: Path) -> bool:
        """Return whether the copy has all rows, whatever integer and text types a program gave its columns."""
        return self._digest("copy") == self._digest("app")

    def _digest(self, database: str) -> str:
        columns = ", ".join(f"{name}::{kind}" for name, kind in item.TYPES.items())
        with psycopg.connect(self.server.uri(database)) as connection:
            connection.execute("SET search_path = public, bench")
            found = connection.execute(
                f"SELECT md5(string_agg(md5(row({columns})::text), '' ORDER BY id)) FROM item"
            ).fetchone()
        assert found is not None
        return str(found[0])

    def from_postgresql(self) -> list[Program]:
        """Return the programs that copy one database of PostgreSQL to another."""
        source, copy = self.server.uri("app"), self.server.uri("copy")
        dump: Command = [self.programs / "pg_dump", "--dbname", source]
        load: Command = [self.programs / "psql", "--quiet", "--no-psqlrc", "--dbname", copy, "--set", "ON_ERROR_STOP=1"]
        binary = "(FORMAT binary)"
        out: Command = [self.programs / "psql", "--dbname", source, "--command", f"COPY item TO STDOUT {binary}"]
        into = [*load, "--command", item.CREATE, "--command", f"COPY item FROM STDIN {binary}"]
        clone = ["pgcopydb", "clone", "--source", source, "--target", copy, "--dir"]
        return [
            Program(_OURS, lambda place: measuring.move(source, copy, directory=place)),
            Program("pg_dump | psql", lambda place: _piped(dump, load, place)),
            Program("psql COPY | COPY, binary", lambda place: _piped(out, into, place)),
            Program("pgcopydb", lambda place: measuring.run([*clone, place / "work"], place), "pgcopydb"),
            *self._dlt(source, copy),
        ]

    def _dlt(self, source: str, copy: str) -> list[Program]:
        try:
            environment("others", item.OTHERS)
        except EnvironmentNotMadeError as error:
            print(f"dlt cannot be installed: {error}")
            return []
        return [Program("dlt, pyarrow", lambda place: item.dlt(source, copy, place))]

    def from_sqlite(self) -> list[Program]:
        """Return the programs that copy a database of SQLite to PostgreSQL."""
        copy = self.server.uri("copy")
        return [
            Program(_OURS, lambda place: measuring.move(self.sqlite, copy, directory=place)),
            Program("pgloader", lambda place: self._pgloader(copy, place), "pgloader"),
        ]

    def _pgloader(self, copy: str, place: Path) -> measuring.Run:
        host = psycopg.conninfo.conninfo_to_dict(copy)
        target = f"postgresql://{host['user']}@unix:{host['host']}:5432/copy"
        return measuring.run(["pgloader", self.sqlite, target], place)


@contextmanager
def _server() -> Iterator[tuple[PostgresqlServer, Path]]:
    """Run a server; yield it and the directory of its programs."""
    found = sorted(_DEBIAN.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        with postgresql() as server:
            yield server, program("psql").parent
        return
    with installed(found[-1].parent) as server:
        yield server, found[-1].parent


def _piped(one: Command, other: Command, place: Path) -> measuring.Run:
    both = " | ".join(shlex.join(map(str, command)) for command in (one, other))
    return measuring.run(["bash", "-o", "pipefail", "-c", both], place)


def _from_sqlite_to_sqlite(source: Path) -> list[Program]:
    attach = (
        f"ATTACH '{source}' AS source; CREATE TABLE item({data.COLUMNS}); INSERT INTO item SELECT * FROM source.item;"
    )
    dump: Command = ["sqlite3", "-batch", source, ".dump"]
    return [
        Program(_OURS, lambda place: measuring.move(source, "copy.db", directory=place)),
        Program(
            "ATTACH; INSERT … SELECT", lambda place: measuring.run(["sqlite3", "copy.db", attach], place), "sqlite3"
        ),
        Program(".dump | sqlite3", lambda place: _piped(dump, ["sqlite3", "copy.db"], place), "sqlite3"),
        Program(".backup", lambda place: measuring.run(["sqlite3", source, ".backup copy.db"], place), "sqlite3"),
    ]


def _nothing() -> None:
    """Prepare nothing: every run has a directory of its own."""


def _sqlite_digest(path: Path) -> str:
    digest = sha256()
    database = sqlite3.connect(path)
    for row in database.execute("SELECT * FROM item ORDER BY id"):
        digest.update(repr(row).encode())
    database.close()
    return digest.hexdigest()
