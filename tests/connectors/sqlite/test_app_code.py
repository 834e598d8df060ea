"""Collations and functions that only the app knows: everything arrives that can, and the rest is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from pipeline.connectors.sqlite import SqliteDestination, SqliteSource
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.inventory import Fate, InventoryItem
from pipeline.ports.destination import Loaded
from tests.connectors.sqlite.databases import export, rows, run
from tests.contracts.destination import FLOW
from tests.contracts.source import read_stream

SCHEMA = """
CREATE TABLE tag (name TEXT NOT NULL PRIMARY KEY COLLATE unicase, usn INT) WITHOUT ROWID;
CREATE TABLE deck (id INTEGER PRIMARY KEY, name TEXT NOT NULL COLLATE unicase, size INT CHECK (twice(size) > 0),
    double INT AS (twice(size)), stored INT AS (twice(size)) STORED, other INT DEFAULT (twice(3)));
CREATE UNIQUE INDEX deck_name ON deck (name);
CREATE INDEX deck_size ON deck (size);
CREATE INDEX deck_twice ON deck (twice(size));
CREATE INDEX deck_large ON deck (size) WHERE twice(size) > 8;
CREATE INDEX deck_double ON deck (double);
CREATE TABLE plain (id INTEGER PRIMARY KEY);
CREATE VIEW doubled AS SELECT twice(size) FROM deck;
CREATE TRIGGER watch AFTER INSERT ON plain BEGIN INSERT INTO tag VALUES (twice(new.id), 0); END;
INSERT INTO tag VALUES ('b', 1), ('A', 2), ('ä', 3);
INSERT INTO deck (id, name, size) VALUES (1, 'x', 4), (2, 'Y', 5);
INSERT INTO plain VALUES (7);
"""


def as_app(path: Path) -> apsw.Connection:
    """Open a database as the app does."""
    connection = apsw.Connection(str(path))
    connection.create_collation("unicase", lambda a, b: (a.lower() > b.lower()) - (a.lower() < b.lower()))
    connection.create_scalar_function("twice", _twice, 1, deterministic=True)
    return connection


def _twice(*values: apsw.SQLiteValue) -> int:
    return 2 * int(str(values[0]))


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    source = tmp_path / "source.db"
    connection = as_app(source)
    connection.execute(SCHEMA).fetchall()
    connection.close(True)
    return source, tmp_path / "destination.db"


async def move(source: Path, destination: Path) -> tuple[list[str], list[InventoryItem]]:
    """Load every stream; return what `finish` found, and the inventory."""
    files = await export(source)
    async with SqliteDestination(destination).open(FLOW) as session:
        for file in files:
            outcome = await session.load(file, after=[])
            assert isinstance(outcome, Loaded)
            assert outcome.rejections == ()
        violations = await session.finish([file.entry.id.stream for file in files])
        return [one.message for one in violations], list(await session.ensure_objects(rows_changed=True))


async def test_everything_arrives_but_what_only_the_app_can_keep_in_order(places: tuple[Path, Path]) -> None:
    source, destination = places
    violations, items = await move(source, destination)
    assert violations == []
    assert sorted((item.kind, item.name, item.fate) for item in items if item.fate is not Fate.MOVED) == [
        ("collation", "tag: unicase", Fate.NOT_MOVED),
        ("generated column", "deck", Fate.OTHER_FORM),
        ("index", "deck_double", Fate.NOT_MOVED),
        ("index", "deck_large", Fate.NOT_MOVED),
        ("index", "deck_name", Fate.NOT_MOVED),
        ("index", "deck_twice", Fate.NOT_MOVED),
    ]
    reasons = {item.name: item.reason for item in items}
    assert reasons["deck_name"] == (
        "it needs unicase, which only the app knows; let the app create it: CREATE UNIQUE INDEX deck_name ON deck (name)"
    )
    app = as_app(destination)
    assert app.execute("SELECT id, name, size, double, stored, other FROM deck WHERE name = 'X' OR id = 2").fetchall() == [
        (1, "x", 4, 8, 8, 6), (2, "Y", 5, 10, 10, 6),
    ]  # fmt: skip
    assert app.execute("SELECT name FROM tag").fetchall() == [("14",), ("A",), ("b",), ("ä",)]
    assert app.execute("SELECT * FROM doubled").fetchall() == [(8,), (10,)]
    for statement in [item.reason.partition("create it: ")[2] for item in items if item.kind == "index"]:
        if statement:
            app.execute(statement).fetchall()
    assert app.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    app.close(True)


@pytest.mark.parametrize(
    ("index", "needs"),
    [("deck (name)", "unicase"), ("deck (id) WHERE twice(size) > 1", "twice"), ("deck (double)", "twice")],
)
async def test_an_index_in_an_order_of_the_app_is_never_written_to(
    places: tuple[Path, Path], index: str, needs: str
) -> None:
    source, destination = places
    await move(source, destination)
    app = as_app(destination)
    app.execute(f"CREATE INDEX own ON {index}; DELETE FROM _pipeline_marks").fetchall()
    with pytest.raises(
        ConfigurationError, match=f"the index own needs {needs}, which only the app knows; drop the index"
    ):
        await move(source, destination)
    app.execute("DROP INDEX own; UPDATE deck SET size = 1 WHERE id = 1; DELETE FROM _pipeline_marks").fetchall()
    app.close(True)
    await move(source, destination)
    assert rows(destination, "SELECT size FROM deck ORDER BY id") == [(4,), (5,)]


async def test_a_virtual_table_whose_module_is_missing_and_a_broken_view_hinder_nothing(tmp_path: Path) -> None:
    source, destination = tmp_path / "source.db", tmp_path / "destination.db"
    run(
        source,
        "CREATE TABLE t (id INTEGER PRIMARY KEY)",
        "INSERT INTO t VALUES (1)",
        "CREATE VIEW broken AS SELECT * FROM missing",
        "CREATE TABLE words_data (id INTEGER PRIMARY KEY, block BLOB)",
        "INSERT INTO words_data VALUES (1, x'00')",
        "PRAGMA writable_schema = ON",
        "INSERT INTO sqlite_schema VALUES ('table', 'words', 'words', 0, 'CREATE VIRTUAL TABLE words USING ours(a)')",
    )
    violations, items = await move(source, destination)
    assert violations == []
    assert {(item.kind, item.name, item.fate) for item in items} == {
        ("view", "broken", Fate.MOVED), ("virtual table", "words", Fate.MOVED),
    }  # fmt: skip
    assert rows(destination, "SELECT * FROM words_data") == [(1, b"\0")]
    wanted = "SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE '%pipeline%' ORDER BY name"
    assert rows(destination, wanted) == rows(source, wanted)


async def test_a_column_that_only_the_app_can_compute_is_not_compared(places: tuple[Path, Path]) -> None:
    source, _ = places
    connection = as_app(source)
    connection.execute("ALTER TABLE deck ADD COLUMN thrice INT AS (3 * size)").fetchall()
    connection.close(True)
    async with SqliteSource(source, generated=True).open_snapshot() as snapshot:
        (deck,) = [schema for schema in await snapshot.streams() if schema.stream == "deck"]
        assert deck.column_names == ("id", "name", "size", "stored", "other", "thrice")
        assert b'"thrice":12' in (await read_stream(snapshot, deck)).lines[0]


EXPLAINED = """
import apsw, sys
from pipeline.connectors.sqlite.app_code import run_with_functions
reader, writer = apsw.Connection(sys.argv[1]), apsw.Connection(sys.argv[1])
writer.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x UNIQUE, y CHECK (y > 0))")
for number in range(500):
    run_with_functions(reader, 'EXPLAIN INSERT INTO main."t" DEFAULT VALUES')
    writer.execute(f"CREATE TABLE u{number} (x)")
    reader.execute("SELECT * FROM t").fetchall()
print("whole")
"""


def test_a_schema_that_changes_meanwhile_does_not_end_the_process(tmp_path: Path) -> None:
    """SQLite 3.54 reads freed memory when it explains a statement of before the change."""
    command = [sys.executable, "-c", EXPLAINED, str(tmp_path / "a.db")]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout == "whole\n"


async def test_a_table_whose_default_is_bytes_is_written_to(tmp_path: Path) -> None:
    source, destination = tmp_path / "source.db", tmp_path / "copy.db"
    run(source, "CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB DEFAULT x'ff80')", "INSERT INTO t (id) VALUES (1)")
    run(destination, "CREATE TABLE t (id INTEGER PRIMARY KEY, a BLOB DEFAULT x'ff80', b BLOB DEFAULT (x'ff' || x'80'))")
    assert await move(source, destination) == ([], [])
    assert rows(destination, "SELECT id, a FROM t") == [(1, b"\xff\x80")]


async def test_no_stand_in_decides_a_stored_value(tmp_path: Path) -> None:
    source, destination = tmp_path / "source.db", tmp_path / "destination.db"
    run(source, "CREATE TABLE t (a INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (3)")
    app = as_app(destination)
    app.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b AS (twice(a)) STORED)")
    app.close(True)
    with pytest.raises(
        ConfigurationError, match="a stored generated column of it calls a function that only the app knows"
    ):
        await move(source, destination)
    assert rows(destination, "SELECT count(*) FROM t") == [(0,)]


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
async def test_the_collations_of_sqlite_stay_its_own_in_a_database_in_utf16(encoding: str, tmp_path: Path) -> None:
    """SQLite asks for a function for NOCASE there; a stand-in would put keys in an order that no app finds again."""
    source, destination = tmp_path / "source.db", tmp_path / "destination.db"
    run(
        source,
        f"PRAGMA encoding = '{encoding}'",
        "CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY, v TEXT COLLATE RTRIM UNIQUE) WITHOUT ROWID",
        "INSERT INTO t VALUES ('b', 'x'), ('C', 'y '), ('a', 'z'), (CAST(x'00d8' AS TEXT), 'q'), (CAST(x'd800' AS TEXT), 'r')",
    )
    for _ in range(2):
        violations, items = await move(source, destination)
        assert (violations, [item for item in items if item.fate is not Fate.MOVED]) == ([], [])
        rows(destination, "DELETE FROM _pipeline_marks")
    app = apsw.Connection(str(destination))
    assert app.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert app.execute("SELECT v FROM t WHERE k IN ('A', 'c') ORDER BY k").fetchall() == [("z",), ("y ",)]
    with pytest.raises(apsw.ConstraintError):
        app.execute("INSERT INTO t VALUES ('B', 'new')")
    with pytest.raises(apsw.ConstraintError):
        app.execute("INSERT INTO t VALUES ('new', 'x  ')")
    app.close(True)
