"""Indexes of partitions have the names of the source, whether PostgreSQL made them or they were attached."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from tests.connectors.postgres.moving import Movements, succeed
from tests.connectors.postgres.places import Place
from tests.connectors.postgres.test_schema_objects import dump

ATTACHED = (
    "CREATE SCHEMA parts",
    "CREATE TABLE t (id int, at int, x int, y int) PARTITION BY RANGE (at)",
    "CREATE TABLE parts.t1 PARTITION OF t FOR VALUES FROM (0) TO (10)",
    "CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (10) TO (20) PARTITION BY LIST (x)",
    "CREATE TABLE parts.t2a PARTITION OF t2 DEFAULT",
    "CREATE INDEX t_x ON ONLY t (x)",
    "CREATE INDEX one_x ON parts.t1 (x)",
    "ALTER INDEX t_x ATTACH PARTITION parts.one_x",
    "CREATE INDEX two_x ON t2 (x)",
    "ALTER INDEX t_x ATTACH PARTITION two_x",
    "CREATE UNIQUE INDEX one_key ON parts.t1 (id, at, x)",
    "ALTER TABLE t ADD CONSTRAINT t_key PRIMARY KEY (id, at, x)",
    "CREATE INDEX made ON t (y)",
    "ALTER INDEX parts.t1_y_idx RENAME TO t2a_y_idx_",
    "ALTER INDEX parts.t2a_y_idx RENAME TO t1_y_idx",  # as PostgreSQL calls that of another partition
    "INSERT INTO t VALUES (1, 1, 1, 1), (2, 11, 2, 2)",
)
CHANGES = (
    "ALTER INDEX parts.one_x RENAME TO first_x",
    "ALTER INDEX parts.t2a_y_idx_ RENAME TO swapped",
    "ALTER INDEX parts.t1_y_idx RENAME TO t2a_y_idx_",
    "ALTER INDEX parts.swapped RENAME TO t1_y_idx",
    "ALTER TABLE parts.t2a RENAME CONSTRAINT t2a_pkey TO other_key",
    "CREATE TABLE t3 PARTITION OF t FOR VALUES FROM (20) TO (30)",
    "ALTER INDEX t3_x_idx RENAME TO three_x",
)


async def test_indexes_of_partitions_have_and_get_the_names_of_the_source(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run(*ATTACHED)
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    assert dump(copy) == dump(source)
    source.run(*CHANGES)
    await succeed(movements)
    assert dump(copy) == dump(source)


async def test_a_renamed_table_takes_the_names_of_its_partitions_indexes_along(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run(*ATTACHED)
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    source.run("ALTER TABLE t RENAME TO u")
    await succeed(movements)
    assert dump(copy) == dump(source)


async def test_two_equal_indexes_or_constraints_are_two_here(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run(
        "CREATE TABLE t (id int PRIMARY KEY, x int, CONSTRAINT one UNIQUE (x), CONSTRAINT other UNIQUE (x))",
        *(f"CREATE INDEX {name} ON t (x)" for name in ("a", "b")),
        "CREATE UNIQUE INDEX again ON t (id)",
    )
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    assert dump(copy) == dump(source)
    source.run("CREATE INDEX c ON t (x)", "DROP INDEX a", "ALTER INDEX again RENAME TO once_more")
    await succeed(movements)
    assert dump(copy) == dump(source)


async def test_an_index_of_the_app_keeps_its_name_and_is_named(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run(*ATTACHED)
    copy.run("CREATE SCHEMA parts", "CREATE TABLE parts.own (x int)", "CREATE INDEX one_x ON parts.own (x)")
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    movement = await movements.move()
    (problem,) = movement.problems
    assert problem == (
        't: the index one_x cannot be created: relation "one_x" already exists; rename that, and move again'
    )
    copy.run("DROP TABLE parts.own")
    await succeed(movements)
    assert dump(copy) == dump(source)
