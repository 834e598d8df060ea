"""Foreign keys that their owner cannot suspend: no row changes that no record names, and nothing is stuck."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.connectors.sqlite import SqliteSource
from pipeline.domain.movement import Status
from pipeline.ports.destination import Loaded
from pipeline.ports.source import Source
from tests.connectors.postgres.loading import FLOW, delete, file, schema, upsert
from tests.connectors.postgres.moving import Movements
from tests.connectors.postgres.places import Place, place_factory
from tests.servers.postgresql import PostgresqlServer

PARENT = schema({"id": "integer", "code": "text"}, stream="parent")
CHILD = schema({"id": "integer", "parent": "integer"}, stream="child")
ACTIONS = ["CASCADE", "SET NULL", "SET DEFAULT", "RESTRICT", "NO ACTION"]


def moving(source: Source, owner: Place) -> Movements:
    return Movements(source, PostgresDestination(owner.uri))


@pytest.mark.parametrize("action", ACTIONS)
async def test_a_parent_goes_when_no_row_refers_to_it_any_more(places: tuple[Place, Place], action: str) -> None:
    place, owner = places
    owner.run(
        "CREATE TABLE parent (id bigint PRIMARY KEY, code text)",
        f"CREATE TABLE child (id bigint PRIMARY KEY, parent bigint DEFAULT 2 REFERENCES parent ON DELETE {action})",
        "INSERT INTO parent VALUES (1, 'a'), (2, 'b'), (3, 'c')",
        "INSERT INTO child VALUES (10, 1), (11, 1), (12, 3)",
    )
    before = place.rows("SELECT * FROM child ORDER BY id")
    async with PostgresDestination(owner.uri).open(FLOW) as session:
        gone = file(PARENT, [delete(id=n) for n in (1, 2, 3)])
        assert isinstance(outcome := await session.load(gone, after=[]), Loaded)
        assert {(it.key, it.reason) for it in outcome.rejections} == {
            (
                "[1]",
                '2 rows of "public"."child" refer to this row through parent; it is deleted once they no longer do',
            ),
            (
                "[3]",
                '1 row of "public"."child" refers to this row through parent; it is deleted once they no longer do',
            ),
        }
        assert place.rows("SELECT * FROM child ORDER BY id") == before
        await session.load(file(CHILD, [delete(id=10), delete(id=11)]), after=[])
        assert [it.key for it in await session.retry_rejected()] == ["[3]"]
    assert place.rows("SELECT id FROM parent") == [(3,)]
    assert place.rows("SELECT * FROM child") == [(12, 3)]


async def test_a_tree_of_rows_goes_except_for_what_others_refer_to(places: tuple[Place, Place]) -> None:
    place, owner = places
    owner.run(
        "CREATE TABLE parent (id bigint PRIMARY KEY, up bigint REFERENCES parent ON DELETE CASCADE)",
        "CREATE TABLE child (id bigint PRIMARY KEY, parent bigint REFERENCES parent ON DELETE CASCADE)",
        "INSERT INTO parent VALUES (1, NULL), (2, 1), (3, 2), (4, 1), (5, NULL), (6, 5)",
        "INSERT INTO child VALUES (10, 3)",
    )
    tree = schema({"id": "integer", "up": "integer"}, stream="parent")
    async with PostgresDestination(owner.uri).open(FLOW) as session:
        outcome = await session.load(file(tree, [delete(id=n) for n in range(1, 7)]), after=[])
        assert isinstance(outcome, Loaded)
        assert sorted(it.key for it in outcome.rejections) == ["[1]", "[2]", "[3]"]
        assert place.rows("SELECT id FROM parent ORDER BY id") == [(1,), (2,), (3,)]
        assert place.rows("SELECT id FROM child") == [(10,)]
        await session.load(file(CHILD, [delete(id=10)]), after=[])
        assert await session.retry_rejected() == []
    assert place.rows("SELECT id FROM parent") == []


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT"])
async def test_a_value_to_which_rows_refer_changes_when_they_no_longer_do(
    places: tuple[Place, Place], action: str
) -> None:
    place, owner = places
    owner.run(
        "CREATE TABLE parent (id bigint PRIMARY KEY, code text UNIQUE)",
        f"CREATE TABLE child (id bigint PRIMARY KEY, code text REFERENCES parent (code) ON UPDATE {action})",
        "INSERT INTO parent VALUES (1, 'a'), (2, 'b')",
        "INSERT INTO child VALUES (10, 'a')",
    )
    child = schema({"id": "integer", "code": "text"}, stream="child")
    async with PostgresDestination(owner.uri).open(FLOW) as session:
        changed = file(PARENT, [upsert(id=1, code="A"), upsert(id=2, code="B"), upsert(id=3, code="c")])
        outcome = await session.load(changed, after=[])
        assert isinstance(outcome, Loaded)
        (rejection,) = outcome.rejections
        assert rejection.key == "[1]"
        assert rejection.reason.endswith("through code; the value changes once they no longer do")
        assert place.rows("SELECT * FROM child") == [(10, "a")]
        await session.load(file(child, [upsert(id=10, code="c")]), after=[])
        assert await session.retry_rejected() == []
    assert place.rows("SELECT * FROM parent ORDER BY id") == [(1, "A"), (2, "B"), (3, "c")]
    assert place.rows("SELECT * FROM child") == [(10, "c")]


@pytest.mark.parametrize("action", ACTIONS)
async def test_a_changed_row_without_a_key_keeps_the_rows_that_refer_to_it(
    places: tuple[Place, Place], postgresql: PostgresqlServer, action: str
) -> None:
    (place, owner), source = places, place_factory(postgresql)()
    source.run(
        "CREATE TABLE parent (code text UNIQUE, other int UNIQUE, v text, number int)",
        f"CREATE TABLE child (id int PRIMARY KEY, code text REFERENCES parent (code) ON DELETE {action} ON UPDATE {action})",
        "INSERT INTO parent SELECT 'c' || n, n, 'v', n FROM generate_series(1, 50) AS n",
        "INSERT INTO child SELECT n, 'c' || (n % 50 + 1) FROM generate_series(1, 200) AS n",
    )
    flow = moving(PostgresSource(source.uri), owner)
    assert (await flow.move()).status is Status.SUCCESS
    source.run("UPDATE parent SET v = 'changed', number = 0 WHERE other > 10", "DELETE FROM child WHERE id = 7")
    assert (await flow.move()).status is Status.SUCCESS
    for query in ("SELECT * FROM parent ORDER BY code", "SELECT * FROM child ORDER BY id"):
        assert place.rows(query) == source.rows(query)


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "NO ACTION"])
async def test_a_replaced_row_of_sqlite_keeps_the_rows_that_refer_to_it(
    places: tuple[Place, Place], tmp_path: Path, action: str
) -> None:
    place, owner = places
    with closing(sqlite3.connect(tmp_path / "app.db")) as source, source:
        source.execute("CREATE TABLE parent (code TEXT PRIMARY KEY, v TEXT)")
        source.execute(f"CREATE TABLE child (id INTEGER PRIMARY KEY, code TEXT REFERENCES parent ON DELETE {action})")
        source.executemany("INSERT INTO parent VALUES (?, 'v')", [(f"p{n}",) for n in range(20)])
        source.executemany("INSERT INTO child VALUES (?, ?)", [(n, f"p{n % 20}") for n in range(100)])
    flow = moving(SqliteSource(tmp_path / "app.db"), owner)
    assert (await flow.move()).status is Status.SUCCESS
    with closing(sqlite3.connect(tmp_path / "app.db")) as source, source:
        source.execute("INSERT OR REPLACE INTO parent VALUES ('p3', 'changed'), ('p4', 'changed'), ('new', 'v')")
    assert (await flow.move()).status is Status.SUCCESS
    assert place.rows("SELECT count(code) FROM child") == [(100,)]
    assert place.rows("SELECT code, v FROM parent WHERE v <> 'v' ORDER BY code") == [
        ("p3", "changed"),
        ("p4", "changed"),
    ]
    assert place.rows("SELECT count(*) FROM parent") == [(21,)]
