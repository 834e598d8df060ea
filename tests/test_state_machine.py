"""Random inserts, updates, deletes, new shapes and crashes over several Movements: all destinations equal the source after each.

And what is moved is what has changed, no row more.
"""

from __future__ import annotations

import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.assembly.commands.flows import add_flow_destination, import_flow
from pipeline.assembly.commands.move import move
from pipeline.domain.movement import Movement, Status
from pipeline.ports.reporter import Event
from pipeline.settings import Settings

pytestmark = pytest.mark.slow

Row = tuple[object, ...]
_values = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.binary(max_size=8),
)
_numbers = st.integers(0, 60)
KEYS = {"two keys": slice(0, 6)}
"""The places of a table's key in what `dump` gives, where it is not the first column; three for each column."""


class Crash(BaseException):
    """The end of a process."""


@dataclass
class Mortal:
    """A Reporter with which the process dies when it is told of so many things; None: it lives."""

    dies_after: int | None = None
    told: int = 0

    def report(self, event: Event) -> None:
        """Count, and die."""
        self.told += 1
        if self.told == self.dies_after:
            raise Crash


class Moving(RuleBasedStateMachine):
    """An app's database that changes, and is moved now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.root = Path(self.directory.name)
        self.db = sqlite3.connect(self.root / "app.db", isolation_level=None)
        self.columns = 0
        self.extra: list[str] = []
        self.moved: dict[str, list[Row]] = {}
        self.flow: str | None = None
        self.has_second = False
        self.moved_columns: dict[str, list[str]] = {}
        self.in_one_piece = True
        """Whether no Movement has crashed since the last one."""

    @initialize()
    def build(self) -> None:
        self.db.execute("CREATE TABLE keyed(id INTEGER PRIMARY KEY, value, number UNIQUE)")
        self.db.execute('CREATE TABLE "two keys"(a TEXT NOT NULL, b NOT NULL, value, PRIMARY KEY(b, a)) WITHOUT ROWID')
        self.db.execute("CREATE TABLE keyless(value, keyed REFERENCES keyed(id))")

    @rule(first=_numbers, count=st.integers(1, 40), value=_values)
    def insert(self, first: int, count: int, value: object) -> None:
        for number in range(first, first + count):
            self.db.execute("INSERT OR REPLACE INTO keyed(id, value, number) VALUES(?, ?, ?)", (number, value, number))
            self.db.execute('INSERT OR REPLACE INTO "two keys" VALUES(?, ?, ?)', (str(number % 7), number, value))

    @rule(value=_values)
    def insert_keyless(self, value: object) -> None:
        self.db.execute("INSERT INTO keyless VALUES(?, NULL)", (value,))

    @rule(number=_numbers, value=_values)
    def update(self, number: int, value: object) -> None:
        self.db.execute("UPDATE keyed SET value = ? WHERE id = ?", (value, number))
        self.db.execute("UPDATE keyless SET value = ? WHERE rowid = ?", (value, number))

    @rule(one=_numbers, other=_numbers)
    def swap_unique_values(self, one: int, other: int) -> None:
        rows = dict(self.db.execute("SELECT id, number FROM keyed WHERE id IN (?, ?)", (one, other)).fetchall())
        if len(rows) == 2:
            self.db.execute("UPDATE keyed SET number = NULL WHERE id = ?", (one,))
            self.db.execute("UPDATE keyed SET number = ? WHERE id = ?", (rows[one], other))
            self.db.execute("UPDATE keyed SET number = ? WHERE id = ?", (rows[other], one))

    @rule(first=_numbers, count=st.integers(1, 30))
    def delete(self, first: int, count: int) -> None:
        for table, key in (("keyed", "id"), ('"two keys"', "b"), ("keyless", "rowid")):
            self.db.execute(f"DELETE FROM {table} WHERE {key} BETWEEN ? AND ?", (first, first + count))

    @rule()
    def add_column(self) -> None:
        self.columns += 1
        self.extra.append(f"extra{self.columns}")
        self.db.execute(f"ALTER TABLE keyed ADD COLUMN extra{self.columns} TEXT DEFAULT 'none yet'")

    @precondition(lambda self: self.extra)
    @rule()
    def drop_column(self) -> None:
        self.db.execute(f"ALTER TABLE keyed DROP COLUMN {self.extra.pop(0)}")

    @precondition(lambda self: self.extra)
    @rule()
    def rename_column(self) -> None:
        self.columns += 1
        self.db.execute(f"ALTER TABLE keyed RENAME COLUMN {self.extra.pop()} TO renamed{self.columns}")
        self.extra.append(f"renamed{self.columns}")

    @rule(value=_values)
    def come_and_go(self, value: object) -> None:
        if self.db.execute("SELECT 1 FROM sqlite_master WHERE name = 'guest'").fetchone():
            self.db.execute("DROP TABLE guest")
        else:
            self.db.execute("CREATE TABLE guest(id INTEGER PRIMARY KEY, value)")
            self.db.execute("INSERT INTO guest(value) VALUES(?)", (value,))

    @rule()
    def vacuum(self) -> None:
        self.db.execute("VACUUM")

    @rule(rows=st.integers(3, 50))
    def move(self, rows: int) -> None:
        before, columns_before = self.moved, self.moved_columns
        movement = self._move(rows, Mortal())
        assert movement.status is Status.SUCCESS, movement.problems
        self.moved, self.moved_columns = dump(self.root / "app.db"), columns_of(self.root / "app.db")
        self._check("copy.db")
        kept = columns_before.keys() & self.moved_columns.keys()
        if self.in_one_piece and all(columns_before[name] == self.moved_columns[name] for name in kept):
            moved = movement.totals.upserts, movement.totals.deletes
            assert moved == difference(before, self.moved)
        self.in_one_piece = True
        self.flow = movement.flow

    @rule(rows=st.integers(3, 50), dies_after=st.integers(1, 25))
    def crash(self, rows: int, dies_after: int) -> None:
        self.in_one_piece = False
        try:
            self._move(rows, Mortal(dies_after))
        except BaseException as error:
            if not _is_crash(error):
                raise

    @precondition(lambda self: self.flow and self.in_one_piece)
    @rule()
    def bring_to_the_second(self) -> None:
        async def main() -> Movement:
            if not self.has_second:
                second = str(self.root / "second.db")
                await add_flow_destination(str(self.flow), second, name="second", settings=self._settings(20))
            return await import_flow("second", settings=self._settings(20), reporter=Mortal())

        movement = anyio.run(main)
        self.has_second = True
        assert movement.status is Status.SUCCESS, movement.problems
        self._check("second.db")

    def _check(self, copy: str) -> None:
        arrived = dump(self.root / copy)
        assert {name: found for name, found in arrived.items() if found or name in self.moved} == self.moved

    def _settings(self, rows: int) -> Settings:
        return Settings(home=self.root / "home", event_file_rows=rows)

    def _move(self, rows: int, reporter: Mortal) -> Movement:
        source, destination = str(self.root / "app.db"), str(self.root / "copy.db")

        async def main() -> Movement:
            settings = self._settings(rows)
            return await move(source, destination, allow_deletes=["*"], settings=settings, reporter=reporter)

        return anyio.run(main)

    @invariant()
    def nothing_is_half_done(self) -> None:
        copy = self.root / "copy.db"
        if copy.exists():
            db = sqlite3.connect(copy)
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            db.close()

    def teardown(self) -> None:
        self.db.close()
        self.directory.cleanup()


def _is_crash(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_is_crash(one) for one in error.exceptions)
    return isinstance(error, Crash)


def difference(before: dict[str, list[Row]], after: dict[str, list[Row]]) -> tuple[int, int]:
    """How many rows are new or changed, and how many are gone."""
    upserts = deletes = 0
    for name in {*before, *after}:
        keys = KEYS.get(name, slice(0, 3))
        one, other = ({row[keys]: row for row in rows.get(name, [])} for rows in (before, after))
        upserts += sum(one.get(key) != row for key, row in other.items())
        deletes += len(one.keys() - other.keys())
    return upserts, deletes


def columns_of(path: Path) -> dict[str, list[str]]:
    """Every table's columns: other columns make every row another one, whatever its values."""
    db = sqlite3.connect(path)
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {name: [column[1] for column in db.execute(f'PRAGMA table_info("{name}")')] for name in names}
    db.close()
    return found


def dump(path: Path) -> dict[str, list[Row]]:
    """Every table's rows with their types, bit for bit, in an order of their own."""
    db = sqlite3.connect(path)
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found: dict[str, list[Row]] = {}
    for name in names:
        if not name.startswith(("sqlite_", "_pipeline_")):
            columns = [column[1] for column in db.execute(f'PRAGMA table_info("{name}")')]
            columns = ["rowid", *columns] if name == "keyless" else columns
            values = ", ".join(f'typeof("{column}"), hex("{column}"), quote("{column}")' for column in columns)
            found[name] = sorted(db.execute(f'SELECT {values} FROM "{name}"').fetchall())
    db.close()
    return found


TestMoving = Moving.TestCase
TestMoving.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
