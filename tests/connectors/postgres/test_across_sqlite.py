"""SQLite to PostgreSQL and back: types are mapped as documented, and values that do not fit are rejected with a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.connectors.sqlite import SqliteDestination, SqliteSource
from pipeline.domain.movement import Status
from tests.connectors.postgres.moving import Movements
from tests.connectors.postgres.places import Place
from tests.connectors.postgres.test_across_databases import TYPES
from tests.connectors.sqlite import databases


async def test_an_sqlite_database_arrives_and_comes_back(make: Callable[[], Place], tmp_path: Path) -> None:
    source, place, back = tmp_path / "app.db", make(), tmp_path / "back.db"
    databases.run(
        source,
        "CREATE TABLE artist (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL DEFAULT 'no''body', born REAL "
        "DEFAULT 1.5)",
        "CREATE TABLE 'al.bum \"x\"' (code VARCHAR(10), part INT, cover BLOB DEFAULT x'00ff', price DECIMAL(6,2),"
        " yes BOOLEAN DEFAULT 1, at DATETIME, PRIMARY KEY (code, part)) WITHOUT ROWID",
        "CREATE TABLE loose (a, b)",
        "INSERT INTO artist VALUES (1, 'tab\tnew\nline \"q\" \\ é 😀 \x01', 1e300), (9, '', -2.0), (12, '\\.', NULL)",
        "DELETE FROM artist WHERE id = 12",
        "INSERT INTO \"al.bum \"\"x\"\"\" VALUES ('b', 1, x'', 12, 0, '2024-01-02'), ('B', -5, NULL, 12.75, 1, NULL),"
        " ('ä', 9223372036854775807, x'ff00', NULL, NULL, 'null')",
        "INSERT INTO loose VALUES (1, 'text'), (1.5, x'0001'), (NULL, 'nul' || char(0) || 'inside'), "
        '(\'{"$bytes":"AA=="}\', 9007199254740993)',
    )
    movement = await Movements(SqliteSource(source), PostgresDestination(place.uri)).move()
    assert (movement.status, movement.problems) == (Status.SUCCESS, ())
    assert place.rows("SELECT * FROM artist ORDER BY id") == databases.rows(source, "SELECT * FROM artist ORDER BY id")
    assert place.rows("SELECT price::text, yes FROM \"al.bum \"\"x\"\"\" ORDER BY code") == [
        ("12.75", True), ("12", False), (None, None),
    ]  # fmt: skip
    assert place.rows("INSERT INTO artist DEFAULT VALUES RETURNING id, name, born") == [(13, "no'body", 1.5)]
    place.run("DELETE FROM artist WHERE id = 13")
    movement = await Movements(PostgresSource(place.uri), SqliteDestination(back)).move()
    assert (movement.status, movement.problems) == (Status.SUCCESS, ())
    for query in ("SELECT * FROM artist ORDER BY id", 'SELECT code, part, cover, at FROM "al.bum ""x""" ORDER BY code'):
        moved = query.replace('"al.bum ""x"""', '"""al.bum """"x"""""""')
        assert databases.rows(back, moved) == databases.rows(source, query)


async def test_values_that_do_not_fit_are_rejected_with_the_reason(make: Callable[[], Place], tmp_path: Path) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source,
        "CREATE TABLE item (id INTEGER PRIMARY KEY, t TEXT)",
        "INSERT INTO item VALUES (4, 'a' || char(0) || 'b'), (5, x'00'), (6, CAST(x'ff' AS TEXT)), (7, 'fine')",
    )
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    movement = await movements.move()
    assert movement.status is Status.INCOMPLETE
    assert place.rows("SELECT * FROM item") == [(7, "fine")]
    rejected = {key: (line, column, reason) for line, key, column, reason in place.rows(
        "SELECT line, key, column_name, reason FROM _pipeline.rejected"
    )}  # fmt: skip
    assert rejected["[4]"][0] == 2
    assert rejected["[4]"][2] == "text with the character U+0000, which PostgreSQL cannot hold in text"
    assert rejected["[5]"][1:] == ("t", "column t: bytes, in a column that does not hold bytes")
    assert rejected["[6]"][1:] == ("t", "column t: text that is not valid in its encoding")
    databases.run(source, "DELETE FROM item WHERE id < 7")
    movement = await movements.move()
    assert (movement.status, movement.problems) == (Status.SUCCESS, ())
    assert place.rows("SELECT count(*) FROM _pipeline.rejected") == [(0,)]


async def test_every_type_goes_through_sqlite_and_back(make: Callable[[], Place], tmp_path: Path) -> None:
    source, middle, back = make(), tmp_path / "middle.db", make()
    source.run(*TYPES, 'UPDATE "My shop"."Every ""type""" SET single = 0, double = 0 WHERE id IN (2, 5)')
    movement = await Movements(PostgresSource(source.uri), SqliteDestination(middle)).move()
    assert (movement.status, movement.problems) == (Status.SUCCESS, ())
    movement = await Movements(SqliteSource(middle), PostgresDestination(back.uri)).move()
    assert (movement.status, movement.problems) == (Status.SUCCESS, ())
    stream = '"My shop.""Every """"type"""""""'
    columns = [str(row[0]) for row in source.rows(
        "SELECT attname FROM pg_attribute WHERE attrelid = '\"My shop\".\"Every \"\"type\"\"\"'::regclass AND attnum > 0"
        " AND attname NOT IN ('cash', 'yes', 'padded', 'r')"
    )]  # fmt: skip
    texts = ", ".join(f"{name}::text" for name in columns)
    wanted = source.rows(f'SELECT {texts} FROM "My shop"."Every ""type""" ORDER BY id')
    assert back.rows(f"SELECT {texts} FROM {stream} ORDER BY id") == wanted
    kinds = {row[0]: row[1] for row in back.rows(
        f"SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = '{stream}'::regclass"
    )}  # fmt: skip
    assert [kinds[name] for name in ("id", "double", "exact", "docb", "zoned", "key", "raw", "mood")] == [
        "bigint", "double precision", "numeric", "json", "timestamp with time zone", "uuid", "bytea", "text",
    ]  # fmt: skip


async def test_nan_is_rejected_by_sqlite(make: Callable[[], Place], tmp_path: Path) -> None:
    source, destination = make(), tmp_path / "copy.db"
    source.run(
        "CREATE TABLE t (id int PRIMARY KEY, v float8)", "INSERT INTO t VALUES (1, 'NaN'), (2, '-Infinity'), (3, NULL)"
    )
    movement = await Movements(PostgresSource(source.uri), SqliteDestination(destination)).move()
    assert movement.status is Status.INCOMPLETE
    assert "NaN, which SQLite stores as NULL" in movement.problems[0]
    assert databases.rows(destination, "SELECT id, v FROM t ORDER BY id") == [(2, float("-inf")), (3, None)]


async def test_keys_of_any_kind_and_rows_without_a_key_stay_equal(make: Callable[[], Place], tmp_path: Path) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source,
        "CREATE TABLE kept (key, value, PRIMARY KEY (key)) WITHOUT ROWID",
        "INSERT INTO kept VALUES (1, 1), ('1', 'one'), (x'31', NULL), (2.5, 0.1), ('é\"\\', x'')",
        "CREATE TABLE loose (a INT, r REAL)",
        "INSERT INTO loose VALUES (1, -0.0), (1, 2), (NULL, NULL)",
    )
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    assert (await movements.move()).status is Status.SUCCESS
    databases.run(
        source,
        "DELETE FROM kept WHERE key IN ('1', x'31')",
        "UPDATE kept SET value = 'new' WHERE key = 2.5",
        "DELETE FROM loose WHERE rowid = 1",
    )
    movement = await movements.move()
    assert (movement.status, movement.totals.deletes) == (Status.SUCCESS, 3)
    assert place.rows("SELECT key::text, value::text FROM kept ORDER BY key") == [
        ('"é\\"\\\\"', '{"$bytes":""}'), ("1", "1"), ("2.5", '"new"'),
    ]  # fmt: skip
    assert place.rows("SELECT * FROM loose ORDER BY rowid") == [(2, 1, 2.0), (3, None, None)]


async def test_tables_whose_long_names_start_alike_each_have_their_key(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source, place = tmp_path / "app.db", make()
    names = ["t" * 62 + "a", "t" * 62 + "b", "é" * 31]
    databases.run(
        source,
        *[f"CREATE TABLE {name} (id TEXT NOT NULL PRIMARY KEY); INSERT INTO {name} VALUES (1)" for name in names],
    )
    movement = await Movements(SqliteSource(source), PostgresDestination(place.uri)).move()
    assert (movement.status, movement.problems) == (Status.SUCCESS, ())
    keys = place.rows(
        "SELECT conrelid::regclass::text FROM pg_constraint WHERE contype = 'p' AND connamespace = 'public'::regnamespace"
    )
    assert sorted(str(name).strip('"') for (name,) in keys) == names


async def test_tables_and_columns_that_differ_in_case_only_are_named_by_sqlite(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    place, copy = make(), tmp_path / "copy.db"
    place.run(
        'CREATE TABLE "T" (id int PRIMARY KEY, v text)',
        "CREATE TABLE t (id int PRIMARY KEY, w int)",
        'CREATE TABLE u (id int PRIMARY KEY, "A" int, a int)',
        """INSERT INTO "T" VALUES (1, 'upper')""",
        "INSERT INTO t VALUES (1, 2), (2, 3)",
        "INSERT INTO u VALUES (1, 2, 3)",
    )
    movement = await Movements(PostgresSource(place.uri), SqliteDestination(copy)).move()
    assert movement.status is Status.INCOMPLETE
    assert sorted(problem.partition(" was not imported: ")[2] for problem in movement.problems) == [
        "Stream t cannot be loaded: SQLite holds its table and T, which is that of another stream, to be one; rename one of them "
        "at the source, or leave one out with --exclude",
        "Stream u cannot be loaded: SQLite holds its columns A and a to be one; rename one of them, or leave the stream out with "
        "--exclude",
    ]
    assert databases.rows(copy, "SELECT * FROM T") == [(1, "upper")]
