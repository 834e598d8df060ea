"""Keys that change into an equal one, 2.5 to 2.50: the row is found by its new key, and the delete of the old one is over."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.connectors.sqlite import SqliteSource
from pipeline.domain.ids import Phase
from pipeline.domain.movement import Status
from pipeline.ports.destination import Loaded
from tests.connectors.postgres.loading import FLOW, delete, file, schema, upsert
from tests.connectors.postgres.moving import Movements, equal, succeed
from tests.connectors.postgres.owners import owned_place
from tests.connectors.postgres.places import Place
from tests.connectors.sqlite import databases
from tests.contracts.destination import file_to_load
from tests.servers.postgresql import PostgresqlServer

CHANGES = {
    "numeric": ("2.5", "2.50"),
    "citext": ("bob", "BOB"),
    "jsonb": ("1", "1.0"),
    "interval": ("1 day", "24:00:00"),
}


@pytest.mark.parametrize("kind", CHANGES)
async def test_a_delete_that_comes_after_its_row_has_the_new_key_leaves_the_row(
    make: Callable[[], Place], kind: str
) -> None:
    place, (old, new) = make(), CHANGES[kind]
    place.run("CREATE EXTENSION citext", f"CREATE TABLE item (k {kind} PRIMARY KEY, v text)")
    item = schema({"k": "text", "v": "text"})
    async with PostgresDestination(place.uri).open(FLOW) as session:
        first = file(item, [upsert(k=old, v="a")], full=True)
        assert isinstance(await session.load(first, after=[]), Loaded)
        blocks = [upsert(k=new, v="b"), delete(k=old)]
        second = file_to_load(item, blocks, chunk=0, movement=2, phase=Phase.INCREMENTAL)
        assert isinstance(await session.load(second, after=[first.entry.id]), Loaded)
        assert place.rows("SELECT k::text, v FROM item") == [(new, "b")]
        third = file(item, [delete(k=new)], movement=3)
        assert isinstance(await session.load(third, after=[first.entry.id, second.entry.id]), Loaded)
    assert place.rows("SELECT FROM item") == []


async def test_a_delete_finds_the_row_whose_key_the_column_writes_in_another_way(make: Callable[[], Place]) -> None:
    place = make()
    place.run("CREATE TABLE item (k numeric(9,3) PRIMARY KEY)")
    item = schema({"k": "decimal"})
    async with PostgresDestination(place.uri).open(FLOW) as session:
        first = file(item, [upsert(k="2.5"), upsert(k="3")], full=True)
        assert isinstance(await session.load(first, after=[]), Loaded)
        second = file(item, [delete(k="2.5")], movement=2)
        assert isinstance(await session.load(second, after=[first.entry.id]), Loaded)
    assert place.rows("SELECT k::text FROM item") == [("3.000",)]


async def test_a_row_with_a_new_equal_key_stays_when_no_row_refers_to_it_any_more(
    make: Callable[[], Place], postgresql: PostgresqlServer
) -> None:
    source = make()
    with owned_place(postgresql) as (copy, owner):
        source.run(
            "CREATE TABLE n (id numeric PRIMARY KEY)",
            "INSERT INTO n VALUES (2.5)",
            "CREATE TABLE c (id int PRIMARY KEY, n numeric REFERENCES n ON DELETE CASCADE)",
            "INSERT INTO c VALUES (1, 2.5)",
        )
        movements = Movements(PostgresSource(source.uri), PostgresDestination(owner.uri))
        await succeed(movements)
        source.run("UPDATE n SET id = 2.50")
        await succeed(movements)
        source.run("UPDATE c SET n = NULL")
        await succeed(movements)
        assert copy.rows("SELECT id::text FROM n") == [("2.50",)]
        assert await equal(movements)


async def test_of_two_keys_that_are_equal_here_alone_one_is_rejected(make: Callable[[], Place], tmp_path: Path) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(source, "CREATE TABLE item (k TEXT NOT NULL PRIMARY KEY, v TEXT)")
    databases.run(source, "INSERT INTO item VALUES ('c', '1'), ('C', '2'), ('d', '3')")
    place.run("CREATE EXTENSION citext", "CREATE TABLE item (k citext PRIMARY KEY, v text)")
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    for _ in range(2):
        movement = await movements.move()
        assert movement.status is Status.INCOMPLETE
        assert '["c"] was rejected: the destination\'s table keeps the row out' in movement.problems[0]
        assert place.rows("SELECT k::text, v FROM item ORDER BY k") == [("C", "2"), ("d", "3")]
    databases.run(source, "DELETE FROM item WHERE k = 'C'")
    await succeed(movements)
    assert place.rows("SELECT k::text, v FROM item ORDER BY k") == [("c", "1"), ("d", "3")]
    assert await equal(movements)
