"""Rows that are too large for an Event File are rejected by their keys, and their large values are never read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.connectors.postgres.reading import large_rows
from pipeline.domain.movement import Status
from tests.connectors.postgres.moving import Movements, equal, succeed
from tests.connectors.postgres.places import Place

MOST_BYTES = 1_000_000


@pytest.fixture(autouse=True)
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_rows, "MAX_LINE_BYTES", MOST_BYTES)


@pytest.mark.parametrize("key", ["a int, b text, PRIMARY KEY (a, b)", "a int, b text, PRIMARY KEY (b, a)"])
async def test_a_row_that_grows_too_large_is_rejected_until_it_is_shorter(make: Callable[[], Place], key: str) -> None:
    source, copy = make(), make()
    source.run(
        f'CREATE TABLE t ({key}, note text, "content" bytea, list text[])',
        "ALTER TABLE t ALTER note SET STORAGE EXTERNAL, ALTER content SET STORAGE EXTERNAL",
        "INSERT INTO t SELECT g, 'key ' || g, 'n', convert_to(repeat('x', 100), 'UTF8'), '{y}' FROM generate_series(1, 50) AS g",
    )
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    for large in ("note = repeat('n', 1000001)", "content = convert_to(repeat('x', 750001), 'UTF8')"):
        source.run(
            f"UPDATE t SET {large} WHERE a = 7",
            "UPDATE t SET note = repeat('m', 400000) || a WHERE a IN (6, 8)",
        )
        movement = await movements.move()
        assert movement.status is Status.INCOMPLETE
        (problem,) = movement.problems
        assert "key 7" in problem
        assert "bytes in an Event File" in problem
        assert copy.rows("SELECT a, length(note) FROM t WHERE length(note) > 1 ORDER BY a") == [
            (6, 400001),
            (8, 400001),
        ]
        assert copy.rows("SELECT note, length(content), list FROM t WHERE a = 7") == [("n", 100, ["y"])]
        source.run("UPDATE t SET note = 'n', content = convert_to(repeat('x', 100), 'UTF8') WHERE a = 7")
        await succeed(movements)
    assert copy.rows("SELECT t::text FROM t ORDER BY a") == source.rows("SELECT t::text FROM t ORDER BY a")


async def test_rows_whose_size_does_not_matter_are_read_as_ever(
    make: Callable[[], Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, copy = make(), make()
    source.run(
        "CREATE TABLE t (a int PRIMARY KEY, note text)",
        "ALTER TABLE t ALTER note SET STORAGE EXTERNAL",
        "INSERT INTO t SELECT g, repeat('m', 200000) || g FROM generate_series(1, 20) AS g",
    )
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    source.run("INSERT INTO t VALUES (21, repeat('m', 2000000))")
    movement = await movements.move()
    assert (movement.status, movement.totals.upserts) == (Status.INCOMPLETE, 0)
    source.run("DELETE FROM t WHERE a = 21")
    monkeypatch.setattr(large_rows, "MAX_LINE_BYTES", 10**12)
    assert (await succeed(movements)).totals.upserts == 0


async def test_a_row_whose_null_becomes_too_large_a_value_has_changed(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run(
        "CREATE TABLE t (a int PRIMARY KEY, note text, content bytea)",
        "ALTER TABLE t ALTER note SET STORAGE EXTERNAL",
        "INSERT INTO t SELECT g, repeat('m', 5000) FROM generate_series(1, 20) AS g",
        "UPDATE t SET note = NULL WHERE a = 7",
    )
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    source.run("UPDATE t SET note = repeat('n', 1000001) WHERE a = 7")
    for _ in range(2):
        movement = await movements.move()
        assert movement.status is Status.INCOMPLETE
        assert "key [7] was rejected" in movement.problems[0]
    assert not await equal(movements)
    source.run("UPDATE t SET note = NULL WHERE a = 7")
    await succeed(movements)
    assert copy.rows("SELECT t::text FROM t ORDER BY a") == source.rows("SELECT t::text FROM t ORDER BY a")
