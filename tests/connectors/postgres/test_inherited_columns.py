"""What a child table has of its own for the columns that it inherits follows the source: defaults, and NOT NULL."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from tests.connectors.postgres.moving import Movements, equal, succeed
from tests.connectors.postgres.places import Place

COLUMNS = """
SELECT attrelid::regclass::text, attname::text, attnotnull, pg_get_expr(adbin, adrelid)
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r') AND attnum > 0
ORDER BY 1, 2
"""
NOT_NULLS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), coninhcount FROM pg_constraint
WHERE contype = 'n' AND connamespace = 'public'::regnamespace ORDER BY 1, 2
"""


async def test_defaults_and_not_null_of_children_follow_the_source(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run(
        "CREATE TABLE parent (id int PRIMARY KEY, v int NOT NULL DEFAULT 1, w text, n int CONSTRAINT here NOT NULL NO INHERIT)",
        "CREATE TABLE child (x int, v int DEFAULT 5) INHERITS (parent)",
        "CREATE TABLE grandchild () INHERITS (child)",
        "ALTER TABLE grandchild ALTER w SET DEFAULT 'k'",
        "INSERT INTO child (id) VALUES (1)",
        "INSERT INTO grandchild (id) VALUES (2)",
    )
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    assert copy.rows(COLUMNS) == source.rows(COLUMNS)
    source.run(
        "ALTER TABLE child ALTER v DROP DEFAULT",
        "ALTER TABLE grandchild ALTER w SET DEFAULT 'm'",
        "ALTER TABLE parent ALTER v DROP NOT NULL",
        "INSERT INTO child (id, v) VALUES (3, NULL)",
        "INSERT INTO grandchild (id, v) VALUES (4, NULL)",
    )
    await succeed(movements)
    assert copy.rows(COLUMNS) == source.rows(COLUMNS)
    rows = "SELECT tableoid::regclass::text, id, v, w, n FROM parent ORDER BY id"
    assert copy.rows(rows) == source.rows(rows)


async def test_a_not_null_that_children_do_not_have_or_old_rows_contradict_follows_the_source(
    make: Callable[[], Place],
) -> None:
    source, copy = make(), make()
    source.run(
        "CREATE TABLE parent (id int PRIMARY KEY, a int CONSTRAINT a_here NOT NULL NO INHERIT, b int NOT NULL, c int)",
        "INSERT INTO parent VALUES (1, 1, 1, NULL)",
        "ALTER TABLE parent ADD CONSTRAINT c_there NOT NULL c NOT VALID",
    )
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    assert copy.rows(NOT_NULLS) == source.rows(NOT_NULLS)
    source.run(
        "UPDATE parent SET c = 2",
        "ALTER TABLE parent VALIDATE CONSTRAINT c_there",
        "ALTER TABLE parent ALTER CONSTRAINT a_here INHERIT",
        "ALTER TABLE parent ALTER CONSTRAINT parent_b_not_null NO INHERIT",
    )
    await succeed(movements)
    assert copy.rows(NOT_NULLS) == source.rows(NOT_NULLS)
    assert await equal(movements)


async def test_a_child_that_comes_later_inherits_from_a_parent_with_a_check(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run("CREATE TABLE parent (id int PRIMARY KEY, v int CHECK (v > 0), x int CHECK (x > 0) NO INHERIT)")
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    source.run("CREATE TABLE child () INHERITS (parent)", "INSERT INTO child VALUES (1, 2, -3)")
    await succeed(movements)
    rows = "SELECT tableoid::regclass::text, id, v, x FROM parent"
    checks = "SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE contype = 'c' ORDER BY 1, 2"
    assert copy.rows(rows) == source.rows(rows)
    assert copy.rows(checks) == source.rows(checks)
    assert await equal(movements)
