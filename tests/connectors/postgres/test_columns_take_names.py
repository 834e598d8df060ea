"""Columns that take the names of others, as migrations do it that give a key another type: what is declared follows them.

All cases are moved together, each in a schema of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.domain.movement import Status
from tests.connectors.postgres.moving import Movements, equal, succeed
from tests.connectors.postgres.places import Place
from tests.connectors.postgres.schema_changes import Cases, Moved

UNCHECKED = (
    "CREATE TABLE p (id int PRIMARY KEY)",
    "CREATE TABLE t (id int PRIMARY KEY, x int)",
    "INSERT INTO t VALUES (1, -1)",
    "ALTER TABLE t ADD CONSTRAINT c CHECK (x > 0) NOT VALID",
    "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (x) REFERENCES p NOT VALID",
)
CASES: Cases = {
    "a_key_becomes_a_bigint_by_a_second_column": (
        (
            "CREATE TABLE t (id serial PRIMARY KEY, v text, CHECK (id > 0), g int GENERATED ALWAYS AS (id * 2) STORED)",
            "CREATE INDEX i ON t (id, v)",
            "CREATE TABLE c (id int PRIMARY KEY, t int REFERENCES t)",
            "INSERT INTO t (v) VALUES ('a'), ('b')",
            "INSERT INTO c VALUES (1, 1)",
        ),
        (
            "ALTER TABLE t ADD id2 bigint",
            "UPDATE t SET id2 = id",
            "ALTER TABLE c DROP CONSTRAINT c_t_fkey",
            "ALTER TABLE t DROP CONSTRAINT t_pkey, DROP CONSTRAINT t_id_check, DROP g",
            "DROP INDEX i",
            "ALTER SEQUENCE t_id_seq OWNED BY NONE",
            "ALTER TABLE t RENAME id TO old_id",
            "ALTER TABLE t RENAME id2 TO id",
            "ALTER TABLE t ADD PRIMARY KEY (id), ADD CONSTRAINT t_id_check CHECK (id > 0)",
            "ALTER TABLE t ALTER id SET DEFAULT nextval('t_id_seq'), ALTER old_id DROP DEFAULT, ALTER old_id DROP NOT NULL",
            "ALTER TABLE t ADD g bigint GENERATED ALWAYS AS (id * 2) STORED",
            "CREATE INDEX i ON t (id, v)",
            "ALTER SEQUENCE t_id_seq AS bigint OWNED BY t.id",
            "ALTER TABLE c ADD FOREIGN KEY (t) REFERENCES t",
            "INSERT INTO t (v) VALUES ('c')",
        ),
    ),
    "names_are_exchanged_and_definitions_are_not": (
        (
            "CREATE TABLE t (id int PRIMARY KEY, a int, b int, g int GENERATED ALWAYS AS (a * 2) STORED)",
            "CREATE INDEX i ON t (a) WHERE b > 0",
            "INSERT INTO t VALUES (1, 2, 3)",
        ),
        (
            "ALTER TABLE t RENAME a TO c",
            "ALTER TABLE t RENAME b TO a",
            "ALTER TABLE t RENAME c TO b",
            "ALTER TABLE t ALTER g SET EXPRESSION AS (a * 2)",
            "DROP INDEX i",
            "CREATE INDEX i ON t (a) WHERE b > 0",
        ),
    ),
    "rows_that_contradict_a_constraint_come_again": (UNCHECKED, ("ALTER TABLE t ADD z int",)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_definition_is_of_the_column_of_its_name(name: str, moved: Moved) -> None:
    (source, copy), (rows, copy_rows) = moved.dumps, moved.rows
    assert copy.get(name) == source.get(name)
    assert copy_rows.get(name) == rows.get(name)


def test_nothing_is_missing_afterwards(moved: Moved) -> None:
    assert (moved.movement.status, moved.movement.problems, moved.equal) == (Status.SUCCESS, (), True)


async def test_an_owner_who_is_no_superuser_can_follow_it(
    places: tuple[Place, Place], make: Callable[[], Place]
) -> None:
    source, (_, copy) = make(), places
    setup, changes = CASES["a_key_becomes_a_bigint_by_a_second_column"]
    source.run(*setup, *UNCHECKED[:1], *(statement.replace(" t ", " u ") for statement in UNCHECKED[1:]))
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    source.run(*changes, "ALTER TABLE u ADD z int")
    await succeed(movements)
    assert await equal(movements)


async def test_a_sequence_of_two_tables_is_equal_in_whatever_order_they_were_created(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    tables = [f"CREATE TABLE {name} (id int PRIMARY KEY DEFAULT nextval('s'))" for name in "ab"]
    source.run("CREATE SEQUENCE s", *tables, "INSERT INTO a DEFAULT VALUES")
    copy.run("CREATE SEQUENCE s", *reversed(tables))
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    assert await equal(movements)
