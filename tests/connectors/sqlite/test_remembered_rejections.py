"""SQLite: a rejected record is tried again when its table's definition has changed, and not before."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.connectors.sqlite import SqliteDestination
from pipeline.connectors.sqlite.loading.file_load import FileLoad
from pipeline.ports.destination import Loaded
from tests.connectors.postgres.loading import FLOW, file, schema, upsert
from tests.connectors.retries import noted_retries

COLUMNS = {"id": "integer", "code": "text", "n": "integer"}
PLAIN = "id INTEGER PRIMARY KEY, code TEXT, n INTEGER"


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of records that are tried again."""
    return noted_retries(FileLoad, monkeypatch)


def run(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(script)


def recreated(columns: str) -> str:
    """Return the statements that give the table other columns."""
    return f"ALTER TABLE item RENAME TO old; CREATE TABLE item ({columns}); INSERT INTO item SELECT * FROM old"


@pytest.mark.parametrize(
    ("columns", "bad"),
    [
        (f"{PLAIN} CHECK (n < 10)", {"n": 11}),
        (PLAIN.replace("TEXT", "TEXT NOT NULL"), {"code": None}),
        (f"{PLAIN}, CHECK (length(code) < 3)", {"code": "long"}),
    ],
)
async def test_a_record_waits_for_the_definition_of_the_table(
    tmp_path: Path, tried: list[int], columns: str, bad: Mapping[str, object]
) -> None:
    path = tmp_path / "copy.db"
    run(path, f"CREATE TABLE item ({columns})")
    rows = [{"id": n, "code": "c", "n": 1, **(bad if n > 2 else {})} for n in range(6)]
    async with SqliteDestination(path).open(FLOW) as session:
        outcome = await session.load(file(schema(COLUMNS), [upsert(**row) for row in rows]), after=[])
        assert isinstance(outcome, Loaded)
        assert outcome.mark.rejected == 3
        await session.finish([schema(COLUMNS).stream])
    run(path, "CREATE INDEX other ON item (n); ANALYZE")
    async with SqliteDestination(path).open(FLOW) as session:
        assert len(await session.retry_rejected()) == 3
        assert tried == []
        assert len(await session.retry_chosen(lambda _: True)) == 3
        assert tried == [3]
    run(path, recreated(PLAIN))
    async with SqliteDestination(path).open(FLOW) as session:
        assert await session.retry_rejected() == []
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM item").fetchone() == (6,)


@pytest.mark.parametrize(
    ("columns", "relief"),
    [
        (f"{PLAIN} UNIQUE", "DELETE FROM item WHERE id = -1"),
        (f"{PLAIN} CHECK (n > 0 OR abs(random()) < 0)", recreated(PLAIN)),
    ],
)
async def test_a_record_whose_reason_may_end_unseen_is_always_tried(
    tmp_path: Path, tried: list[int], columns: str, relief: str
) -> None:
    path = tmp_path / "copy.db"
    run(
        path,
        f"CREATE TABLE item ({columns}); PRAGMA ignore_check_constraints = 1; INSERT INTO item VALUES (-1, '', -1)",
    )
    async with SqliteDestination(path).open(FLOW) as session:
        await session.load(file(schema(COLUMNS), [upsert(id=1, code="c", n=-1)]), after=[])
        tried.clear()
        assert len(await session.retry_rejected()) == 1
        assert tried == [1]
    run(path, relief)
    async with SqliteDestination(path).open(FLOW) as session:
        assert await session.retry_rejected() == []


async def test_a_database_of_an_earlier_release_is_opened(tmp_path: Path, tried: list[int]) -> None:
    path = tmp_path / "copy.db"
    run(path, f"CREATE TABLE item ({PLAIN} CHECK (n < 10))")
    async with SqliteDestination(path).open(FLOW) as session:
        await session.load(file(schema(COLUMNS), [upsert(id=1, code="c", n=11)]), after=[])
    run(path, "ALTER TABLE _pipeline_rejected DROP COLUMN depends")
    async with SqliteDestination(path).open(FLOW) as session:
        assert len(await session.rejected()) == 1
    for _ in range(2):
        async with SqliteDestination(path).open(FLOW) as session:
            assert len(await session.retry_rejected()) == 1
    assert tried == [1]
