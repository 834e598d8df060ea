"""Columns of the destination that hold less than the source's: a record is rejected, never altered."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.connectors.postgres.schema.narrow_types import staged_type
from pipeline.connectors.sqlite import SqliteSource
from pipeline.domain.movement import Status
from pipeline.ports.destination import Loaded
from tests.connectors.postgres.loading import FLOW, delete, file, schema, upsert
from tests.connectors.postgres.moving import Movements, equal, succeed
from tests.connectors.postgres.places import Place, place_factory
from tests.connectors.sqlite import databases
from tests.servers.postgresql import PostgresqlServer

TIMESTAMP, TIMESTAMPTZ = "timestamp without time zone", "timestamp with time zone"
ALTERED = [
    # the format's type, the destination's, a value that it holds, one that it would alter
    ("decimal", "numeric(10,2)", "12.340", "12.345"),
    ("decimal", "numeric(6,-2)", "1200", "1234"),
    ("decimal", "double precision", "0.1", "0.12345678901234567890"),
    ("decimal", "money", "12.5", "12.345"),
    ("integer", "double precision", 2**53, 2**53 + 1),
    ("integer", "real", 1234567, 16777217),
    ("real", "real", 0.1, 0.1234567890123),
    ("real", "numeric(10,2)", 0.25, 0.125),
    ("timestamptz", "timestamptz(0)", "2024-01-01 10:00:00+00", "2024-01-01 10:00:00.5+00"),
    ("timestamp", "timestamp(3)", "2024-01-01 10:00:00.123", "2024-01-01 10:00:00.1234"),
    ("timestamp", "date", "2024-01-01 00:00:00", "2024-01-01 23:59:59"),
    ("timestamptz", "date", "2024-01-01 00:00:00+00", "2024-01-01 00:00:01+00"),
    ("text", "date", "2024-01-01", "2024-01-01 23:59:59"),
    ("timetz", "time", "10:00:00+00", "10:00:00+02"),
    ("time", "time(0)", "10:00:00", "10:00:00.5"),
    ("interval", "interval(0)", "1 day", "00:00:00.5"),
    ("interval", "interval year to month", "2 mons", "3 days"),
    ("array", "numeric(10,2)[]", "{1.25,NULL}", "{1.255}"),
    ("decimal", "price", "1.25", "1.255"),
    ("text", "name", "x" * 63, "x" * 64),
    ("timestamp", "time", None, "2024-01-01 10:00:00"),
    ("text", 'varchar(5) COLLATE "C"', "abc  ", "abc   "),
    ("text", "timestamp", "2024-01-01 10:00:00.1234560", "2024-01-01 10:00:00.1234567"),
    ("any", "timestamptz", "20240101", "2024-01-01 10:00:00.12345678+00"),
    ("text", "time", "10:00", "10"),
    ("integer", "interval", None, 1000000),
    ("real", "time", None, 1700.5),
    ("text", "interval", "1 day", "5"),
    ("text", "interval", "1.5 hours", " 5 "),
    ("text", "interval", "0.1234560s", "1 day 1.1234567s"),
    ("any", "interval", "PT1.123456S", "PT1.1234567S"),
    ("decimal", "interval", None, ".5"),
    ("integer", "interval", None, 12345678),
    ("text", "time", "1:2:3.123456", "1:2:3.1234567"),
    ("text", "timestamp", "2024-01-01 1:2:3.123456", "2024-01-01 1:2:3.1234567"),
    ("text", "timestamp(0)", "2024-01-01 1:2:3", "2024-01-01 1:2:3.5"),
    ("timestamp", "time(0)", None, "2024-01-01 10:00:00"),
    ("text", "timestamp(6)", "2024-01-01 1:2:3.5", "2024-01-01 1:2:3.0000001"),
    ("text", "interval(3)", "1.5s", "5"),
    ("text", "interval(3)", "1.5s", "1.0005s"),
    ("any", "time(0)", "10:00", "10"),
    ("integer", "interval day to second", None, 5),
    ("decimal", "timetz(3)", None, "10.5"),
    ("timestamp", "timestamp(0)", "2024-01-01 10:00:00", "2024-01-01 10:00:00.5"),
    ("text", "timestamp", "2024-01-01", " Now"),
    ("text", "timestamptz", "2024-01-01T10:00:00Z", "today 10:00"),
    ("any", "date", 20240101, "yesterday"),
    ("any", "date", "2024-01-01T00:00:00Z", 170406),
    ("integer", "date", 20240101, 170406),
    ("text", "time", "10:00+00", "10:00+02"),
    ("text", "time", "10:00 PM", "now"),
    ("integer", "timestamp", None, 170406),
    ("integer", "timestamptz", 20240101, 1704067200123),
    ("real", "timestamptz", None, 170406.5),
    ("real", "integer", 3.0, 3.5),
    ("decimal", "bigint", "3.00", "0.5"),
    ("text", '"char"', "x", "xy"),
]


@pytest.fixture
def place(postgresql: PostgresqlServer) -> Place:
    made = place_factory(postgresql)()
    made.run("CREATE DOMAIN price AS numeric(10,2)")
    return made


@pytest.mark.parametrize("full", [True, False])
async def test_values_that_would_be_altered_are_rejected_with_their_column(place: Place, full: bool) -> None:
    columns = ", ".join(f"c{n} {type_}" for n, (_, type_, _, _) in enumerate(ALTERED))
    place.run(f"CREATE TABLE item (id bigint PRIMARY KEY, {columns})")
    stream = schema({"id": "integer", **{f"c{n}": wire for n, (wire, *_) in enumerate(ALTERED)}})
    good = {f"c{n}": value for n, (_, _, value, _) in enumerate(ALTERED)}
    lines = [upsert(id=0, **good), *(upsert(id=n + 1, **{**good, f"c{n}": bad}) for n, (*_, bad) in enumerate(ALTERED))]
    nothing = dict.fromkeys(good)
    async with PostgresDestination(place.uri).open(FLOW) as session:
        outcome = await session.load(file(stream, [*lines, upsert(id=99, **nothing)], full=full), after=[])
    assert isinstance(outcome, Loaded)
    rejections = sorted(outcome.rejections, key=lambda it: it.line)
    assert [(it.key, it.column) for it in rejections] == [(f"[{n + 1}]", f"c{n}") for n in range(len(ALTERED))]
    assert rejections[0].reason == "the destination's column c0 is numeric(10,2), which cannot hold the value exactly"
    assert place.rows("SELECT id FROM item ORDER BY id") == [(0,), (99,)]


async def test_a_delete_of_a_key_that_would_be_rounded_deletes_no_other_row(place: Place) -> None:
    place.run("CREATE TABLE item (id numeric(10,2) PRIMARY KEY, v text)", "INSERT INTO item VALUES (1.23, 'a')")
    stream = schema({"id": "decimal", "v": "text"})
    async with PostgresDestination(place.uri).open(FLOW) as session:
        lines = [delete(id="1.234"), upsert(id="1.229", v="b"), upsert(id="1.2300", v="c")]
        outcome = await session.load(file(stream, lines), after=[])
    assert isinstance(outcome, Loaded)
    assert [it.column for it in outcome.rejections] == ["id"]
    assert place.rows("SELECT id::text, v FROM item") == [("1.23", "c")]


@pytest.mark.parametrize("full", [True, False])
async def test_blanks_at_the_end_of_a_key_or_value_are_not_cut(place: Place, full: bool) -> None:
    place.run(
        'CREATE TABLE item (id varchar(3) COLLATE "C" PRIMARY KEY, v varchar(3))',
        "INSERT INTO item VALUES ('abc', 'a')",
    )
    stream = schema({"id": "text", "v": "text"})
    lines = [
        delete(id="abc "),
        upsert(id="abc  ", v="x"),
        upsert(id="d", v="y  "),
        upsert(id="e", v="y   "),
        upsert(id="long"),
    ]
    async with PostgresDestination(place.uri).open(FLOW) as session:
        outcome = await session.load(file(stream, lines, full=full), after=[])
    assert isinstance(outcome, Loaded)
    reason = "value too long for type character varying(3)"
    assert [(it.line, it.column, it.reason) for it in outcome.rejections] == [
        (3, "id", reason), (5, "v", reason), (6, "id", reason)
    ]  # fmt: skip
    assert place.rows("SELECT * FROM item ORDER BY id") == [("abc", "a"), ("d", "y  ")]


async def test_a_movement_into_an_apps_narrower_table_is_incomplete(place: Place, postgresql: PostgresqlServer) -> None:
    source = place_factory(postgresql)()
    source.run("CREATE TABLE item (id int PRIMARY KEY, n numeric)", "INSERT INTO item VALUES (1, 0.5), (2, 0.125)")
    place.run("CREATE TABLE item (id int PRIMARY KEY, n numeric(10,2))")
    movements = Movements(PostgresSource(source.uri), PostgresDestination(place.uri))
    assert (await movements.move()).status is Status.INCOMPLETE
    assert place.rows("SELECT id FROM item") == [(1,)]
    place.run("ALTER TABLE item ALTER COLUMN n TYPE numeric")
    assert (await movements.move()).status is Status.SUCCESS
    assert place.rows("SELECT id, n::float FROM item ORDER BY id") == [(1, 0.5), (2, 0.125)]


@pytest.mark.parametrize(
    ("wire", "source", "here"),
    [
        ("decimal", "numeric(10,2)", "numeric(10,2)"),
        ("decimal", "numeric(8,2)", "numeric(10,4)"),
        ("decimal", "numeric(12)", "numeric(10,2)"),
        ("timestamptz", "timestamp(3) with time zone", "timestamp(3) with time zone"),
        ("timestamptz", TIMESTAMPTZ, "timestamp(6) with time zone"),
        ("timestamp", TIMESTAMP, TIMESTAMPTZ),
        ("real", "real", "double precision"),
        ("integer", "integer", "double precision"),
        ("integer", "bigint", "numeric"),
        ("text", "character varying(10)", "character varying(20)"),
    ],
)
def test_columns_that_hold_every_value_are_not_checked(wire: str, source: str, here: str) -> None:
    assert staged_type(wire, source, here, here) is None


async def test_types_of_other_technologies_promise_nothing(place: Place, tmp_path: Path) -> None:
    databases.run(
        tmp_path / "app.db",
        "CREATE TABLE item (id INTEGER PRIMARY KEY, day date, price numeric(10,2))",
        "INSERT INTO item VALUES (1, '2024-01-01 10:00:00', 1), (2, '2024-01-01', 1.255), (3, '2024-01-01', 1.25)",
    )
    place.run("CREATE TABLE item (id bigint PRIMARY KEY, day date, price numeric(10,2))")
    movement = await Movements(SqliteSource(tmp_path / "app.db"), PostgresDestination(place.uri)).move()
    assert movement.status is Status.INCOMPLETE
    assert place.rows("SELECT id, day::text FROM item") == [(3, "2024-01-01")]


@pytest.mark.parametrize("bad", ["now", " Today ", "170406"])
async def test_a_text_that_is_no_time_is_found_where_rows_are_copied_into_the_table(place: Place, bad: str) -> None:
    place.run("CREATE TABLE item (id bigint PRIMARY KEY, at timestamptz)")
    stream = schema({"id": "integer", "at": "text"})
    async with PostgresDestination(place.uri).open(FLOW) as session:
        lines = [upsert(id=1, at="2024-01-01"), upsert(id=2, at=bad)]
        outcome = await session.load(file(stream, lines, full=True), after=[])
    assert isinstance(outcome, Loaded)
    assert [(it.line, it.column) for it in outcome.rejections] == [(3, "at")]
    assert place.rows("SELECT id FROM item") == [(1,)]


async def test_a_text_with_a_zone_is_the_same_instant_in_a_timestamp(place: Place, tmp_path: Path) -> None:
    databases.run(
        tmp_path / "app.db",
        "CREATE TABLE item (id INTEGER PRIMARY KEY, at datetime, v TEXT)",
        "INSERT INTO item VALUES (1, '2024-01-01 10:00:00.5+02:00', 'a'), (2, '2024-01-01T10:00:00+00:00', 'b')",
    )
    place.run("CREATE TABLE item (id bigint PRIMARY KEY, at timestamp, v text)")
    moving = Movements(SqliteSource(tmp_path / "app.db"), PostgresDestination(place.uri))
    await succeed(moving)
    at = "SELECT at::text FROM item ORDER BY id"
    assert place.rows(at) == [("2024-01-01 08:00:00.5",), ("2024-01-01 10:00:00",)]
    databases.run(tmp_path / "app.db", "UPDATE item SET at = '2024-01-01 10:00:00-03:00' WHERE id = 2")
    await succeed(moving)
    assert place.rows(at) == [("2024-01-01 08:00:00.5",), ("2024-01-01 13:00:00",)]
    assert await equal(moving)


@pytest.mark.parametrize("type_", ["timestamp", "timestamp(0)"])
async def test_texts_are_the_key_of_a_table_whose_key_is_a_time(place: Place, type_: str) -> None:
    place.run(f"CREATE TABLE item (at {type_} PRIMARY KEY, v text)", "INSERT INTO item VALUES ('2024-01-01', 'a')")
    stream = schema({"at": "text", "v": "text"})
    async with PostgresDestination(place.uri).open(FLOW) as session:
        lines = [
            upsert(at="2024-01-01", v="b"),
            upsert(at="2024-01-02 10:00:00", v="c"),
            delete(at="2024-01-02 10:00:00"),
        ]
        assert isinstance(outcome := await session.load(file(stream, lines), after=[]), Loaded)
    assert outcome.rejections == ()
    assert place.rows("SELECT at::text, v FROM item") == [("2024-01-01 00:00:00", "b")]
