"""Owners and privileges move from PostgreSQL to PostgreSQL on request, as `pg_dump --schema-only` sees them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from uuid import uuid4

import psycopg
import pytest

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.domain.inventory import Fate
from pipeline.domain.movement import Status
from tests.connectors.postgres.moving import Movements, equal
from tests.connectors.postgres.owners import owned_place
from tests.connectors.postgres.places import Place
from tests.servers.postgresql import PostgresqlServer, program


@pytest.fixture
def roles(postgresql: PostgresqlServer) -> tuple[str, str]:
    """Two roles that cannot log in."""
    names = f"a_{uuid4().hex[:12]}", f"B {uuid4().hex[:12]}"
    with psycopg.connect(postgresql.uri("postgres"), autocommit=True) as connection:
        for name in names:
            connection.execute(f'CREATE ROLE "{name}"'.encode())
    return names


def dump(place: Place) -> list[str]:
    """Return the schema with owners and privileges."""
    command = [str(program("pg_dump")), "--schema-only", "--exclude-schema=_pipeline", "--dbname", place.uri]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [line for line in done.stdout.splitlines() if "restrict" not in line]


def statements(a: str, b: str) -> list[str]:
    return [
        f'CREATE SCHEMA app AUTHORIZATION "{a}"',
        "CREATE TYPE app.mood AS ENUM ('sad', 'ok')",
        "CREATE DOMAIN app.small AS int CHECK (VALUE < 10)",
        "CREATE TABLE app.t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, mood app.mood, n app.small)",
        "INSERT INTO app.t (name) VALUES ('x')",
        "CREATE VIEW app.v AS SELECT id FROM app.t",
        "CREATE VIEW app.w AS SELECT id FROM app.t",
        f'GRANT SELECT ON app.w TO "{b}", PUBLIC',
        "CREATE SEQUENCE app.s",
        "CREATE FUNCTION app.f(x int, y text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE PROCEDURE app.p() LANGUAGE sql AS 'SELECT 1'",
        "SELECT lo_from_bytea(4711, 'abc')",
        f'ALTER TABLE app.t OWNER TO "{a}"',
        f'ALTER VIEW app.v OWNER TO "{b}"',
        f'ALTER FUNCTION app.f OWNER TO "{b}"',
        f'ALTER TYPE app.mood OWNER TO "{b}"',
        f'ALTER LARGE OBJECT 4711 OWNER TO "{a}"',
        f'GRANT USAGE ON SCHEMA app TO "{b}"',
        f'GRANT SELECT, UPDATE ON app.t TO "{b}" WITH GRANT OPTION',
        "GRANT SELECT (name), UPDATE (name) ON app.t TO PUBLIC",
        f'GRANT SELECT ON app.v TO "{a}"',
        f'GRANT USAGE ON SEQUENCE app.s TO "{a}"',
        "REVOKE ALL ON FUNCTION app.f FROM PUBLIC",
        f'GRANT EXECUTE ON PROCEDURE app.p TO "{a}"',
        "REVOKE ALL ON TYPE app.small FROM PUBLIC",
        f'GRANT SELECT ON LARGE OBJECT 4711 TO "{b}"',
        f'ALTER DEFAULT PRIVILEGES FOR ROLE "{a}" IN SCHEMA app GRANT SELECT ON TABLES TO "{b}"',
        f'ALTER DEFAULT PRIVILEGES FOR ROLE "{b}" REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC',
    ]


def changes(a: str, b: str) -> list[str]:
    return [
        f'ALTER SEQUENCE app.s OWNER TO "{b}"',
        f'ALTER VIEW app.w OWNER TO "{b}"',
        f'GRANT UPDATE ON app.w TO "{a}"',
        "REVOKE SELECT (name) ON app.t FROM PUBLIC",
        f'REVOKE SELECT ON app.v FROM "{a}"',
        f'GRANT INSERT ON app.v TO "{a}"',
        "GRANT EXECUTE ON FUNCTION app.f TO PUBLIC",
        f'REVOKE USAGE ON SEQUENCE app.s FROM "{a}"',
        f'ALTER DEFAULT PRIVILEGES FOR ROLE "{a}" IN SCHEMA app REVOKE SELECT ON TABLES FROM "{b}"',
    ]


async def test_on_request_a_copy_has_the_owners_and_privileges_of_its_source(
    make: Callable[[], Place], roles: tuple[str, str]
) -> None:
    source, copy = make(), make()
    source.run(*statements(*roles))
    movements = Movements(PostgresSource(source.uri, grants=True), PostgresDestination(copy.uri))
    movement = await movements.move()
    assert (movement.status, movement.problems) == (Status.SUCCESS, ())
    assert dump(copy) == dump(source)
    source.run(*changes(*roles))
    movement = await movements.move()
    assert (movement.status, movement.problems) == (Status.SUCCESS, ())
    assert dump(copy) == dump(source)
    assert (await movements.move()).totals.files_exported == 0


async def test_otherwise_privileges_are_named_and_nothing_is_missed(
    make: Callable[[], Place], roles: tuple[str, str]
) -> None:
    source, copy = make(), make()
    source.run(*statements(*roles))
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    movement = await movements.move()
    assert movement.status is Status.SUCCESS
    named = [item for item in movement.inventory.with_fate(Fate.NOT_MOVED) if item.kind == "grant"]
    assert "TABLE app.t" in [item.name for item in named]
    assert {item.reason for item in named} == {
        "roles belong to a server; --grants moves it where the destination has the roles"
    }
    assert await equal(movements)


async def test_what_the_user_at_the_destination_may_not_set_is_missed(
    make: Callable[[], Place], roles: tuple[str, str], postgresql: PostgresqlServer
) -> None:
    source = make()
    source.run(
        "CREATE TABLE t (id int PRIMARY KEY)",
        "INSERT INTO t VALUES (1)",
        f'ALTER TABLE t OWNER TO "{roles[0]}"',
        f'GRANT SELECT ON t TO "{roles[1]}"',
    )
    with owned_place(postgresql) as (copy, owned):
        movements = Movements(PostgresSource(source.uri, grants=True), PostgresDestination(owned.uri))
        movement = await movements.move()
        assert movement.status is Status.INCOMPLETE
        assert [(item.kind, item.name) for item in movement.inventory.gaps(())] == [("owner", "TABLE public.t")]
        assert movement.inventory.gaps(("owner",)) == []
        assert copy.rows("SELECT * FROM t") == [(1,)]
        privilege = f"SELECT has_table_privilege('{roles[1]}', 't', 'SELECT')"
        assert copy.rows(privilege) == [(True,)]


@pytest.mark.parametrize(
    "change",
    [
        ["ALTER TABLE t ALTER COLUMN n TYPE bigint"],
        ["DROP VIEW v", "CREATE VIEW v AS SELECT n, id FROM t"],
    ],
)
async def test_a_view_that_is_made_again_keeps_what_the_destination_gave_it(
    make: Callable[[], Place], roles: tuple[str, str], change: list[str]
) -> None:
    source, copy = make(), make()
    source.run("CREATE TABLE t (id int PRIMARY KEY, n int)", "CREATE VIEW v AS SELECT id, n FROM t")
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    assert (await movements.move()).status is Status.SUCCESS
    copy.run(
        f'ALTER VIEW v OWNER TO "{roles[0]}"',
        f'GRANT SELECT ON v TO "{roles[1]}"',
        "COMMENT ON VIEW v IS 'a view'",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE TRIGGER g INSTEAD OF INSERT ON v FOR EACH ROW EXECUTE FUNCTION f()",
    )
    kept = (
        "SELECT relowner::regrole::text, relacl::text, obj_description(oid, 'pg_class'),"
        " ARRAY(SELECT tgname FROM pg_trigger WHERE tgrelid = c.oid)::text FROM pg_class AS c WHERE relname = 'v'"
    )
    before = copy.rows(kept)
    if len(change) == 1:
        source.run("DROP VIEW v", *change, "CREATE VIEW v AS SELECT id, n FROM t")
    else:
        source.run(*change)
    movement = await movements.move()
    assert (movement.status, movement.problems) == (Status.SUCCESS, ())
    assert copy.rows(kept) == before
