"""A rejected record is tried again when what its reason depends on has changed, and not before; `retry_chosen` always tries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from pipeline.connectors.postgres import PostgresDestination
from pipeline.connectors.postgres.loading.file_load import FileLoad
from pipeline.ports.destination import Loaded
from tests.connectors.postgres.loading import FLOW, file, schema, upsert
from tests.connectors.postgres.owners import owned_place
from tests.connectors.postgres.places import Place
from tests.connectors.retries import noted_retries
from tests.servers.postgresql import PostgresqlServer

COLUMNS = {"id": "integer", "code": "text", "n": "integer"}
TABLE = "CREATE TABLE item (id bigint PRIMARY KEY, code text, n bigint)"
Row = Mapping[str, object]


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of records that are tried again."""
    return noted_retries(FileLoad, monkeypatch)


LASTING: Sequence[tuple[str, Row, str]] = [
    ("ALTER TABLE item ADD CONSTRAINT small CHECK (n < 10)", {"n": 11}, "ALTER TABLE item DROP CONSTRAINT small"),
    (
        "ALTER TABLE item ADD CONSTRAINT small CHECK (n < 10)",
        {"n": 11},
        "ALTER TABLE item DROP CONSTRAINT small, ADD CONSTRAINT small CHECK (n < 12)",
    ),
    ("ALTER TABLE item ALTER code SET NOT NULL", {"code": None}, "ALTER TABLE item ALTER code DROP NOT NULL"),
    ("ALTER TABLE item ALTER code TYPE varchar(3)", {"code": "long"}, "ALTER TABLE item ALTER code TYPE varchar(4)"),
    ("ALTER TABLE item ALTER n TYPE int2", {"n": 40_000}, "ALTER TABLE item ALTER n TYPE int4"),
    ("ALTER TABLE item ALTER code TYPE date USING NULL", {"code": "x"}, "ALTER TABLE item ALTER code TYPE text"),
    (
        "CREATE TYPE mood AS ENUM ('fine'); ALTER TABLE item ALTER code TYPE mood USING NULL",
        {"code": "bad"},
        "ALTER TYPE mood ADD VALUE 'bad'",
    ),
    (
        "CREATE DOMAIN tiny AS int CONSTRAINT it CHECK (VALUE < 5); ALTER TABLE item ALTER n TYPE tiny",
        {"n": 7},
        "ALTER DOMAIN tiny DROP CONSTRAINT it",
    ),
    (
        "CREATE EXTENSION intarray; ALTER TABLE item ADD CONSTRAINT small CHECK (n < 10)",  # it has <@ for arrays, too
        {"n": 11},
        "ALTER TABLE item DROP CONSTRAINT small",
    ),
    ("CREATE DOMAIN it AS text NOT NULL; ALTER TABLE item ALTER code TYPE it", {"code": None}, "ALTER DOMAIN it DROP NOT NULL"),
]  # fmt: skip


@pytest.mark.parametrize(("strict", "bad", "relief"), LASTING)
async def test_a_record_waits_for_the_definition_of_the_table(
    place: Place, tried: list[int], strict: str, bad: Row, relief: str
) -> None:
    place.run(TABLE, strict)
    rows = [{"id": n, "code": None if "USING" in strict else "c", "n": 1, **(bad if n > 2 else {})} for n in range(6)]
    async with PostgresDestination(place.uri).open(FLOW) as session:
        outcome = await session.load(file(schema(COLUMNS), [upsert(**row) for row in rows]), after=[])
        assert isinstance(outcome, Loaded)
        assert outcome.mark.rejected == 3
        assert await session.finish([schema(COLUMNS).stream]) == []
    async with PostgresDestination(place.uri).open(FLOW) as session:
        assert len(await session.retry_rejected()) == 3
        assert tried == []
        assert len(await session.retry_chosen(lambda _: True)) == 3
        assert tried == [3]
        place.run("CREATE INDEX ON item (n)", "ALTER TABLE item ADD more text", "ANALYZE item")
        assert len(await session.retry_rejected()) == 3
        assert tried == [3]
    place.run(relief)
    async with PostgresDestination(place.uri).open(FLOW) as session:
        assert [it.reason for it in await session.retry_rejected()] == []
    assert place.rows("SELECT count(*) FROM item") == [(6,)]


UNSEEN: Sequence[tuple[str, Row, str]] = [
    ("CREATE UNIQUE INDEX ON item (n)", {"n": -1}, "DELETE FROM item WHERE id = -1"),
    ("ALTER TABLE item ADD EXCLUDE (n WITH =)", {"n": -1}, "DELETE FROM item WHERE id = -1"),
    (
        "CREATE FUNCTION small(bigint) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT $1 < 10';"
        "ALTER TABLE item ADD CHECK (small(n))",
        {"n": 11},
        "CREATE OR REPLACE FUNCTION small(bigint) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT $1 < 12'",
    ),
    (
        "CREATE TABLE most (n bigint); INSERT INTO most VALUES (10);"
        "CREATE FUNCTION allowed() RETURNS bigint STABLE LANGUAGE sql AS 'SELECT n FROM public.most';"
        "ALTER TABLE item ADD CHECK (n < allowed())",
        {"n": 11},
        "UPDATE most SET n = 12",
    ),
    (
        "ALTER TABLE item ADD CHECK (n < coalesce(current_setting('app.most', true)::bigint, 10))",
        {"n": 11},
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET app.most = 12', current_database()); END $$",
    ),
    (
        "CREATE FUNCTION least_of(bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT 1 / ($1 - 11)';"
        "CREATE INDEX ON item (least_of(n))",
        {"n": 11},
        "CREATE OR REPLACE FUNCTION least_of(bigint) RETURNS bigint IMMUTABLE LANGUAGE sql AS 'SELECT $1'",
    ),
    ("ALTER TABLE item ADD CONSTRAINT bad CHECK (10 / (n - 11) <> 7)", {"n": 11}, "ALTER TABLE item DROP CONSTRAINT bad"),
    (
        "ALTER TABLE item ADD flag int DEFAULT 0 CHECK (flag = 1 OR n < 10)",
        {"n": 11},
        "ALTER TABLE item ALTER flag SET DEFAULT 1",
    ),
    ("ALTER TABLE item ADD flag int; UPDATE item SET flag = 0; ALTER TABLE item ALTER flag SET NOT NULL", {"n": 11},
     "ALTER TABLE item ALTER flag SET DEFAULT 1"),
    (
        "DROP TABLE item; CREATE TABLE item (id bigint PRIMARY KEY, code text, n bigint) PARTITION BY RANGE (id);"
        "CREATE TABLE first PARTITION OF item FOR VALUES FROM (-9) TO (3); INSERT INTO item VALUES (-1, '', -1)",
        {"n": 2},
        "CREATE TABLE second PARTITION OF item FOR VALUES FROM (3) TO (9)",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("strict", "bad", "relief"), UNSEEN)
async def test_a_record_whose_reason_may_end_unseen_is_always_tried(
    place: Place, tried: list[int], strict: str, bad: Row, relief: str
) -> None:
    place.run(TABLE, "INSERT INTO item VALUES (-1, '', -1)", strict)
    rows = [{"id": n, "code": "c", "n": n % 10, **(bad if n == 3 else {})} for n in range(4)]
    all_rejected = "SET NOT NULL" in strict
    async with PostgresDestination(place.uri).open(FLOW) as session:
        outcome = await session.load(file(schema(COLUMNS), [upsert(**row) for row in rows]), after=[])
        assert isinstance(outcome, Loaded)
        assert outcome.mark.rejected == (4 if all_rejected else 1)
        tried.clear()
        assert len(await session.retry_rejected()) == outcome.mark.rejected
        assert tried != []
    place.run(relief)
    async with PostgresDestination(place.uri).open(FLOW) as session:
        assert [it.reason for it in await session.retry_rejected()] == []
    assert {number for (number,) in place.rows("SELECT id FROM item")} >= {0, 1, 2, 3}


async def test_a_record_is_tried_again_when_a_trigger_that_acts_may_change_it(
    postgresql: PostgresqlServer, tried: list[int]
) -> None:
    with owned_place(postgresql) as (above, place):
        above.run(
            f"{TABLE}; ALTER TABLE item ADD CHECK (n < 10)",
            "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END'",
            "CREATE TRIGGER cut BEFORE INSERT ON item FOR EACH ROW EXECUTE FUNCTION cut()",
            "GRANT ALL ON item TO PUBLIC",
        )
        async with PostgresDestination(place.uri).open(FLOW) as session:
            await session.load(file(schema(COLUMNS), [upsert(id=1, code="c", n=11)]), after=[])
            assert len(await session.retry_rejected()) == 1
            above.run(
                "CREATE OR REPLACE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN new.n = 9; RETURN new; END'"
            )
            assert await session.retry_rejected() == []
        assert tried == [1, 1]


async def test_a_missing_parent_may_come_by_hand(postgresql: PostgresqlServer) -> None:
    with owned_place(postgresql) as (_, place):
        place.run(TABLE, "CREATE TABLE parent (n bigint PRIMARY KEY)")
        place.run("ALTER TABLE item ADD FOREIGN KEY (n) REFERENCES parent")
        async with PostgresDestination(place.uri).open(FLOW) as session:
            lines = [upsert(id=n, code="c", n=n) for n in range(4)]
            await session.load(file(schema(COLUMNS), lines), after=[])
            assert len(await session.retry_rejected()) == 4
            place.run("INSERT INTO parent VALUES (1), (3)")
            assert [it.key for it in await session.retry_rejected()] == ["[0]", "[2]"]
            place.run("ALTER TABLE item DROP CONSTRAINT item_n_fkey")
            assert await session.retry_rejected() == []


async def test_a_record_that_an_earlier_release_has_rejected_is_tried_once(place: Place, tried: list[int]) -> None:
    place.run(f"{TABLE}; ALTER TABLE item ADD CHECK (n < 10)")
    async with PostgresDestination(place.uri).open(FLOW) as session:
        await session.load(file(schema(COLUMNS), [upsert(id=1, code="c", n=11)]), after=[])
    place.run("ALTER TABLE _pipeline.rejected DROP COLUMN depends")
    for _ in range(2):
        async with PostgresDestination(place.uri).open(FLOW) as session:
            assert len(await session.retry_rejected()) == 1
    assert tried == [1]


async def test_a_corrected_record_is_tried(place: Place) -> None:
    place.run(f"{TABLE}; ALTER TABLE item ADD CHECK (n < 10)")
    async with PostgresDestination(place.uri).open(FLOW) as session:
        await session.load(file(schema(COLUMNS), [upsert(id=1, code="c", n=11)]), after=[])
        (kept,) = await session.rejected()
        assert await session.correct_rejected([replace(kept, record=upsert(id=1, code="c", n=9).rstrip())]) == 1
        assert await session.retry_rejected() == []
