"""Functions, types and columns change at the source although others use them: all that uses them is as there afterwards.

All cases are moved together, each in a schema of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.domain.movement import Status
from tests.connectors.postgres.moving import Movements, succeed
from tests.connectors.postgres.places import Place
from tests.connectors.postgres.schema_changes import Cases, Moved

T = ("CREATE TABLE t (id int PRIMARY KEY, x int)", "INSERT INTO t VALUES (1, 2)")
F = "CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'"
USERS = (
    "CREATE VIEW v AS SELECT f(x) AS y FROM t",
    "CREATE VIEW w AS SELECT y FROM v",
    "CREATE INDEX i ON t (f(x))",
    "CREATE POLICY p ON t USING (f(x) > 0)",
    "ALTER TABLE t ALTER x SET DEFAULT f(4), ADD CONSTRAINT c CHECK (f(x) > 0)",
    "COMMENT ON VIEW v IS 'called'",
)
ENUM = (
    "CREATE TYPE m AS ENUM ('a', 'b', 'c')",
    "CREATE TABLE t (id int PRIMARY KEY, m m DEFAULT 'a')",
    "INSERT INTO t VALUES (1, 'a')",
    "CREATE FUNCTION f(m) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'",
    "CREATE FUNCTION g() RETURNS m LANGUAGE sql AS $$ SELECT 'a'::m $$",
)
ENUM_USERS = ("CREATE VIEW v AS SELECT id, f(m) FROM t", "CREATE INDEX i ON t (f(m))")
CASES: Cases = {
    "a_function_gets_an_argument_with_a_default": (
        (*T, F, *USERS),
        (
            "DROP FUNCTION f CASCADE",
            "CREATE FUNCTION f(a int, b int DEFAULT 3) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + b'",
            *USERS,
        ),
    ),
    "a_function_is_renamed": ((*T, F, *USERS), ("ALTER FUNCTION f RENAME TO g",)),
    "a_function_returns_another_type": (
        (*T, F, *USERS),
        (
            "DROP FUNCTION f CASCADE",
            "CREATE FUNCTION f(a int) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT 2'",
            *USERS,
        ),
    ),
    "an_argument_is_renamed": (
        (*T, F, *USERS),
        (
            "DROP FUNCTION f CASCADE",
            "CREATE FUNCTION f(b int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'",
            *USERS,
        ),
    ),
    "a_column_of_a_function_gets_another_type": (
        (
            *T,
            "CREATE FUNCTION f() RETURNS bigint BEGIN ATOMIC SELECT sum(x) FROM a_column_of_a_function_gets_another_type.t; END",
        ),
        (
            "DROP FUNCTION f",
            "ALTER TABLE t ALTER x TYPE bigint",
            "CREATE FUNCTION f() RETURNS numeric BEGIN ATOMIC SELECT sum(x) FROM a_column_of_a_function_gets_another_type.t; END",
        ),
    ),
    "an_enum_of_functions_loses_a_label": (
        (*ENUM, *ENUM_USERS),
        (
            "DROP VIEW v",
            "DROP FUNCTION f CASCADE",
            "DROP FUNCTION g",
            "ALTER TYPE m RENAME TO o",
            "CREATE TYPE m AS ENUM ('a', 'c')",
            "ALTER TABLE t ALTER m DROP DEFAULT, ALTER m TYPE m USING m::text::m",
            "ALTER TABLE t ALTER m SET DEFAULT 'c'",
            "DROP TYPE o",
            *ENUM[3:],
            *ENUM_USERS,
        ),
    ),
    "a_domain_of_a_function_is_of_another_type": (
        (
            "CREATE DOMAIN d AS int",
            "CREATE TABLE t (id int PRIMARY KEY, m d)",
            "INSERT INTO t VALUES (1, 4)",
            "CREATE FUNCTION f(d) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        ),
        (
            "DROP FUNCTION f",
            "ALTER TABLE t ALTER m TYPE int",
            "DROP DOMAIN d",
            "CREATE DOMAIN d AS bigint",
            "ALTER TABLE t ALTER m TYPE d",
            "CREATE FUNCTION f(d) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        ),
    ),
    "a_composite_type_of_a_function_is_another_one": (
        (
            "CREATE TYPE d AS (a int)",
            "CREATE TABLE t (id int PRIMARY KEY, m d NOT NULL)",
            "INSERT INTO t VALUES (1, ROW(4))",
            "CREATE FUNCTION f(d) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE AGGREGATE g(d) (sfunc = array_append, stype = d[])",
        ),
        (
            "DROP AGGREGATE g(d)",
            "DROP FUNCTION f",
            "ALTER TABLE t DROP m",
            "DROP TYPE d",
            "CREATE TYPE d AS (b text, a int)",
            "ALTER TABLE t ADD m d",
            "UPDATE t SET m = ROW('q', 1)",
            "ALTER TABLE t ALTER m SET NOT NULL",
            "CREATE FUNCTION f(d) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        ),
    ),
    "an_exclusion_constraint_calls_a_function": (
        (
            *T,
            F,
            "ALTER TABLE t ADD CONSTRAINT e EXCLUDE USING btree (f(x) WITH =)",
            "COMMENT ON CONSTRAINT e ON t IS 'q'",
        ),
        (
            "DROP FUNCTION f CASCADE",
            "CREATE FUNCTION f(b int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'",
            "ALTER TABLE t ADD CONSTRAINT e EXCLUDE USING btree (f(x) WITH =)",
            "COMMENT ON CONSTRAINT e ON t IS 'q'",
        ),
    ),
    "range_types_are_renamed": (
        (
            "CREATE TYPE r AS RANGE (subtype = float8)",
            "CREATE TYPE q AS RANGE (subtype = float8)",
            "CREATE TABLE t (id int PRIMARY KEY, r r, m r_multirange)",
            "INSERT INTO t VALUES (1, '[1,2]', '{[1,2]}')",
            "CREATE FUNCTION f(r) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        ),
        ("ALTER TYPE r RENAME TO s", "ALTER TYPE q RENAME TO p", "UPDATE t SET r = '[3,4]'"),
    ),
    "a_column_of_a_view_has_no_default_any_more": (
        (*T, "CREATE VIEW v AS SELECT id, x FROM t", "ALTER VIEW v ALTER x SET DEFAULT 5"),
        ("ALTER VIEW v ALTER x DROP DEFAULT, ALTER id SET DEFAULT 7",),
    ),
    "a_partition_computes_in_its_own_way": (
        (
            "CREATE TABLE t (id int, g int GENERATED ALWAYS AS (id * 2) STORED) PARTITION BY RANGE (id)",
            "CREATE TABLE t1 (id int, g int GENERATED ALWAYS AS (id * 7) STORED)",
            "ALTER TABLE t ATTACH PARTITION t1 FOR VALUES FROM (0) TO (10)",
            "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (20)",
            "INSERT INTO t VALUES (1), (11)",
        ),
        ("ALTER TABLE t ALTER g SET EXPRESSION AS (id * 3)", "ALTER TABLE t1 ALTER g SET EXPRESSION AS (id * 8)"),
    ),
    "columns_of_partitions_have_another_order": (
        (
            "CREATE TABLE t (id int PRIMARY KEY, a text, b int NOT NULL CONSTRAINT c CHECK (b > 0)) PARTITION BY RANGE (id)",
            "CREATE TABLE t1 (b int NOT NULL CONSTRAINT c CHECK (b > 0), gone int, id int NOT NULL, a text)",
            "ALTER TABLE t1 DROP gone",
            "ALTER TABLE t ATTACH PARTITION t1 FOR VALUES FROM (0) TO (10)",
            "INSERT INTO t VALUES (1, 'q', 2)",
        ),
        (
            "CREATE TABLE t2 (b int NOT NULL CONSTRAINT c CHECK (b > 0), id int NOT NULL, a text) PARTITION BY LIST (id)",
            "CREATE TABLE t21 PARTITION OF t2 FOR VALUES IN (11, 12)",
            "ALTER TABLE t ATTACH PARTITION t2 FOR VALUES FROM (10) TO (20)",
            "INSERT INTO t VALUES (11, 'r', 3)",
        ),
    ),
    "a_table_takes_the_place_of_a_partition": (
        (
            "CREATE TABLE t (id int, x int) PARTITION BY RANGE (id)",
            "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (10)",
            "CREATE TABLE n (x int, id int)",
            "INSERT INTO t VALUES (1, 1)",
            "INSERT INTO n VALUES (7, 8)",
        ),
        (
            "ALTER TABLE t DETACH PARTITION t1",
            "DROP TABLE t1",
            "ALTER TABLE t ATTACH PARTITION n FOR VALUES FROM (0) TO (10)",
        ),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_uses_it_is_as_at_the_source(name: str, moved: Moved) -> None:
    (source, copy), (rows, copy_rows) = moved.dumps, moved.rows
    assert copy.get(name) == source.get(name)
    assert copy_rows.get(name) == rows.get(name)
    assert moved.first_dumps[1].get(name) == moved.first_dumps[0].get(name)


def test_nothing_is_missing_afterwards(moved: Moved) -> None:
    assert (moved.movement.status, moved.movement.problems, moved.equal) == (Status.SUCCESS, (), True)


async def test_a_function_that_the_destination_needs_is_named(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run(*T, F)
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    copy.run("CREATE VIEW own AS SELECT f(1)")
    source.run("DROP FUNCTION f")
    movement = await movements.move()
    assert movement.status is Status.INCOMPLETE
    (item,) = movement.inventory.items
    assert (item.kind, item.name) == ("function", "public.f(a integer)")
    assert "the source has it no more, but the destination needs it" in item.reason
    copy.run("DROP VIEW own")
    await succeed(movements)
    assert copy.rows("SELECT count(*) FROM pg_proc WHERE proname = 'f'") == [(0,)]


@pytest.mark.parametrize("is_used", [True, False])
async def test_a_table_of_its_own_keeps_values_that_a_type_made_again_does_not_have(
    is_used: bool, make: Callable[[], Place]
) -> None:
    """Its values come from nobody else. So the type stays, and is named, until they go."""
    source, copy = make(), make()
    source.run("CREATE DOMAIN d AS text", f"CREATE TABLE t (id int PRIMARY KEY, x {'d' if is_used else 'text'})")
    source.run("INSERT INTO t VALUES (1, '1')")
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    copy.run("CREATE TABLE own (x d NOT NULL)", "INSERT INTO own VALUES ('8'), ('word')")
    source.run("ALTER TABLE t ALTER x TYPE int USING x::text::int", "DROP DOMAIN d", "CREATE DOMAIN d AS int")
    source.run(f"ALTER TABLE t ALTER x TYPE {'d' if is_used else 'text'}")
    movement = await movements.move()
    assert movement.status is Status.INCOMPLETE
    assert [(item.kind, item.name) for item in movement.inventory.items] == [("domain", '"public"."d"')]
    assert copy.rows("SELECT x FROM own") == [("8",), ("word",)]
    copy.run("DELETE FROM own WHERE x = 'word'")
    await succeed(movements)
    assert copy.rows("SELECT x FROM own") == [(8,)]
    assert copy.rows("SELECT attnotnull FROM pg_attribute WHERE attrelid = 'own'::regclass AND attname = 'x'") == [
        (True,)
    ]


async def test_foreign_keys_that_nothing_enforces_at_the_source_are_not_violations(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run(
        *T,
        "CREATE TABLE p (id int PRIMARY KEY)",
        "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (x) REFERENCES p NOT VALID",
        "ALTER TABLE t ADD CONSTRAINT g FOREIGN KEY (id) REFERENCES p NOT ENFORCED",
    )
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    copy.run("ALTER TABLE t DROP CONSTRAINT f", "ALTER TABLE t ADD CONSTRAINT h FOREIGN KEY (x) REFERENCES p NOT VALID")
    source.run("ALTER TABLE t DROP CONSTRAINT f")
    movement = await movements.move()
    assert movement.status is Status.INCOMPLETE
    assert any("refers through x to missing rows" in problem for problem in movement.problems)


async def test_a_check_that_a_later_child_table_has_from_its_parent_goes_with_it(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    source.run("CREATE TABLE a (id int PRIMARY KEY, CONSTRAINT c CHECK (id > 0))", "INSERT INTO a VALUES (1)")
    await succeed(movements)
    source.run("CREATE TABLE b (PRIMARY KEY (id), CONSTRAINT own CHECK (id > -9)) INHERITS (a)")
    await succeed(movements)
    source.run("ALTER TABLE a DROP CONSTRAINT c", "INSERT INTO b VALUES (-3)")
    await succeed(movements)
    assert copy.rows("SELECT id FROM b") == [(-3,)]
    assert copy.rows("SELECT conname::text FROM pg_constraint WHERE contype = 'c' AND conrelid = 'b'::regclass") == [
        ("own",)
    ]
