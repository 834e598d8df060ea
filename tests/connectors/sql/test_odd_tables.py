"""Tables that few apps have, and that are moved like any other: without columns, with hundreds of them, with odd names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.connectors.sqlite import SqliteDestination, SqliteSource
from pipeline.domain.movement import Status
from tests.connectors.postgres.places import Place
from tests.connectors.sqlite.databases import rows, run
from tests.engine.real_flow import Places, RealFlow


def between(source: Place, copy: Place) -> RealFlow:
    read, written = PostgresSource(source.uri), PostgresSource(copy.uri)
    return RealFlow(Places(read, PostgresDestination(copy.uri), read, written))


async def test_rows_of_tables_without_columns_are_counted(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run(
        "CREATE TABLE bare ()",
        "INSERT INTO bare DEFAULT VALUES",
        "INSERT INTO bare DEFAULT VALUES",
        "CREATE TABLE computed (a int GENERATED ALWAYS AS (1) STORED)",
        "INSERT INTO computed DEFAULT VALUES",
    )
    flow = between(source, copy)
    counts = "SELECT (SELECT count(*) FROM bare), (SELECT count(*) FROM computed)"
    assert (await flow.move()).status is Status.SUCCESS
    assert copy.rows(counts) == [(2, 1)]
    source.run("INSERT INTO bare DEFAULT VALUES", "DELETE FROM computed")
    with capture_logs() as logs:
        movement = await flow.move()
    assert (movement.status, movement.totals.upserts, movement.totals.deletes) == (Status.SUCCESS, 1, 1)
    assert logs == []
    assert copy.rows(counts) == [(3, 0)]
    assert (await flow.verify()).equal


async def test_a_thousand_columns_without_a_key(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run(
        f"CREATE TABLE wide ({', '.join(f'c{n} int' for n in range(1000))})",
        "INSERT INTO wide (c0, c999) VALUES (1, 2), (1, 2), (3, 4)",
    )
    flow = between(source, copy)
    assert (await flow.move()).status is Status.SUCCESS
    source.run("DELETE FROM wide WHERE c0 = 3", "UPDATE wide SET c5 = 7 WHERE ctid = (SELECT min(ctid) FROM wide)")
    assert (await flow.move()).status is Status.SUCCESS
    assert copy.rows("SELECT c0, c5, c999 FROM wide ORDER BY c5") == [(1, 7, 2), (1, None, 2)]


async def test_names_that_are_paths_are_moved(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    names = ('".."."."', '"."', '"a/b\n\t"', '""""')
    source.run('CREATE SCHEMA ".."', *(f"CREATE TABLE {name} AS SELECT 1 AS id" for name in names))
    assert (await between(source, copy).move()).status is Status.SUCCESS
    assert [copy.rows(f"SELECT id FROM {name}") for name in names] == [[(1,)]] * len(names)


async def test_names_longer_than_object_keys_are_moved(tmp_path: Path) -> None:
    source, copy = tmp_path / "source.db", tmp_path / "copy.db"
    names = ("", ".", "表" * 400 + "a", "表" * 400 + "b", "ok")
    for number, name in enumerate(names):
        run(source, f'CREATE TABLE "{name}" (id INTEGER PRIMARY KEY)', f'INSERT INTO "{name}" VALUES ({number})')
    flow = RealFlow(Places(SqliteSource(source), SqliteDestination(copy), SqliteSource(source), SqliteSource(copy)))
    with capture_logs() as logs:
        assert (await flow.move()).status is Status.SUCCESS
    assert [log["stream"] for log in logs if log["event"] == "stream_name_shortened"] == ["", *names[2:4]]
    assert [rows(copy, f'SELECT id FROM "{name}"') for name in names] == [[(number,)] for number in range(len(names))]
    run(source, f'INSERT INTO "{names[2]}" VALUES (7)', f'DELETE FROM "{names[3]}"')
    movement = await flow.move()
    assert (movement.status, movement.totals.upserts, movement.totals.deletes) == (Status.SUCCESS, 1, 1)
    assert (await flow.verify()).equal


async def test_a_name_that_the_destination_cannot_have_costs_its_table_alone(
    tmp_path: Path, make: Callable[[], Place]
) -> None:
    source, copy = tmp_path / "source.db", make()
    names = ("", "t" * 70 + "a", "t" * 70 + "b", "ok")
    run(source, *(f'CREATE TABLE "{name}" (id INTEGER PRIMARY KEY)' for name in names))
    run(source, *(f'INSERT INTO "{name}" VALUES (1)' for name in names))
    read = SqliteSource(source)
    movement = await RealFlow(Places(read, PostgresDestination(copy.uri), read, PostgresSource(copy.uri))).move()
    assert (movement.status, movement.totals.files_failed) == (Status.INCOMPLETE, 3)
    assert all("PostgreSQL's names have 1 to 63 bytes" in problem for problem in movement.problems)
    assert copy.rows("SELECT id FROM ok") == [(1,)]


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE t ADD COLUMN b int DEFAULT 7",
        "ALTER TABLE t DROP COLUMN extra",
        "ALTER TABLE t ALTER COLUMN a TYPE text USING 'text ' || a",
        "ALTER TABLE t RENAME COLUMN extra TO other",
        "ALTER TABLE t DROP COLUMN a, DROP COLUMN extra",
        "ALTER TABLE t ADD COLUMN g int GENERATED ALWAYS AS (a + 1) STORED",
    ],
)
async def test_rows_without_a_key_follow_a_changed_column(make: Callable[[], Place], change: str) -> None:
    source, copy = make(), make()
    source.run("CREATE TABLE t (a int, extra int)", "INSERT INTO t VALUES (1, 1), (1, 1), (2, NULL)")
    flow = between(source, copy)
    assert (await flow.move()).status is Status.SUCCESS
    source.run(change)
    assert (await flow.move()).status is Status.SUCCESS
    source.run("INSERT INTO t DEFAULT VALUES")
    assert (await flow.move()).status is Status.SUCCESS
    assert copy.rows("SELECT count(*) FROM t") == [(4,)]
    assert (await flow.verify()).equal
