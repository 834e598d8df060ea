"""Columns whose type changes at the source between two Movements: the destination's changes, or an error says what to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.movement import Status
from tests.connectors.postgres.loading import FLOW, file, schema, upsert
from tests.connectors.postgres.moving import Movements
from tests.connectors.postgres.places import Place, place_factory
from tests.servers.postgresql import PostgresqlServer

_DECLARED = """
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid)
FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = 'item'::regclass AND a.attnum > 0 ORDER BY a.attnum
"""
_ROWS = "SELECT * FROM item ORDER BY id"


@pytest.fixture
def source(postgresql: PostgresqlServer) -> Place:
    return place_factory(postgresql)()


@pytest.fixture
def destination(postgresql: PostgresqlServer) -> Place:
    return place_factory(postgresql)()


def movements(source: Place, destination: Place) -> Movements:
    return Movements(PostgresSource(source.uri), PostgresDestination(destination.uri))


@pytest.mark.parametrize(
    ("was", "values", "change"),
    [
        ("int DEFAULT 7", "(1, 1), (2, NULL)", "TYPE bigint"),
        ("int DEFAULT 7", "(1, 1), (2, 20)", "TYPE text"),
        ("text DEFAULT 'a'", "(1, '1'), (2, '20')", "DROP DEFAULT, ALTER value TYPE int USING value::int"),
        ("text", "(1, 'sad'), (2, 'ok')", "TYPE mood USING value::mood"),
        ("mood DEFAULT 'ok'", "(1, 'sad'), (2, 'ok')", "DROP DEFAULT, ALTER value TYPE text"),
        ("varchar(3)", "(1, 'abc'), (2, 'ä')", "TYPE varchar(9)"),
        ("numeric(6,2)", "(1, 1.50), (2, 2.25)", "TYPE numeric(8,4)"),
        ("numeric", "(1, 1.50), (2, 2.25)", "TYPE int"),
        ("timestamptz", "(1, '2026-01-02 03:04:05+02'), (2, NULL)", "TYPE timestamp"),
        ("boolean", "(1, true), (2, false)", "TYPE int USING value::int"),
        ("json", "(1, '{\"a\": 1}'), (2, '[]')", "TYPE jsonb"),
        ("text", "(1, '{1,2}'), (2, NULL)", "TYPE int[] USING value::int[]"),
        ("text", "(1, 'b'), (2, 'A')", 'TYPE text COLLATE "C"'),
    ],
)
async def test_a_changed_type_and_its_values_become_those_of_the_source(
    was: str, values: str, change: str, source: Place, destination: Place
) -> None:
    mood = "CREATE TYPE mood AS ENUM ('sad', 'ok')"
    source.run(mood, f"CREATE TABLE item (id int PRIMARY KEY, value {was})", f"INSERT INTO item VALUES {values}")
    moved = movements(source, destination)
    assert (await moved.move()).status is Status.SUCCESS
    source.run(f"ALTER TABLE item ALTER value {change}", "UPDATE item SET id = 3 WHERE id = 2")
    assert (await moved.move()).status is Status.SUCCESS
    assert destination.rows(_DECLARED) == source.rows(_DECLARED)
    assert destination.rows(_ROWS) == source.rows(_ROWS)


async def test_the_type_of_a_key_may_change(source: Place, destination: Place) -> None:
    source.run("CREATE TABLE item (id serial PRIMARY KEY, value text)", "INSERT INTO item (value) VALUES ('a'), ('b')")
    moved = movements(source, destination)
    assert (await moved.move()).status is Status.SUCCESS
    source.run("ALTER TABLE item ALTER id TYPE bigint", "INSERT INTO item VALUES (5000000000, 'c')")
    assert (await moved.move()).status is Status.SUCCESS
    assert destination.rows(_DECLARED) == source.rows(_DECLARED)
    assert destination.rows(_ROWS) == source.rows(_ROWS)


async def test_a_key_is_converted_by_an_expression(source: Place, destination: Place) -> None:
    source.run("CREATE TABLE item (id text PRIMARY KEY, value int)", "INSERT INTO item VALUES ('abc', 1), ('x', 2)")
    moved = movements(source, destination)
    assert (await moved.move()).status is Status.SUCCESS
    source.run("ALTER TABLE item ALTER id TYPE int USING length(id)")
    assert (await moved.move()).status is Status.SUCCESS
    assert destination.rows(_ROWS) == source.rows(_ROWS) == [(1, 2), (3, 1)]


async def test_a_table_that_had_rows_before_keeps_its_types(source: Place, destination: Place) -> None:
    source.run("CREATE TABLE item (id int PRIMARY KEY, value int)", "INSERT INTO item VALUES (1, 10)")
    destination.run("CREATE TABLE item (id int PRIMARY KEY, value int)", "INSERT INTO item VALUES (2, 20)")
    moved = movements(source, destination)
    assert (await moved.move()).status is Status.SUCCESS
    source.run("ALTER TABLE item ALTER value TYPE text", "UPDATE item SET value = '11'")
    assert (await moved.move()).status is Status.SUCCESS
    assert destination.rows(_ROWS) == [(1, 11), (2, 20)]


async def test_a_type_that_cannot_change_is_an_error_that_names_the_column_and_the_statement(
    destination: Place,
) -> None:
    former = schema({"id": "integer", "value": "text"})
    later = file(schema({"id": "integer", "value": "integer"}), [upsert(id=1, value=3)], movement=2)
    later = replace(later, header=replace(later.header, export_time=later.header.export_time + timedelta(seconds=1)))
    async with PostgresDestination(destination.uri).open(FLOW) as session:
        await session.load(file(former, [upsert(id=1, value="abc")]), after=[])
        destination.run("ALTER TABLE item ADD own text GENERATED ALWAYS AS (value || '!') STORED")
        with pytest.raises(
            ConfigurationError, match=r'ALTER TABLE "public"."item" ALTER COLUMN "value" TYPE bigint'
        ) as caught:
            await session.load(later, after=[])
    assert "cannot alter type of a column used by a generated column" in str(caught.value)
    assert destination.rows(_ROWS) == [(1, "abc", "abc!")]
