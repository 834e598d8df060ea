"""Objects beside tables arrive from PostgreSQL to PostgreSQL, as `pg_dump --schema-only` sees it, and follow their source."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.domain.movement import Status
from tests.connectors.postgres.moving import Movements, succeed
from tests.connectors.postgres.places import Place
from tests.servers.postgresql import program

ZOO = (
    "CREATE SCHEMA app",
    "CREATE SCHEMA extensions",
    "CREATE EXTENSION fuzzystrmatch",
    "CREATE EXTENSION hstore SCHEMA extensions",
    "CREATE COLLATION app.nat (provider = libc, locale = 'C')",
    "CREATE TYPE app.mood AS ENUM ('sad', 'ok', 'happy')",
    "CREATE FUNCTION app.positive(x int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT x > 0'",
    "CREATE DOMAIN app.posint AS int CHECK (app.positive(VALUE))",
    "CREATE TYPE app.pair AS (a int, b text)",
    "CREATE FUNCTION app.f(x int DEFAULT 3) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT x + 1'",
    "CREATE PROCEDURE app.p() LANGUAGE plpgsql AS 'BEGIN NULL; END'",
    "CREATE FUNCTION app.tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    "CREATE AGGREGATE app.mysum(int) (sfunc = int4pl, stype = int, initcond = '0')",
    "CREATE FUNCTION app.eqf(app.pair, int) RETURNS boolean LANGUAGE sql AS 'SELECT ($1).a = $2'",
    "CREATE OPERATOR app.=== (leftarg = app.pair, rightarg = int, function = app.eqf)",
    "CREATE CAST (app.pair AS text) WITH INOUT",
    "CREATE TEXT SEARCH CONFIGURATION app.c (COPY = pg_catalog.english)",
    "CREATE SEQUENCE invoice_no START 100",
    "SELECT nextval('invoice_no')",
    "CREATE TABLE t (id serial PRIMARY KEY, i int GENERATED ALWAYS AS IDENTITY, m app.mood, h extensions.hstore,"
    " n text COLLATE app.nat, code text DEFAULT soundex('x'), v int DEFAULT app.f(2), p app.posint) WITH (fillfactor = 70)",
    "ALTER TABLE t REPLICA IDENTITY FULL",
    "INSERT INTO t (m, p) VALUES ('ok', 3), ('sad', NULL)",
    "CREATE VIEW v WITH (security_barrier = true) AS SELECT id, m FROM t WHERE id > 0",
    "CREATE MATERIALIZED VIEW mv AS SELECT count(*) AS n FROM t",
    "CREATE UNIQUE INDEX mvi ON mv (n)",
    "CREATE VIEW v2 AS SELECT v.*, mv.n FROM v, mv",
    "CREATE RULE r AS ON INSERT TO v DO INSTEAD INSERT INTO t (m) VALUES (new.m)",
    "CREATE TRIGGER trg BEFORE UPDATE OF m ON t FOR EACH ROW EXECUTE FUNCTION app.tf()",
    "CREATE STATISTICS st (dependencies) ON id, m FROM t",
    "CREATE POLICY pol ON t FOR SELECT USING (id > 0)",
    "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
    "COMMENT ON TABLE t IS 'it''s a table'",
    "COMMENT ON COLUMN t.m IS 'a column'",
    "COMMENT ON TRIGGER trg ON t IS 'a trigger'",
)
CHANGES = (
    "CREATE OR REPLACE FUNCTION app.f(x int DEFAULT 3) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT x + 2'",
    "DROP VIEW v2",
    "DROP VIEW v",
    "CREATE VIEW v AS SELECT id, n, m FROM t",
    "CREATE VIEW v3 AS SELECT n FROM v",
    "DROP TRIGGER trg ON t",
    "DROP POLICY pol ON t",
    "CREATE POLICY pol2 ON t USING (id > 1)",
    "COMMENT ON TABLE t IS 'another comment'",
    "ALTER SEQUENCE invoice_no INCREMENT BY 5 RESTART WITH 5000",
)


def dump(place: Place) -> list[str]:
    """Return the schema as pg_dump writes it, without the schema `_pipeline` and the token of each run."""
    command = [
        str(program("pg_dump")),
        "--schema-only",
        "--no-owner",
        "--no-acl",
        "--exclude-schema=_pipeline",
        "--dbname",
        place.uri,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [line for line in done.stdout.splitlines() if "restrict" not in line]


async def test_a_copy_has_every_object_of_its_source_and_its_later_changes(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run(*ZOO)
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    movement = await movements.move()
    assert (movement.status, movement.problems) == (Status.SUCCESS, ())
    assert dump(copy) == dump(source)
    assert copy.rows("SELECT * FROM mv") == [(2,)]
    position = "SELECT last_value, is_called FROM invoice_no"
    assert copy.rows(position) == source.rows(position)
    source.run(*CHANGES)
    movement = await movements.move()
    assert (movement.status, movement.problems) == (Status.SUCCESS, ())
    assert dump(copy) == dump(source)
    assert copy.rows(position) == [(5000, False)]


async def test_an_object_that_differs_at_the_destination_is_left_and_named(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run("CREATE TABLE t (id int PRIMARY KEY)", "CREATE VIEW v AS SELECT id FROM t")
    copy.run("CREATE VIEW v AS SELECT 1 AS own")
    movement = await Movements(PostgresSource(source.uri), PostgresDestination(copy.uri)).move()
    assert movement.status is Status.INCOMPLETE
    assert [(item.kind, item.name) for item in movement.inventory.gaps(())] == [("view", "public.v")]
    assert copy.rows("SELECT * FROM v") == [(1,)]


@pytest.mark.parametrize("name", ["users_id_seq", "people_id_seq"])
async def test_a_column_s_sequence_goes_on_whatever_its_name(make: Callable[[], Place], name: str) -> None:
    source, copy = make(), make()
    source.run(
        f"CREATE SEQUENCE {name}",
        f"CREATE TABLE users (id int PRIMARY KEY DEFAULT nextval('{name}'), n text)",
        "INSERT INTO users (n) VALUES ('a'), ('b')",
    )
    copy.run("CREATE TABLE users (id serial PRIMARY KEY, n text)")
    await Movements(PostgresSource(source.uri), PostgresDestination(copy.uri)).move()
    copy.run("INSERT INTO users (n) VALUES ('c')")
    assert copy.rows("SELECT id FROM users ORDER BY 1") == [(1,), (2,), (3,)]


async def test_a_foreign_key_and_an_index_of_one_name_are_both_created_and_each_follows(
    make: Callable[[], Place],
) -> None:
    source, copy = make(), make()
    source.run(
        "CREATE TABLE kind (id int PRIMARY KEY)",
        "CREATE TABLE item (id int PRIMARY KEY, kind_id int NOT NULL, n int)",
        "CREATE INDEX item_kind_id ON item (kind_id)",
        "ALTER TABLE item ADD CONSTRAINT item_kind_id FOREIGN KEY (kind_id) REFERENCES kind DEFERRABLE",
        "CREATE INDEX item_n ON item (n)",
        "ALTER TABLE item ADD CONSTRAINT item_n CHECK (n > 0)",
        "INSERT INTO kind VALUES (1)",
        "INSERT INTO item VALUES (1, 1, 5)",
    )
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    assert dump(copy) == dump(source)
    source.run(
        "DROP INDEX item_kind_id", "ALTER TABLE item DROP CONSTRAINT item_n", "INSERT INTO item VALUES (2, 1, -5)"
    )
    await succeed(movements)
    assert dump(copy) == dump(source)


async def test_attached_partitions_keep_the_names_of_their_not_null(make: Callable[[], Place]) -> None:
    source, copy = make(), make()
    source.run(
        "CREATE TABLE event (id bigint NOT NULL, kind text NOT NULL, at date NOT NULL) PARTITION BY LIST (kind)",
        "CREATE TABLE login (id bigint NOT NULL, kind text CONSTRAINT has_kind NOT NULL, at date NOT NULL)",
        "ALTER TABLE event ATTACH PARTITION login FOR VALUES IN ('login')",
        "CREATE TABLE other PARTITION OF event DEFAULT",
        "INSERT INTO event VALUES (1, 'login', '2026-01-01'), (2, 'logout', '2026-01-02')",
    )
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    assert dump(copy) == dump(source)
    source.run(
        "ALTER TABLE event ALTER at DROP NOT NULL",
        "CREATE TABLE renewal (id bigint CONSTRAINT own_id NOT NULL, kind text NOT NULL, at date)",
        "ALTER TABLE event ATTACH PARTITION renewal FOR VALUES IN ('renewal')",
        "INSERT INTO event VALUES (3, 'login', NULL), (4, 'renewal', NULL)",
    )
    await succeed(movements)
    assert dump(copy) == dump(source)


@pytest.mark.parametrize("key", ["PRIMARY KEY", ""])
async def test_a_renamed_table_keeps_the_sequence_of_its_identity_column(make: Callable[[], Place], key: str) -> None:
    source, copy = make(), make()
    source.run(
        f"CREATE TABLE item (id int GENERATED BY DEFAULT AS IDENTITY {key}, n text)",
        "INSERT INTO item (n) VALUES ('a'), ('b')",
    )
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    await succeed(movements)
    source.run("ALTER TABLE item RENAME TO thing", "INSERT INTO thing (n) VALUES ('c')")
    await succeed(movements)
    assert dump(copy) == dump(source)
    copy.run("INSERT INTO thing (n) VALUES ('d')")
    assert copy.rows("SELECT max(id) FROM thing") == [(4,)]
