"""Tables that the app itself made at the destination are loaded into, also where they differ from the source's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.connectors.sqlite import SqliteSource
from pipeline.domain.movement import Status
from tests.connectors.postgres.moving import Movements, equal, succeed
from tests.connectors.postgres.places import Place
from tests.connectors.sqlite import databases


def movements(source: Path, place: Place) -> Movements:
    return Movements(SqliteSource(source), PostgresDestination(place.uri))


def columns(place: Place, table: str) -> list[object]:
    """Return the names of a table's columns."""
    found = f"SELECT attname FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attnum > 0 ORDER BY attnum"
    return [name for (name,) in place.rows(found)]


async def test_names_that_differ_in_case_alone_are_the_same(make: Callable[[], Place], tmp_path: Path) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source,
        "CREATE TABLE Users (Id INTEGER PRIMARY KEY, userName TEXT UNIQUE)",
        "CREATE TABLE Orders (orderNo TEXT NOT NULL PRIMARY KEY, userId INT REFERENCES Users (Id))",
        "CREATE INDEX byUser ON Orders (userId)",
        "INSERT INTO Users VALUES (1, 'ann'), (2, 'bob')",
        "INSERT INTO Orders VALUES ('a', 1), ('b', 2)",
    )
    place.run(
        "CREATE TABLE Users (Id serial PRIMARY KEY, userName text UNIQUE, extra int DEFAULT 7)",
        "CREATE TABLE Orders (orderNo text PRIMARY KEY, userId bigint REFERENCES Users)",
    )
    moving = movements(source, place)
    await succeed(moving)
    assert place.rows("SELECT * FROM users ORDER BY id") == [(1, "ann", 7), (2, "bob", 7)]
    assert place.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1") == [
        ("orders",), ("users",),
    ]  # fmt: skip
    assert columns(place, "users") == ["id", "username", "extra"]
    constraints = (
        "SELECT count(*) FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype IN ('f', 'u')"
    )
    assert place.rows(constraints) == [(2,)]
    assert place.rows("INSERT INTO users (username) VALUES ('new') RETURNING id") == [(3,)]
    place.run("DELETE FROM users WHERE id = 3")
    databases.run(source, "DELETE FROM Orders WHERE orderNo = 'a'", "UPDATE Users SET userName = 'x' WHERE Id = 2")
    await succeed(moving)
    assert place.rows("SELECT username FROM users ORDER BY id") == [("ann",), ("x",)]
    assert place.rows("SELECT * FROM orders") == [("b", 2)]
    assert await equal(moving)


async def test_of_several_names_the_exact_one_is_meant_and_none_is_guessed(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(source, "CREATE TABLE Item (id INTEGER PRIMARY KEY, name)", "INSERT INTO Item VALUES (1, 'x')")
    place.run('CREATE TABLE "Item" (id int PRIMARY KEY, name json)', "CREATE TABLE item (id int PRIMARY KEY)")
    await succeed(movements(source, place))
    assert place.rows('SELECT count(*) FROM "Item"') == [(1,)]
    other = make()
    other.run('CREATE TABLE "ITEM" (id int PRIMARY KEY)', "CREATE TABLE item (id int PRIMARY KEY)")
    movement = await movements(source, other).move()
    assert movement.status is Status.FAILED
    assert "the destination has ITEM and item, which differ in case only; rename one of them" in movement.problems[0]


async def test_a_key_that_may_be_null_at_the_source_is_loaded_by_row_number(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source,
        "CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT)",
        "INSERT INTO setting VALUES ('a', '1'), ('b', '2'), ('c', '3')",
    )
    place.run("CREATE TABLE setting (key text PRIMARY KEY, value text NOT NULL)")
    moving = movements(source, place)
    await succeed(moving)
    databases.run(source, "UPDATE setting SET key = 'z' WHERE key = 'a'", "DELETE FROM setting WHERE key = 'b'")
    await succeed(moving)
    assert place.rows("SELECT key, value FROM setting ORDER BY key") == [("c", "3"), ("z", "1")]
    assert await equal(moving)


async def test_the_advice_about_a_missing_key_works(make: Callable[[], Place], tmp_path: Path) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(source, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)", "INSERT INTO t VALUES (1, 'x')")
    place.run("CREATE TABLE t (v text, id int)")
    moving = movements(source, place)
    movement = await moving.move()
    assert movement.status is Status.FAILED
    place.run(movement.problems[0].partition("have its owner create one: ")[2])
    await succeed(moving)
    assert place.rows("SELECT * FROM t") == [("x", 1)]


async def test_columns_with_names_of_system_columns_have_an_underscore(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source, place = tmp_path / "map.db", make()
    databases.run(
        source,
        "CREATE TABLE box (id INTEGER PRIMARY KEY, xmin REAL, xmax REAL, xmax_ REAL, ctid TEXT)",
        "CREATE INDEX by_x ON box (xmin, xmax)",
        "INSERT INTO box VALUES (1, 1.5, 2.5, 3.5, 'c')",
    )
    moving = movements(source, place)
    movement = await succeed(moving)
    assert place.rows("SELECT xmin_, xmax__, xmax_, ctid_ FROM box") == [(1.5, 2.5, 3.5, "c")]
    assert [(item.kind, item.name) for item in movement.inventory.items] == [
        ("column", "box.ctid"), ("column", "box.xmax"), ("column", "box.xmin"),
    ]  # fmt: skip
    assert "xmax__" in movement.inventory.items[1].reason
    databases.run(source, "ALTER TABLE box DROP COLUMN xmax_", "UPDATE box SET xmin = 0.5")
    await succeed(moving)


async def test_a_name_of_postgresql_is_not_filled_beside_the_apps_that_differs_in_case(
    make: Callable[[], Place],
) -> None:
    source, place = make(), make()
    source.run('CREATE TABLE "Users" ("userName" text PRIMARY KEY)', "INSERT INTO \"Users\" VALUES ('ann')")
    place.run("CREATE TABLE users (username text PRIMARY KEY)")
    moving = Movements(PostgresSource(source.uri), PostgresDestination(place.uri))
    movement = await moving.move()
    assert movement.status is not Status.SUCCESS
    assert "Table Users cannot be loaded: the destination has a table users, which differs in case only" in str(
        movement.problems
    )
    place.run('ALTER TABLE users RENAME TO "Users"')
    movement = await moving.move()
    assert "Column userName of table Users cannot be loaded: the destination has a column username" in str(
        movement.problems
    )
    place.run('ALTER TABLE "Users" RENAME username TO "userName"')
    await succeed(moving)
    assert place.rows('SELECT * FROM "Users"') == [("ann",)]
    source.run(
        'CREATE TABLE users (username text CONSTRAINT other PRIMARY KEY, "userName" text)',
        "INSERT INTO users VALUES ('x', 'y')",
    )
    await succeed(moving)
    assert place.rows("SELECT * FROM users") == [("x", "y")]


async def test_rows_go_on_after_the_highest_number_wherever_the_numbers_come_from(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(source, "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)", "INSERT INTO t VALUES (7, 'x')")
    place.run("CREATE SEQUENCE numbers", "CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('numbers'), v text)")
    await succeed(movements(source, place))
    assert place.rows("INSERT INTO t (v) VALUES ('y') RETURNING id") == [(8,)]


async def test_a_check_whose_function_names_no_schema_finds_what_the_app_finds(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(source, "CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)", "INSERT INTO t VALUES (1, 'x')")
    place.run(
        "CREATE FUNCTION fine(t text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT length(t) > 0'",
        "CREATE FUNCTION ok(t text) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN fine(t); END'",
        "CREATE TABLE t (id bigint PRIMARY KEY, x text CHECK (ok(x)))",
    )
    await succeed(movements(source, place))
    assert place.rows("SELECT * FROM t") == [(1, "x")]


async def test_columns_that_only_the_app_numbers_go_on_after_the_last_number(make: Callable[[], Place]) -> None:
    source, place = make(), make()
    source.run(
        "CREATE TABLE a (id int PRIMARY KEY, v text)",
        "CREATE TABLE b (id bigint PRIMARY KEY, n int)",
        "CREATE TABLE c (id int PRIMARY KEY, v text)",
        "INSERT INTO a SELECT g, 'x' FROM generate_series(1, 5) AS g",
        "INSERT INTO b SELECT g, g * 10 FROM generate_series(1, 5) AS g",
        "INSERT INTO c VALUES (-5, 'x'), (7, 'y')",
    )
    place.run(
        "CREATE TABLE a (id serial PRIMARY KEY, v text)",
        "CREATE TABLE b (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int GENERATED BY DEFAULT AS IDENTITY)",
        "CREATE SEQUENCE down INCREMENT BY -1",
        "CREATE TABLE c (id int PRIMARY KEY DEFAULT nextval('down'), v text DEFAULT 'n' || nextval('down'))",
    )
    moving = Movements(PostgresSource(source.uri), PostgresDestination(place.uri))
    await succeed(moving)
    insert = "INSERT INTO {} DEFAULT VALUES RETURNING {}"
    assert place.rows(insert.format("a", "id")) == [(6,)]
    assert place.rows(insert.format("b", "id, n")) == [(6, 51)]
    assert place.rows("INSERT INTO c (v) VALUES ('z') RETURNING id") == [(-6,)]
    source.run("INSERT INTO a VALUES (20, 'y')", "DELETE FROM b WHERE id > 3")
    await succeed(moving)
    assert place.rows(insert.format("a", "id")) == [(21,)]
    assert place.rows(insert.format("b", "id, n")) == [(7, 52)]


async def test_the_json_of_the_app_is_json_in_its_own_table(make: Callable[[], Place], tmp_path: Path) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source,
        "CREATE TABLE item (id INTEGER PRIMARY KEY, a JSON, b JSONB, c TEXT, d)",
        """INSERT INTO item VALUES (1, '{"x":[1]}', '"s"', '{"x":1}', '{"x":1}'), (2, 5, 'null', 'true', 5)""",
        "INSERT INTO item (id, a) VALUES (3, 'no JSON')",
    )
    place.run("CREATE TABLE item (id bigint PRIMARY KEY, a json, b jsonb, c jsonb, d jsonb)")
    moving = movements(source, place)
    assert (await moving.move()).status is Status.INCOMPLETE
    databases.run(source, """UPDATE item SET a = '{"y": 2}' WHERE id = 3""")
    await succeed(moving)
    assert place.rows("SELECT a::text, b::text, c::text, d::text FROM item ORDER BY id") == [
        ('{"x":[1]}', '"s"', '{"x": 1}', '"{\\"x\\":1}"'),
        ("5", "null", "true", "5"),
        ('{"y": 2}', None, None, None),
    ]
    assert await equal(moving)


async def test_a_number_for_a_time_is_rejected_and_the_advice_about_it_works(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source,
        'CREATE TABLE "User" (id INTEGER PRIMARY KEY, "createdAt" DATETIME NOT NULL)',
        """INSERT INTO "User" VALUES (1, 1704067200123), (2, '2024-01-01T10:00:00.5Z')""",
    )
    place.run('CREATE TABLE "User" (id bigint PRIMARY KEY, "createdAt" timestamp(3) NOT NULL)')
    moving = movements(source, place)
    movement = await moving.move()
    assert movement.status is Status.INCOMPLETE
    assert "does not say whether it counts seconds or milliseconds" in movement.problems[0]
    databases.run(
        source,
        """UPDATE "User" SET "createdAt" = strftime('%Y-%m-%d %H:%M:%f', "createdAt" / 1000.0, 'unixepoch')
        WHERE typeof("createdAt") = 'integer'""",
    )
    await succeed(moving)
    assert place.rows('SELECT "createdAt"::text FROM "User" ORDER BY id') == [
        ("2024-01-01 00:00:00.123",), ("2024-01-01 10:00:00.5",),
    ]  # fmt: skip
    assert await equal(moving)


async def test_a_time_of_day_of_rails_is_one(make: Callable[[], Place], tmp_path: Path) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source,
        "CREATE TABLE item (id INTEGER PRIMARY KEY, opens time)",
        "INSERT INTO item VALUES (1, '2000-01-01 10:30:00'), (2, '2000-01-01 00:00:00.5'), (3, '2000-01-02 10:30:00')",
    )
    place.run("CREATE TABLE item (id bigint PRIMARY KEY, opens time)")
    moving = movements(source, place)
    assert (await moving.move()).status is Status.INCOMPLETE
    databases.run(source, "UPDATE item SET opens = '10:31' WHERE id = 3")
    await succeed(moving)
    assert place.rows("SELECT opens::text FROM item ORDER BY id") == [("10:30:00",), ("00:00:00.5",), ("10:31:00",)]
    assert await equal(moving)
    place.run("UPDATE item SET opens = '10:30:01' WHERE id = 1")
    assert not await equal(moving)
