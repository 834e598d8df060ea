"""SQLite to PostgreSQL and back: keys of every kind are compared as the values that they stand for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.connectors.sqlite import SqliteDestination, SqliteSource
from pipeline.domain.comparison.report import Verification
from pipeline.domain.movement import Status
from pipeline.engine.verify.verifier import Verifier, VerifyRequest
from tests.connectors.postgres.moving import FLOW, Movements, equal, succeed
from tests.connectors.postgres.places import Place, place_factory
from tests.connectors.sqlite import databases
from tests.servers.postgresql import PostgresqlServer


@pytest.fixture
def make(postgresql: PostgresqlServer) -> Callable[[], Place]:
    return place_factory(postgresql)


@pytest.mark.parametrize(
    ("declared", "keys", "type_"),
    [
        ("", "1, '1', x'31', 1.5, 'a', 9e999, -9e999, 'ä', '$float', -10, 9, x'', ''", "jsonb"),
        ("BLOB", "x'00', 'text', 5, 10, 'Text', -1.5", "jsonb"),
        ("INT", "1, 10, 2, -3, 9007199254740993, 1.5, 'x', 'X', 1e300", "text"),
        ("INT", "1, 2.5, x'00', '1_000', '0x10'", "jsonb"),
        ("REAL", "1, 1.5, 9e999, 'abc', 1e23, -2", "text"),
        ("DECIMAL(10,2)", "1.50, 10, 9, 100.25", "numeric"),
        ("DATETIME", "'2020-01-01', '2019-12-31 10:00', 1700000000, 5, 2459000.5", "text"),
    ],
)
async def test_keys_of_sqlite_are_equal(
    declared: str, keys: str, type_: str, make: Callable[[], Place], tmp_path: Path
) -> None:
    source, place = tmp_path / "app.db", make()
    values = ", ".join(f"({key}, {at})" for at, key in enumerate(keys.split(", ")))
    databases.run(
        source,
        f"CREATE TABLE t (k {declared} NOT NULL PRIMARY KEY, v INTEGER) WITHOUT ROWID",
        f"INSERT INTO t VALUES {values}",
    )
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    await succeed(movements)
    found = "SELECT format_type(atttypid, NULL) FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'k'"
    assert place.rows(found) == [(type_,)]
    assert await equal(movements)
    place.run("UPDATE t SET v = 99 WHERE v = 2")
    assert not await equal(movements)
    place.run("UPDATE t SET v = 2 WHERE v = 99", "DELETE FROM t WHERE v = 1")
    assert not await equal(movements)


@pytest.mark.parametrize("form", ["%s", "upper(%s)", "replace(%s, '-', '')", "'{' || %s || '}'"])
async def test_keys_that_are_uuids_in_the_apps_table_are_equal(
    form: str, make: Callable[[], Place], tmp_path: Path
) -> None:
    source, place = tmp_path / "app.db", make()
    ids = [f"{at:08x}-0000-4000-8000-00000000000a" for at in (1, 10, 0xABCDEF, 0xF0000000)]
    rows = ", ".join(f"({form % repr(id_)}, {at})" for at, id_ in enumerate(ids))
    databases.run(source, "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, v INT)", f"INSERT INTO t VALUES {rows}")
    place.run("CREATE TABLE t (id uuid PRIMARY KEY, v int)")
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    await succeed(movements)
    assert await equal(movements)
    place.run("UPDATE t SET v = 99 WHERE v = 2", "DELETE FROM t WHERE v = 0", f"INSERT INTO t VALUES ('{uuid4()}', 7)")
    found = (await verified(movements, PostgresSource(place.uri))).streams[0]
    assert (found.different, found.missing, found.extra) == (1, 1, 1)


async def test_uuids_that_are_written_in_several_ways_are_not_compared(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source, place = tmp_path / "app.db", make()
    first, second = "0000000A-0000-4000-8000-00000000000a", "0000000a00004000800000000000000b"
    databases.run(
        source,
        "CREATE TABLE t (id TEXT NOT NULL PRIMARY KEY, v INT)",
        f"INSERT INTO t VALUES ('{second}', 1), ('{first}', 2), ('0000000a-0000-4000-8000-000000000001', 3)",
    )
    place.run("CREATE TABLE t (id uuid PRIMARY KEY, v int)")
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    await succeed(movements)
    verification = await verified(movements, PostgresSource(place.uri))
    assert "are UUIDs that are written in different ways" in verification.streams[0].incomparable


async def test_full_text_tables_of_sqlite_are_equal(make: Callable[[], Place], tmp_path: Path) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(source, "CREATE VIRTUAL TABLE f USING fts5(body)", "INSERT INTO f VALUES ('some words'), ('more')")
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    await succeed_accepting(movements, "virtual table")
    assert await equal(movements)


async def test_boolean_keys_of_postgresql_are_equal(make: Callable[[], Place], tmp_path: Path) -> None:
    place, copy = make(), tmp_path / "copy.db"
    place.run("CREATE TABLE t (k boolean PRIMARY KEY, v int)", "INSERT INTO t VALUES (true, 1), (false, 2)")
    movements = Movements(PostgresSource(place.uri), SqliteDestination(copy))
    await succeed(movements)
    verification = await verified(movements, SqliteSource(copy))
    assert verification.equal
    assert verification.covers == (
        "the rows of 1 table",
        "generated columns",
    )  # no constraints: they are of two technologies


async def test_an_accepted_generated_column_is_no_difference(make: Callable[[], Place], tmp_path: Path) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER AS (a * 2) STORED)",
        "INSERT INTO t (a) VALUES (1)",
    )
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    await succeed_accepting(movements, "generated column")
    movements.source = SqliteSource(source, generated=True)
    assert await equal(movements)
    place.run("UPDATE t SET a = 2")
    assert not await equal(movements)


async def test_a_float_as_text_is_equal_however_it_is_written(make: Callable[[], Place], tmp_path: Path) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source, "CREATE TABLE t (id INTEGER PRIMARY KEY, r REAL, n INT)", "INSERT INTO t VALUES (1, 1e23, 1e22)"
    )
    databases.run(source, "INSERT INTO t VALUES (2, 9e999, -9e999)")
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    await succeed(movements)
    databases.run(source, "INSERT INTO t VALUES (3, 'fast', 'many')")
    await succeed(movements)
    assert await equal(movements)
    databases.run(source, "INSERT INTO t VALUES (4, x'00', x'00')")
    await succeed(movements)
    assert await equal(movements)


async def succeed_accepting(movements: Movements, kind: str) -> None:
    """Move once, accept that objects of this kind are missing, and move with success."""
    assert (await movements.move()).status is Status.INCOMPLETE
    await movements.flows().accept_missing(FLOW, [kind])
    await succeed(movements)


async def verified(movements: Movements, copy: SqliteSource | PostgresSource) -> Verification:
    """Compare the copy with the source."""
    flows = movements.flows()
    flow = await flows.read_flow(FLOW)
    verifier = Verifier(movements.store, flows, movements.clock, flow, source=movements.source, copy=copy)
    return await verifier.run(VerifyRequest())
