"""Verifying and repairing across PostgreSQL and SQLite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.connectors.sqlite import SqliteDestination, SqliteSource
from tests.connectors.postgres.places import Place
from tests.connectors.postgres.test_across_databases import TYPES
from tests.connectors.sqlite.databases import run
from tests.engine.real_flow import Places, RealFlow

SHOP = (
    "CREATE TABLE artist (id INTEGER PRIMARY KEY, name TEXT NOT NULL, born REAL)",
    "INSERT INTO artist VALUES (1, 'a\tb', 1e300), (9, '', -2.0), (10, 'é', NULL), (11, 'x', 0.1)",
    'CREATE TABLE "al.bum" (code VARCHAR(10), part INT, cover BLOB, price DECIMAL(6,2), yes BOOLEAN,'
    " PRIMARY KEY (code, part)) WITHOUT ROWID",
    "INSERT INTO \"al.bum\" VALUES ('b', 1, x'', 12, 0), ('B', -5, NULL, 12.75, 1), ('ä', 9, x'ff00', NULL, NULL)",
    "CREATE TABLE loose (a, b)",
    "INSERT INTO loose VALUES (1, 'text'), (1.5, x'0001'), (NULL, '1'), (1, 'text')",
)


def between(source: str | Path, destination: str | Path) -> RealFlow:
    """A Flow between databases: a path is SQLite's, a URL PostgreSQL's."""

    def read(place: str | Path) -> SqliteSource | PostgresSource:
        return SqliteSource(place) if isinstance(place, Path) else PostgresSource(place)

    written = SqliteDestination(destination) if isinstance(destination, Path) else PostgresDestination(destination)
    return RealFlow(Places(read(source), written, read(source), read(destination)))


async def test_every_type_of_postgresql_is_equal_to_itself_and_a_changed_one_is_found(
    make: Callable[[], Place],
) -> None:
    source, copy = make(), make()
    source.run(*TYPES)
    flow = between(source.uri, copy.uri)
    await flow.move()
    found = await flow.verify()
    assert found.equal, found.differing
    assert found.only_at_destination == ()
    for column, value in (("exact", "1.1"), ("span", "'1 day'"), ("docb", "'[]'"), ("numbers", "'{2}'")):
        copy.run(f'UPDATE "My shop"."Every ""type""" SET {column} = {value} WHERE id = 1')
        (report,) = (await flow.verify()).differing
        assert [(d.key, d.columns) for d in report.examples] == [((1,), (column,))]
        assert await flow.repaired() == (1, 0)


async def test_an_sqlite_database_is_equal_in_postgresql_and_differences_are_repaired(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    app, copy = tmp_path / "app.db", make()
    run(app, *SHOP)
    flow = between(app, copy.uri)
    await flow.move()
    found = await flow.verify()
    assert found.equal, found.differing
    assert found.only_at_destination == ()
    assert [report.source.rows for report in found.streams] == [3, 4, 4]
    copy.run(
        "UPDATE artist SET born = 0.2 WHERE id = 11",
        "DELETE FROM artist WHERE id = 9",
        "INSERT INTO artist VALUES (99, 'extra', NULL)",
        'UPDATE "al.bum" SET price = 13 WHERE price = 12',
    )
    found = await flow.verify()
    assert {report.stream: (report.missing, report.extra, report.different) for report in found.differing} == {
        "al.bum": (0, 0, 1),
        "artist": (1, 1, 1),
    }
    assert await flow.repaired() == (3, 1)


async def test_a_postgresql_database_is_equal_in_sqlite_and_differences_are_repaired(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source, copy = make(), tmp_path / "copy.db"
    source.run(
        "CREATE TABLE item (id int PRIMARY KEY, price numeric(8,2), yes boolean, at timestamptz, doc jsonb, raw bytea)",
        "INSERT INTO item VALUES (1, 1.50, true, '2026-01-02 03:04:05+01', '{\"a\": 1}', '\\x00ff'), (2, 0.10, false,"
        " NULL, NULL, '\\x'), (3, 'NaN', NULL, 'infinity', '[]', NULL)",
        "CREATE TABLE word (word text PRIMARY KEY)",
        "INSERT INTO word VALUES ('b'), ('a'), ('Z'), ('ä')",
        "CREATE TABLE loose (a int, b text)",
        "INSERT INTO loose VALUES (1, 'x'), (1, 'x'), (2, NULL)",
    )
    flow = between(source.uri, copy)
    await flow.move()
    found = await flow.verify()
    assert found.equal, found.differing
    run(copy, "UPDATE item SET price = '1.51' WHERE id = 1", "UPDATE item SET yes = 1 WHERE id = 2")
    run(copy, "DELETE FROM word WHERE word = 'Z'", "INSERT INTO word VALUES ('zz')")
    found = await flow.verify()
    assert {report.stream: (report.missing, report.extra, report.different) for report in found.differing} == {
        "item": (0, 0, 2),
        "word": (1, 1, 0),
    }
    assert await flow.repaired() == (3, 1)


async def test_the_order_of_columns_does_not_matter_in_postgresql(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run("CREATE TABLE t (id int PRIMARY KEY, a text, b int)", "INSERT INTO t VALUES (1, 'x', 2), (2, 'y', 3)")
    copy.run("CREATE TABLE t (own int, b int, a text, id int PRIMARY KEY)")
    flow = between(source.uri, copy.uri)
    await flow.move()
    assert (await flow.verify()).equal
    copy.run("UPDATE t SET b = 4 WHERE id = 2")
    (report,) = (await flow.verify()).differing
    assert [(d.key, d.columns) for d in report.examples] == [((2,), ("b",))]
    assert await flow.repaired() == (1, 0)


async def test_values_in_the_app_s_own_columns_of_postgresql_are_equal_by_meaning(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    app, copy = tmp_path / "app.db", make()
    run(
        app,
        "CREATE TABLE post (id INTEGER PRIMARY KEY, uid CHAR(32), at DATETIME, live BOOL, price DECIMAL, doc TEXT, n, "
        "word TEXT, net TEXT, raw)",
        "INSERT INTO post VALUES (1, '0D4F4C12111142228333444455556666', '2024-01-02 03:04:05.123450', 1, 1, '{\"a\":1.0}', "
        "1, 'ab', '10.0.0.1/32', 1e16)",
        "INSERT INTO post VALUES (2, '0d4f4c121111-4222-8333-444455556667', '2024-01-02T03:04:05Z', 'no', 1.50, '[]', 2, "
        "'yes', '10.0.0.0/8', 'text')",
    )
    copy.run(
        "CREATE TABLE post (id bigint PRIMARY KEY, uid uuid, at timestamptz, live boolean, price numeric(6,2), doc jsonb, "
        "n int, word char(5), net inet, raw jsonb)"
    )
    flow = between(app, copy.uri)
    assert (await flow.move()).status == "SUCCESS"
    assert (await flow.verify()).equal
    copy.run("UPDATE post SET at = at + interval '1 hour', doc = '{\"a\": true}' WHERE id = 1")
    (report,) = (await flow.verify()).differing
    assert [(d.key, d.columns) for d in report.examples] == [((1,), ("at", "doc"))]
    assert await flow.repaired() == (1, 0)


async def test_values_in_the_app_s_own_columns_of_sqlite_are_equal_by_meaning(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source, copy = make(), tmp_path / "copy.db"
    source.run(
        "CREATE TABLE post (id int PRIMARY KEY, uid uuid, at timestamptz, live boolean, price numeric(8,2), doc jsonb)",
        "INSERT INTO post VALUES (1, '0d4f4c12-1111-4222-8333-444455556666', '2024-01-02 03:04:05+02', true, 1.50, "
        "'{\"a\": 1.50}'), (2, NULL, 'infinity', false, -0.10, '\"text\"')",
    )
    run(
        copy,
        "CREATE TABLE post (id INTEGER PRIMARY KEY, uid CHAR(32), at DATETIME, live BOOL, price DECIMAL, doc JSON)",
    )
    flow = between(source.uri, copy)
    assert (await flow.move()).status == "SUCCESS"
    assert (await flow.verify()).equal
    run(copy, "UPDATE post SET live = 0, price = 1.51, doc = '{\"a\": 1.51}' WHERE id = 1")
    (report,) = (await flow.verify()).differing
    assert [(d.key, d.columns) for d in report.examples] == [((1,), ("live", "price", "doc"))]
    assert await flow.repaired() == (1, 0)
