"""From SQLite the declared type of a column is a hint, and its values decide: no row is rejected for their kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.connectors.postgres import PostgresDestination
from pipeline.connectors.sqlite import SqliteSource
from pipeline.domain.movement import Status
from pipeline.engine.movements.context import Limits
from tests.connectors.postgres.moving import Movements, equal, succeed
from tests.connectors.postgres.places import Place
from tests.connectors.sqlite import databases


def types(place: Place, table: str) -> dict[object, object]:
    """Return the types of a table's columns."""
    found = "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
    return dict(place.rows(found, [table]))  # type: ignore[arg-type]  # rows of two


async def test_a_column_gets_the_type_that_its_values_need(make: Callable[[], Place], tmp_path: Path) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source,
        "CREATE TABLE place (fid INTEGER PRIMARY KEY, geom POINT, size INTEGER DEFAULT 7, code INTEGER_OR_TEXT, rate REAL,"
        " price DECIMAL, ok BOOLEAN DEFAULT 1, sure BOOLEAN, raw BLOB, k bytea, at DATETIME, words BLOB)",
        "INSERT INTO place VALUES (1, x'4750', 5, 4326, 1.5, '1.25', 1, 't', x'00', x'00ff', '2024-01-02', 'a'),"
        " (2, x'4751', 2.5, '1_Ceres', 'fast', 'free', 2, 'no', 'text', x'01', 1704153600, 'b'),"
        " (3, NULL, 9007199254740993, 9223372036854775807, NULL, NULL, NULL, NULL, 5, NULL, NULL, NULL)",
    )
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    movement = await succeed(movements)
    found = types(place, "place")
    assert found == {
        "fid": "bigint", "geom": "bytea", "size": "numeric", "code": "text", "rate": "text", "price": "text", "ok": "bigint",
        "sure": "boolean", "raw": "json", "k": "bytea", "at": "text", "words": "text",
    }  # fmt: skip
    assert place.rows("SELECT geom, size::text, code, rate, price, ok, raw::text, k FROM place ORDER BY fid") == [
        (b"GP", "5", "4326", "1.5", "1.25", 1, '{"$bytes":"AA=="}', b"\x00\xff"),
        (b"GQ", "2.5", "1_Ceres", "fast", "free", 2, '"text"', b"\x01"),
        (None, "9007199254740993", "9223372036854775807", None, None, None, "5", None),
    ]  # fmt: skip
    assert {item.name: item.reason for item in movement.inventory.items}["place.geom"] == (
        "it is bytea here: its values are not what its declared type POINT says"
    )
    place.run("INSERT INTO place (fid) VALUES (9)")
    assert place.rows("SELECT size::text, ok FROM place WHERE fid = 9") == [("7", 1)]
    place.run("DELETE FROM place WHERE fid = 9")
    assert await equal(movements)


async def test_a_later_value_widens_a_column_that_has_rows(make: Callable[[], Place], tmp_path: Path) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source,
        "CREATE TABLE note (id INTEGER PRIMARY KEY, sfld INTEGER NOT NULL, flag BOOLEAN, b BLOB, t TEXT)",
        "CREATE INDEX by_sfld ON note (sfld)",
        "INSERT INTO note VALUES (1, 10, 1, x'0aff', 't'), (2, 20, 0, NULL, NULL)",
    )
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    await succeed(movements)
    assert list(types(place, "note").values()) == ["bigint", "bigint", "boolean", "bytea", "text"]
    databases.run(source, "INSERT INTO note VALUES (3, 'äpfel', 'maybe', 'words', 'u')")
    await succeed(movements)
    assert list(types(place, "note").values()) == ["bigint", "text", "text", "json", "text"]
    assert place.rows("SELECT sfld, flag, b::text FROM note ORDER BY id") == [
        ("10", "1", '{"$bytes":"Cv8="}'), ("20", "0", None), ("äpfel", "maybe", '"words"'),
    ]  # fmt: skip
    assert await equal(movements)
    databases.run(source, "DELETE FROM note WHERE id = 3", "UPDATE note SET sfld = 11 WHERE id = 1")
    await succeed(movements)
    assert place.rows("SELECT sfld FROM note ORDER BY id") == [("11",), ("20",)]


async def test_a_column_of_a_foreign_key_is_widened(make: Callable[[], Place], tmp_path: Path) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source,
        "CREATE TABLE code (k INT NOT NULL PRIMARY KEY, up INT REFERENCES code)",
        "CREATE TABLE use (id INTEGER PRIMARY KEY, k INT REFERENCES code)",
        "INSERT INTO code VALUES (1, NULL), (2, 1)",
        "INSERT INTO use VALUES (1, 2)",
    )
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    await succeed(movements)
    place.run("CREATE TABLE own (k bigint REFERENCES code)")
    databases.run(source, "INSERT INTO code VALUES ('a', 2)")
    assert (await movements.move()).status is Status.INCOMPLETE  # a foreign key of the user's needs the type
    place.run("DROP TABLE own")
    databases.run(source, "UPDATE code SET up = 1 WHERE k = 'a'")
    movement = await succeed(movements)
    lacking = [item.name for item in movement.inventory.items if item.kind == "table constraint"]
    assert lacking == ["code: foreign key up to code", "use: foreign key k to code"]
    databases.run(source, "INSERT INTO code VALUES ('b', 'a')", "INSERT INTO use VALUES (2, 'b')")
    await succeed(movements)
    assert place.rows("SELECT k, up FROM code ORDER BY k") == [("1", None), ("2", "1"), ("a", "1"), ("b", "a")]
    keys = "SELECT conrelid::regclass::text FROM pg_constraint WHERE contype = 'f' ORDER BY 1"
    assert place.rows(keys) == [("code",), ("use",)]
    assert await equal(movements)


async def test_many_files_of_one_table_agree_on_its_columns(make: Callable[[], Place], tmp_path: Path) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source,
        "CREATE TABLE t (code INTEGER_OR_TEXT NOT NULL PRIMARY KEY, n INTEGER, p POINT) WITHOUT ROWID",
        "INSERT INTO t WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < 3000)"
        " SELECT v, v, NULL FROM n",
        "UPDATE t SET n = n + 0.5, p = x'00' WHERE code % 500 = 0",
        "UPDATE t SET n = 'many', p = 'text' WHERE code % 700 = 0",
        "INSERT INTO t VALUES ('x', 'y', NULL)",
    )
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri), Limits(event_file_rows=250))
    await succeed(movements)
    assert list(types(place, "t").values()) == ["text", "text", "json"]
    assert place.rows("SELECT count(*), count(DISTINCT code), count(p) FROM t") == [(3001, 3001, 10)]


async def test_a_column_that_the_app_made_or_needs_is_not_changed(make: Callable[[], Place], tmp_path: Path) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(source, "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)", "INSERT INTO t VALUES (1, 'x'), (2, 2)")
    place.run("CREATE TABLE t (id int PRIMARY KEY, n bigint)")
    movement = await Movements(SqliteSource(source), PostgresDestination(place.uri)).move()
    assert movement.status is Status.INCOMPLETE
    assert 'key [1] was rejected: invalid input syntax for type bigint: "x"' in movement.problems[0]
    other = make()
    databases.run(source, "UPDATE t SET n = 1")
    movements = Movements(SqliteSource(source), PostgresDestination(other.uri))
    await succeed(movements)
    other.run("CREATE VIEW total AS SELECT sum(n) FROM t")
    databases.run(source, "UPDATE t SET n = 'x' WHERE id = 1")
    movement = await movements.move()
    assert movement.status is Status.INCOMPLETE
    assert 'invalid input syntax for type bigint: "x"' in movement.problems[0]
    other.run("DROP VIEW total")
    databases.run(source, "UPDATE t SET n = 'y' WHERE id = 1")
    await succeed(movements)
    assert other.rows("SELECT n FROM t ORDER BY id") == [("y",), ("1",)]


async def test_widening_alters_no_value(make: Callable[[], Place], tmp_path: Path) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, r REAL, n INTEGER, d DATETIME, x BLOB, y REAL, t TEXT)",
        "INSERT INTO t VALUES (1, 2, 3, 1704153600, '5', 9e999, x'07'), (2, -0.5, 4, '2024-01-02', '007', -9e999, NULL), "
        "(3, 1e300, NULL, 2460310.5, 'a\"b', 4, NULL)",
    )
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    await succeed(movements)
    assert types(place, "t")["t"] == "bytea"
    databases.run(source, "INSERT INTO t VALUES (4, 'fast', x'00', x'01', 5, x'02', 'text')")
    await succeed(movements)
    assert list(types(place, "t").values()) == ["bigint", "text", "json", "json", "json", "json", "json"]
    assert place.rows("SELECT r, n::text, d::text, x::text, y::text, t::text FROM t ORDER BY id") == [
        ("2.0", "3", "1704153600", '"5"', '{"$float":"inf"}', '{"$bytes":"Bw=="}'),
        ("-0.5", "4", '"2024-01-02"', '"007"', '{"$float":"-inf"}', None),
        ("1e+300", None, "2460310.5", '"a\\"b"', "4.0", None),
        ("fast", '{"$bytes":"AA=="}', '{"$bytes":"AQ=="}', "5", '{"$bytes":"Ag=="}', '"text"'),
    ]
    assert await equal(movements)


async def test_a_widened_column_is_declared_with_another_type(make: Callable[[], Place], tmp_path: Path) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(source, "CREATE TABLE t (id INTEGER PRIMARY KEY, n INT)", "INSERT INTO t VALUES (1, 5), (2, 'x')")
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    await succeed(movements)
    databases.run(
        source,
        "CREATE TABLE u (id INTEGER PRIMARY KEY, n REAL)",
        "INSERT INTO u SELECT * FROM t",
        "DROP TABLE t",
        "ALTER TABLE u RENAME TO t",
        "INSERT INTO t VALUES (3, 2.5)",
    )
    await succeed(movements)
    assert place.rows("SELECT n FROM t ORDER BY id") == [("5.0",), ("x",), ("2.5",)]


async def test_columns_that_the_user_has_given_other_types_are_loaded(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source,
        "CREATE TABLE item (id INTEGER PRIMARY KEY, state TEXT, data JSON, at DATETIME)",
        """INSERT INTO item VALUES (1, 'open', '{"a": 1}', '2024-01-01 10:00:00')""",
    )
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    await succeed(movements)
    place.run(
        "CREATE TYPE state AS ENUM ('open', 'closed')",
        "ALTER TABLE item ALTER state TYPE state USING state::state, ALTER data TYPE jsonb USING data::jsonb, "
        "ALTER at TYPE timestamptz USING at::timestamptz",
    )
    databases.run(source, """INSERT INTO item VALUES (2, 'closed', '{"b": 2}', '2024-01-02 10:00:00')""")
    await succeed(movements)
    assert place.rows("SELECT state::text, data::text, at::text FROM item ORDER BY id") == [
        ("open", '{"a": 1}', "2024-01-01 10:00:00+00"),
        ("closed", '{"b": 2}', "2024-01-02 10:00:00+00"),
    ]
    assert await equal(movements)
