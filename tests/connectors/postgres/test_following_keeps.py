"""What a destination keeps while its tables follow their source: triggers, rows that refer to others, the app's own rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.domain.movement import Status
from tests.connectors.postgres.moving import Movements, succeed
from tests.connectors.postgres.owners import owned_place
from tests.connectors.postgres.places import Place
from tests.servers.postgresql import PostgresqlServer

PARTITIONED = (
    "CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)",
    "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100)",
    "INSERT INTO p VALUES (1, 'x')",
)
ATTACH = "ALTER TABLE p ATTACH PARTITION t FOR VALUES FROM (100) TO (10000)"


@pytest.fixture
def copy(postgresql: PostgresqlServer) -> Iterator[Place]:
    """The destination, as its owner, who is no superuser, sees it."""
    with owned_place(postgresql) as (_, owned):
        yield owned


async def test_triggers_are_enabled_again_after_rejected_records(make: Callable[[], Place], copy: Place) -> None:
    source = make()
    source.run("CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE)", "INSERT INTO t VALUES (1, 10), (2, 20)")
    copy.run(
        "CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE)",
        "INSERT INTO t VALUES (99, 20)",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()",
    )
    movement = await Movements(PostgresSource(source.uri), PostgresDestination(copy.uri)).move()
    assert movement.status is Status.INCOMPLETE
    assert copy.rows("SELECT tgenabled::text FROM pg_trigger WHERE tgname = 'g'") == [("O",)]


async def test_rows_that_refer_to_a_table_stay_when_it_becomes_a_partition_and_a_table_again(
    make: Callable[[], Place], copy: Place
) -> None:
    source = make()
    source.run(
        *PARTITIONED,
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t VALUES (100, 'a'), (101, 'b')",
        "CREATE TABLE c (id int PRIMARY KEY, tid int REFERENCES t ON DELETE CASCADE)",
        "INSERT INTO c VALUES (1, 100), (2, 101)",
    )
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    for change in (ATTACH, "DELETE FROM p WHERE id = 1", "ALTER TABLE p DETACH PARTITION t"):
        source.run(change)
        await succeed(movements)
        assert copy.rows("SELECT * FROM c ORDER BY id") == [(1, 100), (2, 101)]
        assert copy.rows("SELECT * FROM p ORDER BY id") == source.rows("SELECT * FROM p ORDER BY id")
        keys = "SELECT confrelid::regclass::text FROM pg_constraint WHERE conrelid = 'c'::regclass AND contype = 'f'"
        assert copy.rows(keys) == [("t",)]
    assert copy.rows("SELECT * FROM t ORDER BY id") == [(100, "a"), (101, "b")]
    assert copy.rows("SELECT relname FROM pg_class WHERE relname LIKE 'former%'") == []


async def test_a_retried_record_deletes_nothing_of_a_partition(make: Callable[[], Place], copy: Place) -> None:
    source = make()
    source.run(
        *PARTITIONED,
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t SELECT g, 'a' FROM generate_series(100, 500) AS g",
        "INSERT INTO t VALUES (9000, 'refused')",
    )
    copy.run("CREATE TABLE t (id int PRIMARY KEY, v text CHECK (v <> 'refused'))")
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    assert (await movements.move()).status is Status.INCOMPLETE
    source.run(ATTACH)
    await movements.move()
    await movements.move()
    assert copy.rows("SELECT count(*) FROM (SELECT id FROM p UNION SELECT id FROM t) AS q WHERE id < 9000") == [(402,)]


async def test_a_partition_on_which_a_view_depends_goes_once_the_view_is_gone(
    make: Callable[[], Place], copy: Place
) -> None:
    source = make()
    source.run(
        *PARTITIONED, "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (200)", "INSERT INTO p VALUES (101, 'y')"
    )
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    copy.run("CREATE VIEW mine AS SELECT * FROM p2")
    source.run("DROP TABLE p2")
    await succeed(movements)
    copy.run("DROP VIEW mine")
    source.run("INSERT INTO p VALUES (2, 'z')")
    await succeed(movements)
    assert copy.rows("SELECT to_regclass('p2')") == [(None,)]


async def test_an_app_s_own_rows_stay_when_its_table_becomes_a_partition(
    make: Callable[[], Place], copy: Place
) -> None:
    source = make()
    source.run(*PARTITIONED, "CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (100, 'a')")
    copy.run("CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t VALUES (150, 'own')")
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    source.run(ATTACH)
    assert (await movements.move()).status is Status.INCOMPLETE
    assert copy.rows("SELECT * FROM t WHERE v = 'own'") == [(150, "own")]


async def test_an_app_s_own_partition_in_another_schema_is_not_detached(make: Callable[[], Place], copy: Place) -> None:
    source = make()
    both = (
        "CREATE SCHEMA s",
        "CREATE TABLE s.p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE s.p1 PARTITION OF s.p FOR VALUES FROM (0) TO (100)",
    )
    source.run(*both, "CREATE TABLE s.t (id int PRIMARY KEY, v text)", "INSERT INTO s.t VALUES (150, 'a')")
    copy.run(
        *both,
        "CREATE TABLE s.t PARTITION OF s.p FOR VALUES FROM (100) TO (200)",
        "INSERT INTO s.p VALUES (101, 'own')",
    )
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    movement = await movements.move()
    assert movement.status is not Status.SUCCESS
    assert "DETACH PARTITION" in movement.problems[0]
    assert copy.rows("SELECT * FROM s.p") == [(101, "own")]


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE parent ALTER id TYPE uuid USING '00000000-0000-0000-0000-000000000001'::uuid",
        "ALTER TABLE parent DROP CONSTRAINT parent_pkey",
    ],
)
async def test_a_foreign_key_of_a_dropped_table_goes_with_the_key_to_which_it_refers(
    make: Callable[[], Place], copy: Place, change: str
) -> None:
    source = make()
    source.run(
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent)",
        "INSERT INTO parent VALUES (1)",
        "INSERT INTO child VALUES (1, 1)",
    )
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    source.run("DROP TABLE child", change)
    await succeed(movements)
    assert copy.rows("SELECT id::text FROM parent") == source.rows("SELECT id::text FROM parent")
    assert copy.rows("SELECT count(*) FROM child") == [(0,)]
