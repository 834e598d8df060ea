"""SQLite to PostgreSQL and back: defaults are moved where the other side has a counterpart, and named where it has none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.connectors.sqlite import SqliteDestination, SqliteSource
from pipeline.domain.inventory import Fate
from pipeline.domain.movement import Movement
from tests.connectors.postgres.moving import Movements, succeed
from tests.connectors.postgres.places import Place, place_factory
from tests.connectors.sqlite import databases
from tests.servers.postgresql import PostgresqlServer


@pytest.fixture
def make(postgresql: PostgresqlServer) -> Callable[[], Place]:
    return place_factory(postgresql)


def missing(movement: Movement) -> list[str]:
    """Return the names of defaults that were not moved."""
    items = movement.inventory.with_fate(Fate.NOT_MOVED)
    return [item.name for item in items if item.kind == "table constraint" and ": default " in item.name]


async def test_defaults_of_sqlite_are_moved_or_named(make: Callable[[], Place], tmp_path: Path) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,"
        " since TEXT DEFAULT (datetime('now')), day DATE DEFAULT CURRENT_DATE, n INTEGER DEFAULT '7', yes INTEGER DEFAULT TRUE,"
        " flag BOOLEAN DEFAULT 'f', code TEXT DEFAULT 0, none TEXT DEFAULT NULL, raw BLOB DEFAULT x'00ff',"
        ' note TEXT DEFAULT "it\'s ""so""",'
        " epoch INTEGER DEFAULT (strftime('%s', 'now')), words TEXT DEFAULT (hex(randomblob(4))))",
        "INSERT INTO t (id) VALUES (1)",
    )
    movement = await succeed(Movements(SqliteSource(source), PostgresDestination(place.uri)))
    assert missing(movement) == ["t: default epoch = strftime('%s', 'now')", "t: default words = hex(randomblob(4))"]
    place.run("INSERT INTO t (id) VALUES (2)")
    assert place.rows("SELECT n, yes, flag, code, none, raw, note, epoch FROM t WHERE id = 2") == [
        (7, 1, False, "0", None, b"\x00\xff", 'it\'s "so"', None)
    ]
    shapes = "at ~ '^....-..-.. ..:..:..$', since ~ '^....-..-.. ..:..:..$', day ~ '^....-..-..$'"
    assert place.rows(f"SELECT {shapes}, at::timestamp <= now() AT TIME ZONE 'UTC' FROM t WHERE id = 2") == [
        (True, True, True, True)
    ]


async def test_a_widened_column_has_the_default_of_its_type(make: Callable[[], Place], tmp_path: Path) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, flag BOOLEAN NOT NULL DEFAULT FALSE, n INTEGER DEFAULT 3)",
        "INSERT INTO t (id) VALUES (1)",
    )
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    assert missing(await succeed(movements)) == []
    databases.run(source, "INSERT INTO t VALUES (2, x'00', 'many')")
    assert missing(await succeed(movements)) == ["t: default flag = FALSE"]
    place.run("INSERT INTO t (id, flag) VALUES (3, '0')")
    assert place.rows("SELECT n FROM t WHERE id = 3") == [("3",)]


async def test_defaults_of_postgresql_are_moved_or_named(make: Callable[[], Place], tmp_path: Path) -> None:
    place, copy = make(), tmp_path / "copy.db"
    place.run(
        "CREATE TABLE t (id serial PRIMARY KEY, n integer NOT NULL DEFAULT -5, flag boolean NOT NULL DEFAULT true,"
        " word text NOT NULL DEFAULT 'it''s', price numeric(8, 2) DEFAULT 0.50, doc jsonb DEFAULT '{}', raw bytea DEFAULT '\\xff',"
        " at timestamptz NOT NULL DEFAULT now(), also timestamptz DEFAULT CURRENT_TIMESTAMP, none varchar(9) DEFAULT NULL,"
        " key uuid DEFAULT gen_random_uuid(),"
        " rate real DEFAULT '1e3', local timestamp DEFAULT now())",
        "INSERT INTO t (n) VALUES (1)",
    )
    movements = Movements(PostgresSource(place.uri), SqliteDestination(copy))
    assert missing(await succeed(movements)) == ["t: default key = gen_random_uuid()", "t: default local = now()"]
    databases.run(copy, "INSERT INTO t DEFAULT VALUES")
    assert databases.rows(copy, "SELECT id, n, flag, word, price, doc, raw, none, key, rate FROM t WHERE id = 2") == [
        (2, -5, 1, "it's", "0.50", "{}", b"\xff", None, None, 1000.0)
    ]
    assert databases.rows(copy, "SELECT at GLOB '????-??-?? ??:??:??.???+00', at = also FROM t WHERE id = 2") == [
        (1, 1)
    ]
    databases.run(copy, "DELETE FROM t WHERE id = 2")
    place.run("ALTER TABLE t ALTER n SET DEFAULT 6", "ALTER TABLE t ADD later text DEFAULT 'x'")
    await succeed(movements)
    databases.run(copy, "INSERT INTO t DEFAULT VALUES")
    assert databases.rows(copy, "SELECT n, later FROM t WHERE id = 2") == [(6, "x")]
