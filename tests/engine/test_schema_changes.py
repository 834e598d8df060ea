"""The effects of a schema change at the source between two Movements, from database to database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from pipeline.assembly.commands.move import move
from pipeline.domain.movement import HeldDeletes, Movement, Status
from pipeline.ports.reporter import Event, EventFileStored, Reporter, SilentReporter
from pipeline.settings import Settings

pytestmark = pytest.mark.slow

FORMER = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INTEGER)"
Rows = list[tuple[object, ...]]


class DiedError(BaseException):
    """The process has died."""


@dataclass
class DyingAfter:
    """A Reporter that kills the process after this many Event Files."""

    files: int

    def report(self, event: Event) -> None:
        """Count, and die."""
        if isinstance(event, EventFileStored):
            self.files -= 1
            if self.files == 0:
                raise DiedError


@dataclass
class Databases:
    """A source and a destination in one directory."""

    directory: Path

    def at_source(self, *statements: str) -> None:
        """Change the source."""
        self._run("app.db", statements)

    def at_destination(self, *statements: str) -> None:
        """Change the destination."""
        self._run("copy.db", statements)

    def _run(self, name: str, statements: Sequence[str]) -> None:
        with closing(sqlite3.connect(self.directory / name)) as db, db:
            for statement in statements:
                db.execute(statement)

    def move(self, reporter: Reporter | None = None, rows: int = 4) -> Movement:
        """Move once; a few rows make an Event File."""
        source, destination = str(self.directory / "app.db"), str(self.directory / "copy.db")
        settings = Settings(home=self.directory / "home", event_file_rows=rows, import_in_subprocess=False)
        return anyio.run(lambda: move(source, destination, settings=settings, reporter=reporter or SilentReporter()))

    def die_at_move(self, files: int) -> None:
        """Move in a process that dies after it has stored this many Event Files."""
        try:
            self.move(DyingAfter(files))
        except DiedError:
            return
        except BaseExceptionGroup as group:
            if group.split(DiedError)[1] is not None:
                raise

    def tables(self, name: str) -> dict[str, tuple[str, Rows]]:
        """Return all tables of an app, each with its declaration and all values with their types."""
        with closing(sqlite3.connect(self.directory / name)) as db:
            found = db.execute(
                "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND substr(name, 1, 10) <> '_pipeline_' "
                "AND substr(name, 1, 7) <> 'sqlite_'"
            ).fetchall()
            return {table: (sql, _values(db, table)) for table, sql in found}

    def ensure_equal(self) -> None:
        """Check that nothing differs, and that another Movement finds nothing to do."""
        assert self.tables("copy.db") == self.tables("app.db")
        again = self.move()
        assert (again.status, again.totals.files_exported) == (Status.SUCCESS, 0)


def _values(db: sqlite3.Connection, table: str) -> Rows:
    columns = [column[1] for column in db.execute(f'PRAGMA table_info("{table}")')]
    values = ", ".join(f'quote("{column}"), typeof("{column}")' for column in columns)
    return sorted(db.execute(f'SELECT {values} FROM "{table}"').fetchall())


def recreated(declaration: str, select: str = "*", former: str = "t") -> tuple[str, ...]:
    """Return the statements with which apps recreate a table."""
    return (
        f"ALTER TABLE {former} RENAME TO former",
        declaration,
        f"INSERT INTO t SELECT {select} FROM former",
        "DROP TABLE former",
    )


@pytest.fixture
def open_databases(tmp_path: Path) -> Callable[..., Databases]:
    def opened(declaration: str = FORMER, rows: int = 10) -> Databases:
        databases = Databases(tmp_path)
        inserts = [f"INSERT INTO t VALUES ({number + 10}, 'text {number}', {number * 7})" for number in range(rows)]
        databases.at_source(declaration, *inserts)
        assert databases.move().status is Status.SUCCESS
        return databases

    return opened


CHANGES: dict[str, tuple[tuple[str, ...], tuple[int, int]]] = {
    "a column is added": (("ALTER TABLE t ADD COLUMN c TEXT",), (10, 0)),
    "a column is added with a default": (("ALTER TABLE t ADD COLUMN c TEXT NOT NULL DEFAULT 'x'",), (10, 0)),
    "a column is dropped": (("ALTER TABLE t DROP COLUMN b",), (10, 0)),
    "a column is renamed": (("ALTER TABLE t RENAME COLUMN b TO c",), (10, 0)),
    "a column is renamed to other case": (("ALTER TABLE t RENAME COLUMN b TO B",), (10, 0)),
    "a column changes places": (
        recreated("CREATE TABLE t (b INTEGER, a TEXT, id INTEGER PRIMARY KEY)", "b, a, id"),
        (10, 0),
    ),
    "a column is of another type": (recreated("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT)"), (10, 0)),
    "a type changes and no value": (
        recreated("CREATE TABLE t (id INTEGER PRIMARY KEY, a VARCHAR(20), b BLOB)"),
        (0, 0),
    ),
    "NOT NULL comes": (recreated("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL, b INTEGER)"), (0, 0)),
    "the key is another column": (
        recreated("CREATE TABLE t (id INTEGER, a TEXT NOT NULL PRIMARY KEY, b INTEGER)"),
        (10, 10),
    ),
    "the key has two columns": (
        recreated("CREATE TABLE t (id INTEGER NOT NULL, a TEXT NOT NULL, b INTEGER, PRIMARY KEY (a, id))"),
        (10, 10),
    ),
    "the key is gone": (recreated("CREATE TABLE t (id INTEGER, a TEXT, b INTEGER)"), (10, 10)),
    "the key is renamed": (("ALTER TABLE t RENAME COLUMN id TO number",), (10, 10)),
    "the key is of another type": (
        recreated("CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, a TEXT, b INTEGER)"),
        (10, 10),
    ),
    "a table comes": (("CREATE TABLE u (id INTEGER PRIMARY KEY)", "INSERT INTO u VALUES (1)"), (1, 0)),
    "a table is another one now": (
        ("DROP TABLE t", "CREATE TABLE t (id INTEGER PRIMARY KEY, z TEXT)", "INSERT INTO t VALUES (10, 'z')"),
        (1, 9),
    ),
    "an index comes": (("CREATE UNIQUE INDEX one_a ON t (a)",), (0, 0)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_copy_follows(change: str, open_databases: Callable[..., Databases]) -> None:
    statements, records = CHANGES[change]
    databases = open_databases()
    databases.at_source(*statements)
    movement = databases.move()
    assert (movement.status, movement.problems) == (Status.SUCCESS, ())
    assert (movement.totals.upserts, movement.totals.deletes) == records
    databases.ensure_equal()


@pytest.mark.parametrize(
    "change",
    [
        "a column is dropped",
        "a column is renamed",
        "a column is of another type",
        "the key is another column",
        "the key is gone",
    ],
)
def test_the_copy_follows_when_rows_change_as_well(change: str, open_databases: Callable[..., Databases]) -> None:
    databases = open_databases()
    databases.at_source("DELETE FROM t WHERE rowid = 12", "UPDATE t SET a = 'other' WHERE rowid = 13")
    databases.at_source(*CHANGES[change][0])
    databases.at_source("DELETE FROM t WHERE rowid = 1")
    assert databases.move().status is Status.SUCCESS
    databases.ensure_equal()


RENAMED = ("ALTER TABLE t RENAME COLUMN b TO c",)
SWAPPED = tuple(
    f"ALTER TABLE t RENAME COLUMN {former} TO {name}" for former, name in (("a", "z"), ("b", "a"), ("z", "b"))
)


@pytest.mark.parametrize("statements", [RENAMED, SWAPPED], ids=["renamed", "swapped"])
@pytest.mark.parametrize(
    "declared",
    ["NOT NULL", "NOT NULL UNIQUE", "CHECK (b IS NOT NULL AND b >= 0)", "NOT NULL REFERENCES t (id)", "UNIQUE"],
)
def test_constraints_of_a_column_go_with_its_name(
    declared: str, statements: Sequence[str], open_databases: Callable[..., Databases]
) -> None:
    databases = open_databases(f"CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b INTEGER {declared})", 0)
    databases.at_source(*[f"INSERT INTO t VALUES ({number * 7}, NULL, {number * 7})" for number in range(10)])
    assert databases.move().status is Status.SUCCESS
    databases.at_source(*statements)
    movement = databases.move()
    assert (movement.status, movement.problems) == (Status.SUCCESS, ())
    databases.ensure_equal()


def test_a_table_that_goes_is_emptied_and_stays(open_databases: Callable[..., Databases]) -> None:
    databases = open_databases()
    databases.at_source("CREATE TABLE other (id INTEGER PRIMARY KEY)", "INSERT INTO other VALUES (1)", "DROP TABLE t")
    assert databases.move().totals.deletes == 10
    assert databases.tables("copy.db")["t"] == (FORMER, [])
    databases.at_source(FORMER, "INSERT INTO t VALUES (1, 'is back', 2)")
    assert databases.move().totals.upserts == 1
    databases.ensure_equal()


def test_a_key_that_changes_deletes_no_more_than_the_table_has_lost(open_databases: Callable[..., Databases]) -> None:
    databases = open_databases(rows=300)
    key = "CREATE TABLE t (id INTEGER, a TEXT NOT NULL PRIMARY KEY, b INTEGER)"
    databases.at_source(*recreated(key), "DELETE FROM t WHERE id > 100")
    before = databases.tables("copy.db")
    held = databases.move()
    assert (held.status, held.held_deletes) == (Status.INCOMPLETE, {"t": HeldDeletes(209, 300)})
    assert databases.tables("copy.db") == before
    databases.at_source(*[f"INSERT INTO t VALUES ({number}, 'new {number}', 0)" for number in range(109)])
    assert databases.move().status is Status.SUCCESS
    databases.ensure_equal()


def test_a_renamed_table_is_one_that_goes_and_one_that_comes(open_databases: Callable[..., Databases]) -> None:
    databases = open_databases()
    databases.at_source("ALTER TABLE t RENAME TO u")
    movement = databases.move()
    assert (movement.totals.upserts, movement.totals.deletes) == (10, 10)
    tables = databases.tables("copy.db")
    assert tables["t"][1] == []
    assert tables["u"] == databases.tables("app.db")["u"]


@pytest.mark.parametrize("rows", [0, 10])
def test_a_renamed_table_keeps_its_indexes(rows: int, open_databases: Callable[..., Databases]) -> None:
    databases = open_databases(rows=rows)
    databases.at_source("CREATE UNIQUE INDEX one_a ON t (a)", "CREATE INDEX some_b ON t (b)")
    databases.move()
    databases.at_source("ALTER TABLE t RENAME TO u")
    for _ in range(2):
        assert databases.move().status is Status.SUCCESS
        with sqlite3.connect(databases.directory / "copy.db") as copy:
            found = copy.execute(
                "SELECT name, tbl_name FROM sqlite_schema WHERE type = 'index' AND name GLOB '*_[ab]'"
            ).fetchall()
        copy.close()
        assert sorted(found) == [("one_a", "u"), ("some_b", "u")]


def test_an_index_whose_name_the_app_uses_at_the_destination_is_named(open_databases: Callable[..., Databases]) -> None:
    databases = open_databases()
    with sqlite3.connect(databases.directory / "copy.db") as copy:
        copy.execute("CREATE TABLE own (a)")
        copy.execute("CREATE INDEX one_a ON own (a)")
    copy.close()
    databases.at_source("CREATE UNIQUE INDEX one_a ON t (a)")
    movement = databases.move()
    assert movement.status is Status.INCOMPLETE
    assert "in use by another index of the destination, on the table own. Rename or drop that" in movement.problems[0]


def test_a_table_whose_name_changes_in_case_alone_keeps_its_rows(open_databases: Callable[..., Databases]) -> None:
    databases = open_databases()
    databases.at_source(
        "ALTER TABLE t RENAME TO x", "ALTER TABLE x RENAME TO T", "UPDATE T SET a = 'new' WHERE id = 13"
    )
    assert databases.move().status is Status.SUCCESS
    (copied,) = databases.tables("copy.db").values()
    assert copied[1] == databases.tables("app.db")["T"][1]
    assert databases.move().totals.files_exported == 0


def test_what_the_source_allows_now_goes_in(open_databases: Callable[..., Databases]) -> None:
    databases = open_databases("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL, b INTEGER CHECK (b < 100))")
    databases.at_source(*recreated(FORMER), "UPDATE t SET a = NULL WHERE id = 13", "UPDATE t SET b = 500 WHERE id = 14")
    movement = databases.move()
    assert (movement.status, movement.totals.upserts) == (Status.SUCCESS, 2)
    databases.ensure_equal()


def test_an_index_that_is_gone_forbids_nothing_any_more(open_databases: Callable[..., Databases]) -> None:
    databases = open_databases()
    databases.at_source("CREATE UNIQUE INDEX one_a ON t (a)")
    databases.move()
    databases.at_source("DROP INDEX one_a", "UPDATE t SET a = 'the same'")
    movement = databases.move()
    assert (movement.status, movement.totals.upserts) == (Status.SUCCESS, 10)
    databases.ensure_equal()


def test_a_constraint_that_old_rows_break_holds_at_the_end(open_databases: Callable[..., Databases]) -> None:
    databases = open_databases()
    databases.at_source("UPDATE t SET a = NULL")
    databases.move()
    databases.at_source("UPDATE t SET a = 'filled in'")
    databases.at_source(
        *recreated("CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL, b INTEGER, c TEXT)", "*, 'c'")
    )
    databases.at_source("ALTER TABLE t RENAME COLUMN c TO d")
    assert databases.move().status is Status.SUCCESS
    databases.ensure_equal()


def test_several_changes_between_two_movements_and_several_movements(open_databases: Callable[..., Databases]) -> None:
    databases = open_databases()
    for number in range(4):
        databases.at_source(
            f"ALTER TABLE t ADD COLUMN extra{number} TEXT",
            f"UPDATE t SET extra{number} = 'new' WHERE id % 2",
            "ALTER TABLE t RENAME COLUMN " + (f"extra{number - 1} TO other{number}" if number else "b TO bb"),
        )
        assert databases.move().status is Status.SUCCESS
        databases.ensure_equal()


@pytest.mark.parametrize("files", range(1, 4))
def test_a_change_between_a_crash_and_the_next_attempt(files: int, open_databases: Callable[..., Databases]) -> None:
    databases = open_databases()
    databases.at_source("ALTER TABLE t ADD COLUMN c TEXT", "UPDATE t SET c = 'c'")
    databases.die_at_move(files)
    databases.at_source("ALTER TABLE t DROP COLUMN c", "ALTER TABLE t ADD COLUMN d INTEGER")
    assert databases.move().status is Status.SUCCESS
    databases.ensure_equal()


@pytest.mark.parametrize("files", range(1, 6))
@pytest.mark.parametrize("back", [False, True])
def test_a_key_that_changes_and_a_crash(files: int, back: bool, open_databases: Callable[..., Databases]) -> None:
    databases = open_databases()
    databases.at_source(*recreated("CREATE TABLE t (id INTEGER, a TEXT NOT NULL PRIMARY KEY, b INTEGER)"))
    databases.die_at_move(files)
    if back:
        databases.at_source(*recreated(FORMER), "UPDATE t SET b = b + 1 WHERE id > 15")
    assert databases.move().status is Status.SUCCESS
    databases.ensure_equal()


def test_a_table_made_by_others_only_gets_more_columns(open_databases: Callable[..., Databases]) -> None:
    databases = open_databases(rows=0)
    databases.at_destination(
        "DROP TABLE t", "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b TEXT, own DEFAULT 'own')"
    )
    databases.at_source("INSERT INTO t VALUES (1, 'one', 2)")
    databases.move()
    databases.at_source("ALTER TABLE t ADD COLUMN c TEXT", "ALTER TABLE t DROP COLUMN b", "UPDATE t SET c = 'c'")
    assert databases.move().status is Status.SUCCESS
    with closing(sqlite3.connect(databases.directory / "copy.db")) as db:
        assert db.execute("SELECT id, a, b, own, c FROM t").fetchall() == [(1, "one", "2", "own", "c")]


def test_a_table_made_by_others_cannot_take_another_key(open_databases: Callable[..., Databases]) -> None:
    databases = open_databases()
    databases.at_destination("ALTER TABLE t ADD COLUMN own TEXT")
    databases.at_source(*recreated("CREATE TABLE t (id INTEGER, a TEXT NOT NULL PRIMARY KEY, b INTEGER)"))
    movement = databases.move()
    assert movement.status is Status.INCOMPLETE
    assert "CREATE UNIQUE INDEX" in movement.problems[0]
    databases.at_destination("CREATE UNIQUE INDEX own_key ON t (a)")
    assert databases.move().status is Status.SUCCESS
    with closing(sqlite3.connect(databases.directory / "copy.db")) as db:
        assert db.execute("SELECT count(*), sum(id) FROM t").fetchall() == [(10, sum(range(10, 20)))]


def test_a_trigger_made_by_others_is_not_lost(open_databases: Callable[..., Databases]) -> None:
    databases = open_databases()
    databases.at_destination("CREATE TRIGGER own AFTER DELETE ON t BEGIN SELECT 1; END")
    databases.at_source("ALTER TABLE t DROP COLUMN b")
    movement = databases.move()
    assert movement.status is Status.INCOMPLETE
    assert "the trigger own was not made by the pipeline" in movement.problems[0]
    databases.at_destination("DROP TRIGGER own")
    databases.at_source("UPDATE t SET a = 'changed' WHERE id = 10")
    assert databases.move().status is Status.SUCCESS
    databases.ensure_equal()


def test_rows_without_a_key_keep_their_numbers(open_databases: Callable[..., Databases]) -> None:
    databases = open_databases("CREATE TABLE t (id INTEGER, a TEXT, b INTEGER)")
    databases.at_source("DELETE FROM t WHERE rowid IN (1, 5)", "ALTER TABLE t DROP COLUMN b")
    assert databases.move().status is Status.SUCCESS
    databases.ensure_equal()
    databases.at_source("UPDATE t SET a = 'changed' WHERE rowid = 7")
    assert databases.move().totals.upserts == 1
    databases.ensure_equal()


def test_foreign_keys_keep_pointing_to_a_recreated_table(open_databases: Callable[..., Databases]) -> None:
    databases = open_databases()
    child = "CREATE TABLE child (id INTEGER PRIMARY KEY, t INTEGER REFERENCES t (id))"
    databases.at_source(child, "INSERT INTO child VALUES (1, 10)")
    databases.move()
    databases.at_source("ALTER TABLE t DROP COLUMN b")
    assert databases.move().status is Status.SUCCESS
    assert databases.tables("copy.db")["child"][0] == child
    databases.ensure_equal()


def test_a_new_destination_replays_the_changes(open_databases: Callable[..., Databases]) -> None:
    from pipeline.assembly.commands.flows import add_flow_destination, import_flow

    databases = open_databases()
    databases.at_source("ALTER TABLE t ADD COLUMN c TEXT", "UPDATE t SET c = 'c'")
    databases.move()
    databases.at_source(*recreated("CREATE TABLE t (a TEXT NOT NULL PRIMARY KEY, c TEXT)", "a, c"))
    flow = databases.move().flow
    settings = Settings(home=databases.directory / "home")
    further = str(databases.directory / "further.db")
    anyio.run(lambda: add_flow_destination(flow, further, name="further", settings=settings))
    assert anyio.run(lambda: import_flow("further", settings=settings)).status is Status.SUCCESS
    assert databases.tables("further.db") == databases.tables("app.db")
