"""From SQLite to SQLite, Movement after Movement: names that change hands, and values that a column would alter."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.app import CommandLine

SCHEMA = """SELECT type, name, sql FROM sqlite_schema
    WHERE tbl_name NOT LIKE '\\_pipeline%' ESCAPE '\\' AND sql IS NOT NULL AND name IN ('t', 'u', 'ix')"""


def run(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(script)


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return sorted(db.execute(sql).fetchall(), key=str)


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(
            (
                "CREATE TABLE t (id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, 2)",
                "ALTER TABLE t RENAME TO u; CREATE VIEW t AS SELECT * FROM u;"
                "CREATE TRIGGER t INSTEAD OF INSERT ON t BEGIN SELECT 1; END",
                "DROP VIEW t; ALTER TABLE u RENAME TO t",
                "DROP TABLE t; CREATE VIRTUAL TABLE t USING fts5 (a); INSERT INTO t VALUES ('x')",
                "DROP TABLE t; CREATE TABLE t (id INTEGER PRIMARY KEY, b); INSERT INTO t VALUES (3, 4)",
            ),
            id="table, view, virtual table",
        ),
        pytest.param(
            (
                "CREATE TABLE t (id INTEGER PRIMARY KEY, a); CREATE INDEX ix ON t (a);"
                "CREATE TRIGGER ix AFTER INSERT ON t BEGIN SELECT 1; END",
                "DROP INDEX ix; CREATE TABLE ix (id INTEGER PRIMARY KEY); INSERT INTO ix VALUES (1)",
                "DROP TABLE ix; CREATE INDEX ix ON t (a); INSERT INTO t VALUES (1, 2)",
                "DROP INDEX ix; CREATE VIEW ix AS SELECT 1 AS one",
            ),
            id="index, table, view",
        ),
    ],
)
def test_a_name_may_be_given_to_another_kind_of_object(pipeline: CommandLine, steps: tuple[str, ...]) -> None:
    here, there = pipeline.directory / "app.db", pipeline.directory / "copy.db"
    for step in steps:
        run(here, step)
        moved = pipeline("move", here, there, "--flow", "f", "--allow-deletes", "*")
        assert moved.code == 0, moved.out
        names = {name for _, name, _ in query(here, SCHEMA)}
        assert [one for one in query(there, SCHEMA) if one[1] in names] == query(here, SCHEMA)
        for name in names - {"ix"}:
            assert query(there, f"SELECT * FROM {name}") == query(here, f"SELECT * FROM {name}")
        assert query(there, "PRAGMA integrity_check") == [("ok",)]
        assert pipeline("verify", "f").code == 0


def test_the_shadow_tables_of_a_virtual_table_go_with_it(pipeline: CommandLine) -> None:
    here, there = pipeline.directory / "app.db", pipeline.directory / "copy.db"
    run(here, "CREATE TABLE u (id INTEGER PRIMARY KEY); INSERT INTO u VALUES (1)")
    run(here, "CREATE VIRTUAL TABLE t USING fts5 (a); INSERT INTO t VALUES ('x'); CREATE TABLE t_own (a)")
    assert pipeline("move", here, there, "--flow", "f").code == 0
    run(here, "ALTER TABLE t RENAME TO s; INSERT INTO s VALUES ('y')")
    assert pipeline("move", here, there, "--flow", "f").code == 0
    assert query(there, "SELECT name FROM sqlite_schema WHERE name GLOB 't*'") == [("t_own",)]
    names = "SELECT name FROM sqlite_schema WHERE name GLOB 's_*' AND type = 'table'"
    assert query(there, names) == query(here, names)
    run(there, "CREATE VIRTUAL TABLE t USING fts5 (b)")  # the app finds nothing in its way
    assert query(there, "SELECT a FROM s WHERE s MATCH 'y'") == [("y",)]


def test_an_object_of_the_app_that_has_the_name_stays_and_is_named(pipeline: CommandLine) -> None:
    here, there = pipeline.directory / "app.db", pipeline.directory / "copy.db"
    run(here, "CREATE VIRTUAL TABLE t USING fts5 (a); CREATE VIEW u AS SELECT 1")
    run(there, "CREATE TABLE t (own); CREATE INDEX u ON t (own)")
    moved = pipeline("move", here, there, "--flow", "f")
    assert moved.code == 1
    assert "(t): SQLite: the destination has a table of this name, which is left as it is" in moved.out
    assert "(u): SQLite: the destination has an index of this name, which is left as it is" in moved.out
    assert query(there, "PRAGMA table_info(t)")[0][1] == "own"


def test_a_table_that_is_renamed_in_case_does_not_count_as_another_one(pipeline: CommandLine) -> None:
    here, there = pipeline.directory / "app.db", pipeline.directory / "copy.db"
    run(here, "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")
    assert pipeline("move", here, there, "--flow", "f").code == 0
    run(here, "ALTER TABLE t RENAME TO other; ALTER TABLE other RENAME TO T")
    assert pipeline("move", here, there, "--flow", "f").code == 0
    assert query(there, "SELECT * FROM T") == [(1,)]
    assert pipeline("verify", "f").code == 0


def test_a_table_with_a_name_of_the_pipelines_own_streams_is_named(pipeline: CommandLine) -> None:
    here, there = pipeline.directory / "app.db", pipeline.directory / "copy.db"
    run(
        here,
        'CREATE TABLE "@schema" (a PRIMARY KEY); CREATE TABLE t (id INTEGER PRIMARY KEY); CREATE VIEW u AS SELECT 1',
    )
    moved = pipeline("move", here, there, "--flow", "f")
    assert (moved.code, "1 table (@schema): the pipeline uses this name" in moved.out) == (1, True)
    assert query(there, "SELECT * FROM u") == [(1,)]
    assert pipeline("move", here, there, "--flow", "f", "--accept-missing", "table").code == 0


def test_a_value_that_a_column_would_keep_as_another_number_is_rejected(pipeline: CommandLine) -> None:
    here, there = pipeline.directory / "app.db", pipeline.directory / "copy.db"
    kept = "(1, '1e3', 2), (2, 'x', 3), (3, '1.50', 9007199254740992), (4, x'00', NULL), (5, '-5', 1.5)"
    altered = (
        "(11, '007', 1), (12, '12345678901234567890.5', 1), (13, ' 5', 1), (14, 'x', 9007199254740993), "
        "(15, '1e99999999999999999999', 1)"
    )
    run(here, f"CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b); INSERT INTO t VALUES {kept}, {altered}")
    run(there, "CREATE TABLE t (id INTEGER PRIMARY KEY, a NUMERIC, b REAL)")
    moved = pipeline("move", here, there, "--flow", "f")
    assert moved.code == 1
    assert "key [11] was rejected: column a: the table would keep the text '007' as another number" in moved.out
    assert "column b: the table would keep 9007199254740993 as a number with fewer digits" in moved.out
    assert query(there, "SELECT id, a FROM t") == [(1, 1000), (2, "x"), (3, 1.5), (4, b"\0"), (5, -5)]
    run(here, "DELETE FROM t WHERE id > 10")
    assert pipeline("move", here, there, "--flow", "f").code == 0
    assert pipeline("verify", "f").code == 0


def test_a_column_that_the_destination_computes_is_named_if_it_has_values_at_the_source(pipeline: CommandLine) -> None:
    here, there = pipeline.directory / "app.db", pipeline.directory / "copy.db"
    run(here, "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b); INSERT INTO t VALUES (1, 2, 9)")
    run(there, "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b AS (a + 1), own AS (a + 2) STORED)")
    moved = pipeline("move", here, there, "--flow", "f")
    assert (moved.code, "1 generated column (t.b): the destination computes this column" in moved.out) == (1, True)
    assert pipeline("move", here, there, "--flow", "f", "--accept-missing", "generated column").code == 0


def test_a_column_that_only_the_app_can_fill_is_named(pipeline: CommandLine) -> None:
    here, there = pipeline.directory / "app.db", pipeline.directory / "copy.db"
    run(here, "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1)")
    run(there, "CREATE TABLE t (id INTEGER PRIMARY KEY, own DEFAULT (of_the_app(1)), other DEFAULT (abs(-2)))")
    moved = pipeline("move", here, there, "--flow", "f")
    assert (moved.code, "1 default (t.own): only the app can compute it" in moved.out) == (1, True)
    assert query(there, "SELECT * FROM t") == [(1, None, 2)]
    assert pipeline("move", here, there, "--flow", "f", "--accept-missing", "default").code == 0
