"""Constraints that an SQLite source has no more, or on other columns, do not stay in PostgreSQL to refuse its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipeline.connectors.postgres import PostgresDestination
from pipeline.connectors.sqlite import SqliteSource
from tests.connectors.postgres.moving import Movements, equal, succeed
from tests.connectors.postgres.places import Place
from tests.connectors.sqlite import databases

CONSTRAINTS = (
    "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE conrelid = 't'::regclass AND contype IN ('f', 'u') ORDER BY conname"
)
INDEXES = "SELECT indexname FROM pg_indexes WHERE tablename = 't' AND indexname <> 't_pkey' ORDER BY indexname"
PARENT = ("CREATE TABLE p (id INTEGER PRIMARY KEY, n INT UNIQUE)", "INSERT INTO p VALUES (1, 1)")
PLAIN = "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b INT)"


def redeclared(declaration: str) -> tuple[str, ...]:
    """Return the statements that give `t` another declaration."""
    return ("ALTER TABLE t RENAME TO f", declaration, "INSERT INTO t SELECT * FROM f", "DROP TABLE f")


CASES: dict[str, tuple[Sequence[str], Sequence[str], list[str], list[str]]] = {
    "unique index": (
        (PLAIN, "CREATE UNIQUE INDEX u ON t (a)"),
        ("DROP INDEX u", "INSERT INTO t VALUES (2, 1, 1)"),
        [],
        [],
    ),
    "unique index becomes a plain one": (
        (PLAIN, "CREATE UNIQUE INDEX u ON t (a)"),
        ("DROP INDEX u", "CREATE INDEX u ON t (a)", "INSERT INTO t VALUES (2, 1, 1)"),
        [],
        ["u"],
    ),
    "index on another column": (
        (PLAIN, "CREATE UNIQUE INDEX u ON t (a)"),
        ("DROP INDEX u", "CREATE UNIQUE INDEX u ON t (b)", "INSERT INTO t VALUES (2, 1, 2)"),
        [],
        ["u"],
    ),
    "unique constraint": (
        ("CREATE TABLE t (id INTEGER PRIMARY KEY, a INT UNIQUE, b INT)",),
        (*redeclared(PLAIN), "INSERT INTO t VALUES (2, 1, 1)"),
        [],
        [],
    ),
    "foreign key": (
        (*PARENT, "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT REFERENCES p, b INT)"),
        (*redeclared(PLAIN), "INSERT INTO t VALUES (2, 9, 1)"),
        [],
        [],
    ),
    "action of a foreign key": (
        (*PARENT, "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT REFERENCES p, b INT)"),
        redeclared("CREATE TABLE t (id INTEGER PRIMARY KEY, a INT REFERENCES p ON DELETE CASCADE, b INT)"),
        ["t_a_fkey"],
        [],
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_constraint_that_is_gone_refuses_nothing(case: str, make: Callable[[], Place], tmp_path: Path) -> None:
    before, change, constraints, indexes = CASES[case]
    source, place = tmp_path / "app.db", make()
    databases.run(source, *before, "INSERT INTO t VALUES (1, 1, 1)")
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    await succeed(movements)
    databases.run(source, *change)
    await succeed(movements)
    assert place.rows("SELECT count(*) FROM t") == databases.rows(source, "SELECT count(*) FROM t")
    assert [name for name, _ in place.rows(CONSTRAINTS)] == constraints
    assert [name for (name,) in place.rows(INDEXES)] == indexes
    if case == "action of a foreign key":
        assert "ON DELETE CASCADE" in str(place.rows(CONSTRAINTS)[0][1])


async def test_a_unique_constraint_goes_with_foreign_keys_to_it_and_an_index_of_the_app_stays(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source, place = tmp_path / "app.db", make()
    child = "CREATE TABLE c (id INTEGER PRIMARY KEY, a INT REFERENCES t (a))"
    databases.run(source, "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT UNIQUE, b INT)", child)
    databases.run(source, "INSERT INTO t VALUES (1, 1, 1)", "INSERT INTO c VALUES (1, 1)")
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    await succeed(movements)
    place.run("CREATE INDEX own ON t (b)")
    databases.run(
        source, "DROP TABLE c", "CREATE TABLE c (id INTEGER PRIMARY KEY, a INT)", "INSERT INTO c VALUES (1, 1)"
    )
    databases.run(source, *redeclared(PLAIN), "INSERT INTO t VALUES (2, 1, 1)")
    await succeed(movements)
    assert place.rows(CONSTRAINTS) == []
    assert place.rows(INDEXES) == [("own",)]


async def test_a_column_whose_texts_are_not_of_its_new_type_keeps_them(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(source, "CREATE TABLE t (id INTEGER PRIMARY KEY, a VARCHAR(9), b INTEGER)")
    databases.run(source, "INSERT INTO t VALUES (1, 'x', 1), (2, 'y', 2)")
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    await succeed(movements)
    databases.run(source, *redeclared("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER)"))
    databases.run(source, "INSERT INTO t VALUES (3, 7, 3)")
    for swap in ((), ("ALTER TABLE t RENAME a TO c", "ALTER TABLE t RENAME b TO a", "ALTER TABLE t RENAME c TO b")):
        databases.run(source, *swap)
        await succeed(movements)
        assert await equal(movements)
        found = place.rows("SELECT id, a::text, b::text FROM t ORDER BY id")
        assert found == databases.rows(source, "SELECT id, CAST(a AS TEXT), CAST(b AS TEXT) FROM t ORDER BY id")
