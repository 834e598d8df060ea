"""Marks are read without creating anything in the database, and without waiting for an import."""

from __future__ import annotations

import anyio
import psycopg

from pipeline.connectors.postgres import PostgresDestination
from pipeline.ports.destination import MarksReader
from tests.connectors.postgres.loading import FLOW, file, schema, upsert
from tests.connectors.postgres.places import Place

ITEM = schema({"id": "integer", "text": "text"})


async def test_a_database_without_imports_has_no_marks_and_is_left_as_it_is(place: Place) -> None:
    destination = PostgresDestination(place.uri)
    assert isinstance(destination, MarksReader)
    assert await destination.read_marks(FLOW, wait_seconds=2) == {}
    assert place.rows("SELECT nspname FROM pg_namespace WHERE nspname = '_pipeline'") == []


async def test_the_marks_are_those_of_a_session(place: Place) -> None:
    destination = PostgresDestination(place.uri)
    async with destination.open(FLOW) as session:
        await session.load(file(ITEM, [upsert(id=1, text="a")]), after=())
        expected = await session.marks()
    with psycopg.connect(place.uri) as writer:
        writer.execute("UPDATE _pipeline.marks SET rejected = 7")
        with anyio.fail_after(60):
            assert await destination.read_marks(FLOW, wait_seconds=2) == expected
        writer.rollback()
