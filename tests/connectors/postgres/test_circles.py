"""Rows that wait for each other, in one table or in several, arrive as they are at the source."""

from __future__ import annotations

import pytest

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.domain.movement import Status
from tests.connectors.postgres.moving import Movements
from tests.connectors.postgres.places import Place, place_factory
from tests.servers.postgresql import PostgresqlServer

REFERRED = (
    "CREATE TABLE c (id int PRIMARY KEY, t int REFERENCES t ON DELETE CASCADE)",
    "INSERT INTO c SELECT id, id FROM t",
)
PARENTS = (
    "CREATE TABLE a (id int PRIMARY KEY, b int NOT NULL)",
    "CREATE TABLE b (id int PRIMARY KEY, a int NOT NULL REFERENCES a)",
    "INSERT INTO a VALUES (1, 1), (2, 2); INSERT INTO b VALUES (1, 1), (2, 2)",
)
CHANGES = {
    "swapped values": (
        ["CREATE TABLE t (id int PRIMARY KEY, pos int UNIQUE)", "INSERT INTO t VALUES (1, 1), (2, 2)", *REFERRED],
        ["UPDATE t SET pos = -pos; UPDATE t SET pos = 3 + pos"],
    ),
    "swapped values that may not be null, of two indexes": (
        [
            "CREATE TABLE t (id int PRIMARY KEY, list int NOT NULL, pos int NOT NULL CHECK (pos > 0), code text NOT NULL UNIQUE,"
            " UNIQUE (list, pos))",
            "INSERT INTO t SELECT n, n / 5, n % 5 + 1, 'c' || n FROM generate_series(0, 49) AS n",
            *REFERRED,
        ],
        ["UPDATE t SET pos = 100 + pos, code = 'x' || code", "UPDATE t SET pos = 106 - pos, code = 'c' || (49 - id)"],
    ),
    "swapped values of an expression": (
        [
            "CREATE TABLE t (id int PRIMARY KEY, mail text NOT NULL)",
            "CREATE UNIQUE INDEX ON t (lower(mail))",
            "INSERT INTO t VALUES (1, 'A'), (2, 'b')",
            *REFERRED,
        ],
        ["UPDATE t SET mail = '-' || mail", "UPDATE t SET mail = CASE id WHEN 1 THEN 'B' ELSE 'a' END"],
    ),
    "a flag that one row of each group has": (
        [
            "CREATE TABLE t (id int PRIMARY KEY, g int NOT NULL, main boolean NOT NULL)",
            "CREATE UNIQUE INDEX ON t (g) WHERE main",
            "INSERT INTO t VALUES (1, 1, false), (2, 1, true), (3, 2, true), (4, 2, false)",
            *REFERRED,
        ],
        ["UPDATE t SET main = false; UPDATE t SET main = true WHERE id IN (1, 4)"],
    ),
    "swapped ranges that exclude each other": (
        [
            "CREATE TABLE t (id int PRIMARY KEY, during int4range NOT NULL, EXCLUDE USING gist (during WITH &&))",
            "INSERT INTO t VALUES (1, '[1,5)'), (2, '[5,9)')",
            *REFERRED,
        ],
        [
            "UPDATE t SET during = 'empty'",
            "UPDATE t SET during = CASE id WHEN 1 THEN '[5,9)' ELSE '[1,5)' END::int4range",
        ],
    ),
    "a key with a period": (
        [
            "CREATE TABLE t (r int4range, during daterange, v int, PRIMARY KEY (r, during WITHOUT OVERLAPS))",
            "INSERT INTO t VALUES ('[1,2)', '[2024-01-01,2024-02-01)', 1), ('[1,2)', '[2024-02-01,2024-03-01)', 2)",
        ],
        ["DELETE FROM t WHERE v = 2", "UPDATE t SET v = 3, during = '[2024-01-01,2024-04-01)'"],
    ),
    "a swapped one-to-one reference": (
        [
            "CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1), (2)",
            "CREATE TABLE t (id int PRIMARY KEY, u int NOT NULL UNIQUE REFERENCES u); INSERT INTO t VALUES (1, 1), (2, 2)",
            *REFERRED,
        ],
        ["DELETE FROM c; DELETE FROM t; INSERT INTO t VALUES (1, 2), (2, 1); INSERT INTO c VALUES (1, 1), (2, 2)"],
    ),
    "tables that refer to each other": (
        [*PARENTS, "ALTER TABLE a ADD CONSTRAINT ab FOREIGN KEY (b) REFERENCES b DEFERRABLE"],
        ["BEGIN; SET CONSTRAINTS ALL DEFERRED; INSERT INTO a VALUES (3, 3); INSERT INTO b VALUES (3, 3); COMMIT"],
    ),
    "tables that refer to each other, where rows go": (
        [*PARENTS, "ALTER TABLE a ADD CONSTRAINT ab FOREIGN KEY (b) REFERENCES b DEFERRABLE"],
        ["BEGIN; SET CONSTRAINTS ALL DEFERRED; DELETE FROM b WHERE id = 2; DELETE FROM a WHERE id = 2; COMMIT"],
    ),
    "tables that refer to each other, neither deferrable nor at once": (
        [
            "CREATE TABLE team (id int PRIMARY KEY, boss int); CREATE TABLE u (id int PRIMARY KEY, team int REFERENCES team)",
            "ALTER TABLE team ADD FOREIGN KEY (boss) REFERENCES u",
        ],
        ["INSERT INTO team VALUES (1); INSERT INTO u VALUES (1, 1); UPDATE team SET boss = 1"],
    ),
    "rows that go together, with actions": (
        [
            "CREATE TABLE team (id int PRIMARY KEY, boss int); CREATE TABLE u (id int PRIMARY KEY, team int NOT NULL"
            " REFERENCES team ON DELETE CASCADE); INSERT INTO team VALUES (1), (2), (3); INSERT INTO u SELECT id, id FROM team",
            "ALTER TABLE team ADD FOREIGN KEY (boss) REFERENCES u ON DELETE SET NULL; UPDATE team SET boss = id",
            "CREATE TABLE note (id int PRIMARY KEY, team int REFERENCES team ON DELETE CASCADE); INSERT INTO note VALUES (1, 3)",
        ],
        ["DELETE FROM team WHERE id = 2"],
    ),
    "a value that changes with the rows that refer to it": (
        [
            "CREATE TABLE p (id int PRIMARY KEY, code text UNIQUE); INSERT INTO p VALUES (1, 'a'), (2, 'b')",
            "CREATE TABLE c (id int PRIMARY KEY, code text REFERENCES p (code) ON UPDATE CASCADE)",
            "INSERT INTO c VALUES (1, 'a'), (2, 'a'), (3, 'b')",
        ],
        ["UPDATE p SET code = 'A' WHERE code = 'a'"],
    ),
    "a key that changes with the rows that refer to it": (
        [
            "CREATE TABLE p (code text PRIMARY KEY, mail text UNIQUE); INSERT INTO p VALUES ('a', 'm1'), ('b', 'm2')",
            "CREATE TABLE c (id int PRIMARY KEY, code text REFERENCES p ON UPDATE CASCADE ON DELETE CASCADE)",
            "INSERT INTO c VALUES (1, 'a'), (2, 'a'), (3, 'b')",
        ],
        ["UPDATE p SET code = 'A' WHERE code = 'a'"],
    ),
}
TABLES = (
    "SELECT c.relname FROM pg_class AS c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace ORDER BY 1"
)
KEYS = "SELECT conname, condeferrable, condeferred, convalidated FROM pg_constraint WHERE contype = 'f' ORDER BY conrelid, 1"


def contents(place: Place) -> dict[object, list[tuple[object, ...]]]:
    return {name: place.rows(f"SELECT t::text FROM public.{name} AS t ORDER BY 1") for (name,) in place.rows(TABLES)}


@pytest.mark.parametrize("as_owner", [True, False])
@pytest.mark.parametrize("change", CHANGES)
async def test_the_destination_has_the_rows_of_the_source(
    places: tuple[Place, Place], postgresql: PostgresqlServer, change: str, as_owner: bool
) -> None:
    (place, owner), source = places, place_factory(postgresql)()
    before, after = CHANGES[change]
    source.run(*before)
    flow = Movements(PostgresSource(source.uri), PostgresDestination((owner if as_owner else place).uri))
    assert (await flow.move()).status is Status.SUCCESS
    keys = place.rows(KEYS)
    source.run(*after)
    assert (await flow.move()).status is Status.SUCCESS
    assert contents(place) == contents(source)
    assert place.rows(KEYS) == keys


async def test_rows_that_refer_to_nothing_hold_no_others_up(
    places: tuple[Place, Place], postgresql: PostgresqlServer
) -> None:
    (place, owner), source = places, place_factory(postgresql)()
    source.run(*PARENTS, "INSERT INTO a VALUES (3, 3), (4, 4), (5, 99); INSERT INTO b VALUES (3, 3), (4, 5)")
    owner.run(*PARENTS[:2], "ALTER TABLE a ADD CONSTRAINT ab FOREIGN KEY (b) REFERENCES b")
    flow = Movements(PostgresSource(source.uri), PostgresDestination(owner.uri))
    assert (await flow.move()).status is Status.INCOMPLETE
    assert place.rows("SELECT id FROM a ORDER BY id") == [(1,), (2,), (3,)]
    assert place.rows("SELECT id FROM b ORDER BY id") == [(1,), (2,), (3,)]
