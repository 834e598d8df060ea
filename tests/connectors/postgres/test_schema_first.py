"""A schema that is there first is filled by its owner, who may not suspend foreign keys, also where they form a circle."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.connectors.sqlite import SqliteSource
from pipeline.domain.movement import Status
from tests.connectors.postgres.moving import Movements, equal, succeed
from tests.connectors.postgres.owners import owned_place
from tests.connectors.postgres.places import Place
from tests.connectors.sqlite import databases
from tests.servers.postgresql import PostgresqlServer, program

CIRCLE = (
    "CREATE TABLE staff (id int PRIMARY KEY, store int NOT NULL)",
    "CREATE TABLE store (id int PRIMARY KEY, boss int NOT NULL REFERENCES staff)",
    "ALTER TABLE staff ADD CONSTRAINT works_in FOREIGN KEY (store) REFERENCES store",
    "CREATE TABLE sale (id int PRIMARY KEY, store int REFERENCES store)",
)


@pytest.fixture
def place(postgresql: PostgresqlServer) -> Iterator[Place]:
    with owned_place(postgresql) as (_, owner):
        yield owner


def deferrable(place: Place) -> list[tuple[object, ...]]:
    """Return which foreign keys are deferrable."""
    return place.rows("SELECT conname FROM pg_constraint WHERE contype = 'f' AND condeferrable ORDER BY 1")


async def test_a_schema_with_a_circle_that_was_restored_first_is_filled(
    make: Callable[[], Place], place: Place
) -> None:
    source = make()
    together = "SET session_replication_role = replica; "
    source.run(
        *CIRCLE,
        together + "INSERT INTO staff VALUES (1, 1), (2, 1), (3, 2); INSERT INTO store VALUES (1, 1), (2, 3)",
        "INSERT INTO sale VALUES (1, 1), (2, 2)",
    )
    place.run(*CIRCLE)
    movements = Movements(PostgresSource(source.uri), PostgresDestination(place.uri))
    await succeed(movements)
    assert await equal(movements)
    assert deferrable(place) == []
    source.run(
        together + "INSERT INTO staff VALUES (4, 3); INSERT INTO store VALUES (3, 4)",
        "INSERT INTO sale VALUES (3, 3)",
        together + "DELETE FROM sale WHERE id = 2; DELETE FROM staff WHERE id = 3; DELETE FROM store WHERE id = 2",
    )
    await succeed(movements)
    assert await equal(movements)
    assert place.rows("SELECT id, boss FROM store ORDER BY id") == [(1, 1), (3, 4)]


async def test_a_row_without_a_parent_is_rejected_and_the_rest_of_the_circle_is_loaded(
    place: Place, tmp_path: Path
) -> None:
    source = tmp_path / "app.db"
    databases.run(
        source,
        "CREATE TABLE staff (id INTEGER PRIMARY KEY, store INT)",
        "CREATE TABLE store (id INTEGER PRIMARY KEY, boss INT)",
        "CREATE TABLE sale (id INTEGER PRIMARY KEY, store INT)",
        "INSERT INTO staff VALUES (1, 1), (2, 7), (3, 3)",
        "INSERT INTO store VALUES (1, 1), (2, 2), (3, 9), (4, 3)",
        "INSERT INTO sale VALUES (1, 1), (2, 2)",
    )
    place.run(*CIRCLE)
    movement = await Movements(SqliteSource(source), PostgresDestination(place.uri)).move()
    assert movement.status is Status.INCOMPLETE
    assert place.rows("SELECT * FROM staff") == [(1, 1)]
    assert place.rows("SELECT * FROM store") == [(1, 1)]
    assert place.rows("SELECT * FROM sale") == [(1, 1)]
    assert sorted(place.rows("SELECT stream, key FROM _pipeline.rejected")) == [
        ("sale", "[2]"), ("staff", "[2]"), ("staff", "[3]"), ("store", "[2]"), ("store", "[3]"), ("store", "[4]"),
    ]  # fmt: skip
    assert deferrable(place) == []


async def test_a_schema_from_pg_dump_is_filled_and_equal_to_the_source(make: Callable[[], Place], place: Place) -> None:
    source = make()
    source.run(
        *CIRCLE,
        "SET session_replication_role = replica; INSERT INTO staff VALUES (1, 1); INSERT INTO store VALUES (1, 1)",
        "RESET session_replication_role",
        "CREATE TYPE mood AS ENUM ('sad', 'happy')",
        "CREATE TABLE log (id serial PRIMARY KEY, at timestamptz DEFAULT now(), by mood DEFAULT 'happy', n int NOT NULL)",
        "CREATE TABLE part (id int GENERATED ALWAYS AS IDENTITY, day date NOT NULL, double int GENERATED ALWAYS AS (id * 2) STORED,"
        " PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
        "CREATE TABLE part_24 PARTITION OF part FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')",
        "CREATE TABLE loose (v text)",
        "CREATE VIEW staffed AS SELECT * FROM staff JOIN store USING (id)",
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN INSERT INTO public.log (n) VALUES (new.id); RETURN new; END$$",
        "CREATE TRIGGER notes AFTER INSERT OR UPDATE ON sale FOR EACH ROW EXECUTE FUNCTION note()",
        "ALTER TABLE sale ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY all_of_it ON sale USING (store > 0)",
        "INSERT INTO sale VALUES (1, 1), (2, 1)",
        "INSERT INTO part (day) VALUES ('2024-05-05'), ('2024-06-06')",
        "INSERT INTO loose VALUES ('x'), ('x'), (NULL)",
    )
    place.run(*_schema_of(source))
    movements = Movements(PostgresSource(source.uri), PostgresDestination(place.uri))
    await succeed(movements)
    assert await equal(movements)
    assert place.rows("SELECT count(*), max(id) FROM log") == [(2, 2)]
    source.run("UPDATE sale SET id = 3 WHERE id = 2", "DELETE FROM loose WHERE v = 'x'")
    await succeed(movements)
    assert await equal(movements)
    assert place.rows("INSERT INTO part (day) VALUES ('2024-07-07') RETURNING id, double") == [(3, 6)]


def _schema_of(place: Place) -> list[str]:
    """Return the statements of pg_dump for a schema, without comments, settings and psql's own commands."""
    command = [str(program("pg_dump")), "--schema-only", "--no-owner", "--no-privileges", place.uri]
    dump = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    lines = [line for line in dump.splitlines() if not line.startswith(("--", "\\"))]
    parts = [part.strip() for part in re.split(r";\n(?=\n|$)", "\n".join(lines))]
    return [part for part in parts if part and not part.startswith(("SET ", "SELECT "))]
