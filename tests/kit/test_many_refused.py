"""An Event File many of whose records an app refuses in a transaction: each record is applied exactly once, in few calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import apsw
import orjson
import pytest

from pipeline.domain.errors import RefusedError
from pipeline.domain.ids import FlowName, Label, Phase, StreamName
from pipeline.domain.movement import Status
from pipeline.domain.schema import Column, StreamSchema
from pipeline.kit import Batch, Import, Importer, Refused
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.ports.destination import FileToLoad, Loaded
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.contracts.destination import file_to_load
from tests.kit.app import move

ROWS = 500
TABLES = """
CREATE TABLE IF NOT EXISTS people (id INTEGER PRIMARY KEY, name UNIQUE CHECK (name <> 'bad'), boss REFERENCES people);
CREATE TABLE IF NOT EXISTS journal (id INTEGER);
CREATE TABLE IF NOT EXISTS marks (file PRIMARY KEY, mark);
"""


class Killed(BaseException):
    """The process dies here."""


@dataclass
class Company:
    """An app in SQLite that keeps a journal. A statement that it refuses breaks the transaction, as at PostgreSQL.

    `fail` may raise at each step; `calls` counts the records that the handler was given.
    """

    path: Path
    fail: Callable[[str], None] = lambda step: None
    calls: int = 0
    broken: bool = False
    seen: dict[object, str | None] = field(default_factory=dict)

    def importer(self) -> Importer:
        importer = Importer("company")

        @importer.connect
        async def connect() -> AsyncIterator[apsw.Connection]:
            connection = apsw.Connection(str(self.path))
            connection.execute(TABLES + "PRAGMA foreign_keys = 1; PRAGMA synchronous = 0;")
            yield connection
            connection.close()

        @importer.transaction
        async def transaction(target: apsw.Connection) -> AsyncIterator[apsw.Connection]:
            self.broken = False
            with target:
                yield target
                self.fail("commit")
            self.fail("answer")

        @transaction.read_marks
        async def read_marks(tx: apsw.Connection) -> Mapping[str, bytes]:
            return {str(file): bytes(mark) for (file, mark) in tx.execute("SELECT file, mark FROM marks")}

        @transaction.write_mark
        async def write_mark(tx: apsw.Connection, file: str, mark: bytes) -> None:
            tx.execute("INSERT INTO marks VALUES (?, ?)", (file, mark))

        @importer.applies("people", row=dict, delivery="transaction", batch=100)
        async def apply(tx: apsw.Connection, batch: Batch[dict[str, object]], ctx: Import) -> None:
            for upsert in batch.upserts:
                self.calls += 1
                if self.broken:
                    raise Refused("the transaction is aborted")
                row = upsert.row
                try:
                    tx.execute("INSERT INTO people VALUES (?, ?, ?)", (row["id"], row["name"], row["boss"]))
                except apsw.ConstraintError as error:
                    self.broken = True
                    raise Refused(str(error)) from error
                tx.execute("INSERT INTO journal VALUES (?)", (row["id"],))
                await ctx.ids.put("people", upsert.key, f"new {upsert.key!r}")

        @importer.applies("notes", row=dict, after=("people",))
        async def note(target: apsw.Connection, batch: Batch[dict[str, object]], ctx: Import) -> None:
            for upsert in batch.upserts:
                self.seen[upsert.row["id"]] = await ctx.ids.get("people", upsert.row["id"])

        return importer

    def destination(self) -> ImporterDestination:
        return ImporterDestination("company:x", self.importer(), None)

    def found(self, statement: str) -> list[int]:
        connection = apsw.Connection(str(self.path))
        values = [value for (value,) in connection.execute(statement)]
        connection.close()
        return values

    def check(self, expected: list[int]) -> None:
        """See that these people are there, that each was applied once, and that the id map has them and no others."""
        assert self.found("SELECT id FROM people ORDER BY id") == expected
        assert self.found("SELECT id FROM journal ORDER BY id") == expected
        assert self.seen == {id_: f"new {id_}" if id_ in set(expected) else None for id_ in range(1, ROWS + 1)}


def make_source(path: Path, name: Callable[[int], str], boss: Callable[[int], int | None] = lambda id_: None) -> str:
    with apsw.Connection(str(path)) as db:
        db.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, boss INTEGER)")
        db.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY)")
        rows = [(id_, name(id_), boss(id_)) for id_ in range(1, ROWS + 1)]
        db.executemany("INSERT INTO people VALUES (?, ?, ?)", rows)
        db.execute("INSERT INTO notes SELECT id FROM people")
    db.close()
    return str(path)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.kit.loading.delivery.transactions.FIRST_PAUSE_SECONDS", 0.0)


@pytest.mark.parametrize("names", ["bad", "twice"])
async def test_many_that_are_refused_cost_few_calls(names: str, tmp_path: Path) -> None:
    """A name that the app forbids, or that an earlier record of the file has."""
    source = make_source(tmp_path / "app.db", lambda id_: str(id_) if id_ % 7 else "bad" if names == "bad" else "1")
    app = Company(tmp_path / "target.db")
    movement = await move(source, app.destination(), tmp_path)
    good = [id_ for id_ in range(1, ROWS + 1) if id_ % 7]
    assert (movement.totals.rejected, movement.totals.upserts) == (ROWS - len(good), len(good) + ROWS)
    app.check(good)
    assert app.calls < 12 * ROWS


async def test_those_that_the_app_takes_later_are_applied_once_in_few_calls(tmp_path: Path) -> None:
    """Names are taken at the app, and half of these become free."""
    source = make_source(tmp_path / "app.db", str)
    app = Company(tmp_path / "target.db")
    target = apsw.Connection(str(app.path))
    target.execute(TABLES)
    target.executemany("INSERT INTO people VALUES (?, ?, NULL)", [(-id_, str(id_)) for id_ in range(1, ROWS + 1, 2)])
    await move(source, app.destination(), tmp_path)
    target.execute("DELETE FROM people WHERE id < 0 AND id % 4 = -1")
    target.close()
    app.calls = 0
    await move(source, app.destination(), tmp_path)
    assert app.found("SELECT id FROM journal ORDER BY id") == [id_ for id_ in range(1, ROWS + 1) if id_ % 4 != 3]
    assert app.calls < 12 * ROWS


async def test_those_that_need_an_earlier_record_of_the_file_are_not_refused(tmp_path: Path) -> None:
    source = make_source(
        tmp_path / "app.db", lambda id_: str(id_) if id_ % 50 else "bad", lambda id_: id_ - 1 if id_ % 50 > 1 else None
    )
    app = Company(tmp_path / "target.db")
    await move(source, app.destination(), tmp_path)
    app.check([id_ for id_ in range(1, ROWS + 1) if id_ % 50])


@pytest.mark.parametrize("step", ["commit", "answer"])
@pytest.mark.parametrize("how", [Killed, TimeoutError])
async def test_a_crash_between_two_parts_applies_none_twice(
    step: str, how: type[BaseException], tmp_path: Path
) -> None:
    source = make_source(tmp_path / "app.db", lambda id_: str(id_) if id_ % 7 else "bad")
    app, times, kills = Company(tmp_path / "target.db"), 0, 0

    def fail(at: str) -> None:
        nonlocal times, kills
        times += at == step
        if at == step and times % 3 == 0 and kills < 4:
            kills += 1
            raise how("here")

    app.fail = fail
    while how is Killed and kills < 4:
        with pytest.raises(Killed):
            await move(source, app.destination(), tmp_path)
    movement = await move(source, app.destination(), tmp_path)
    good = [id_ for id_ in range(1, ROWS + 1) if id_ % 7]
    app.check(good)
    assert (kills, movement.totals.rejected) == (4, ROWS - len(good))
    assert not [*(tmp_path / "home").rglob("held-ids/*")]


async def test_what_a_file_that_failed_has_rejected_is_not_applied_before_the_file(tmp_path: Path) -> None:
    """Else it is applied twice: by itself, and with its file, which is loaded again."""
    app = Company(tmp_path / "target.db")
    target = apsw.Connection(str(app.path))
    target.execute(TABLES + "INSERT INTO people VALUES (-1, 'b', NULL)")
    columns = (Column("id", "integer", nullable=False), Column("name", "text"), Column("boss", "integer"))
    schema = StreamSchema(StreamName("people"), Label("people"), columns, ("id",))
    rows = [{"upsert": {"id": id_, "name": name, "boss": None}} for id_, name in ((1, "a"), (2, "b"), (3, "c"))]
    lines = b"".join(orjson.dumps(row) + b"\n" for row in rows)

    def load() -> FileToLoad:
        return file_to_load(schema, [lines], phase=Phase.FULL)

    def fail(step: str) -> None:
        raise RuntimeError("the app is down")

    store, flow = MemoryObjectStore(), FlowName("flow 2026")
    async with app.destination().in_store(store).open(flow) as session:
        app.fail = fail
        with pytest.raises(RefusedError, match="the app is down"):
            await session.load(load(), after=())
        app.fail = lambda step: None
        target.execute("DELETE FROM people WHERE id = -1")
        assert [one.key for one in await session.retry_rejected()] == ["[2]"]
        assert app.found("SELECT id FROM journal") == []
    async with app.destination().in_store(store).open(flow) as session:
        assert isinstance(await session.load(load(), after=()), Loaded)
        assert await session.retry_rejected() == []
    target.close()
    assert app.found("SELECT id FROM journal ORDER BY id") == [1, 2, 3]


@pytest.mark.parametrize("step", ["commit", "answer"])
@pytest.mark.parametrize("how", [Killed, TimeoutError])
async def test_a_rejected_record_that_is_tried_again_is_applied_once(
    step: str, how: type[BaseException], tmp_path: Path
) -> None:
    source = make_source(tmp_path / "app.db", str)
    app = Company(tmp_path / "target.db")
    target = apsw.Connection(str(app.path))
    target.execute(TABLES + "INSERT INTO people VALUES (-1, '7', NULL)")
    assert (await move(source, app.destination(), tmp_path)).totals.rejected == 1
    target.execute("DELETE FROM people WHERE id < 0")
    target.close()
    steps: list[str] = []

    def fail(at: str) -> None:
        steps.append(at)
        if steps.count(step) == 1 and at == step:
            raise how("here")

    app.fail = fail
    if how is Killed:
        with pytest.raises(Killed):
            await move(source, app.destination(), tmp_path)
    movement = await move(source, app.destination(), tmp_path)
    assert (movement.status, movement.problems) == (Status.SUCCESS, ())
    assert app.found("SELECT id FROM journal WHERE id = 7") == [7]
    assert not [*(tmp_path / "home").rglob("held-ids/*")]
