"""SQLite to PostgreSQL: constraints that PostgreSQL cannot create are named in every Movement."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.connectors.postgres import PostgresDestination
from pipeline.connectors.sqlite import SqliteSource
from tests.connectors.postgres.moving import Movements, succeed
from tests.connectors.postgres.places import Place, place_factory
from tests.connectors.postgres.test_constraints_across import listed
from tests.connectors.sqlite import databases
from tests.servers.postgresql import PostgresqlServer


@pytest.fixture
def make(postgresql: PostgresqlServer) -> Callable[[], Place]:
    return place_factory(postgresql)


async def test_constraints_that_postgresql_cannot_create_are_in_the_inventory(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source, place = tmp_path / "app.db", make()
    databases.run(
        source,
        "CREATE TABLE parent (id INTEGER PRIMARY KEY, code TEXT, name TEXT UNIQUE)",
        "CREATE TABLE child (id INTEGER PRIMARY KEY, code TEXT REFERENCES parent (code), name INTEGER REFERENCES parent (name),"
        " gone INTEGER REFERENCES nowhere (id), fine INTEGER REFERENCES parent, loose, long TEXT)",
        "CREATE INDEX child_loose ON child (loose)",
        "CREATE INDEX child_long ON child (long)",
        "INSERT INTO child (id, long) VALUES (1, hex(randomblob(5000)))",
    )
    movements = Movements(SqliteSource(source), PostgresDestination(place.uri))
    missing = [
        "child: foreign key code to parent",
        "child: foreign key gone to nowhere",
        "child: foreign key name to parent",
        "child: index child_long",
        "child: index child_loose",
    ]
    assert [listed(await succeed(movements)) for _ in range(2)] == [missing, missing]
    databases.run(source, "UPDATE child SET long = 'short'")
    place.run("CREATE UNIQUE INDEX ON parent (code)")
    assert listed(await succeed(movements)) == [missing[1], missing[2], missing[4]]


async def test_foreign_keys_between_numbers_of_two_types_are_created_or_named(
    make: Callable[[], Place], tmp_path: Path
) -> None:
    source, place, types = tmp_path / "app.db", make(), ("INTEGER", "NUMERIC", "REAL")
    databases.run(source, *(f"CREATE TABLE p_{type_} (id {type_} PRIMARY KEY)" for type_ in types))
    for type_ in types:
        columns = (f"to_{other} {type_} REFERENCES p_{other} (id)" for other in types)
        databases.run(source, f"CREATE TABLE c_{type_} (id INTEGER PRIMARY KEY, {', '.join(columns)})")
    movement = await succeed(Movements(SqliteSource(source), PostgresDestination(place.uri)))
    missing = listed(movement)
    assert missing == [
        "c_NUMERIC: foreign key to_INTEGER to p_INTEGER",
        "c_REAL: foreign key to_INTEGER to p_INTEGER",
        "c_REAL: foreign key to_NUMERIC to p_NUMERIC",
    ]
    made = place.rows("SELECT count(*) FROM pg_constraint WHERE contype = 'f'")
    assert made == [(len(types) ** 2 - len(missing),)]
