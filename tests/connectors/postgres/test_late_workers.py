"""Loads of an earlier and a later Movement at the same time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from pipeline.connectors.postgres import PostgresDestination
from pipeline.ports.destination import DestinationSession, FileToLoad, Loaded, LoadOutcome
from tests.connectors.postgres.loading import FLOW, file, schema, upsert
from tests.connectors.postgres.places import Place, place_factory
from tests.servers.postgresql import PostgresqlServer

ITEM = schema({"id": "integer", "text": "text"})


@pytest.fixture
def place(postgresql: PostgresqlServer) -> Place:
    return place_factory(postgresql)()


async def test_a_later_movement_waits_for_a_running_load_of_an_earlier_one(place: Place) -> None:
    at_work, go_on = anyio.Event(), anyio.Event()
    outcomes: list[LoadOutcome] = []

    async def slow() -> FileToLoad:
        loading = file(ITEM, [upsert(id=1, text="old")], movement=2)

        async def blocks() -> AsyncIterator[bytes]:
            at_work.set()
            await go_on.wait()
            async for block in loading.blocks:
                yield block

        return FileToLoad(loading.entry, loading.header, blocks(), loading.open_binary, loading.movement)

    async def load(session: DestinationSession, entering: FileToLoad) -> None:
        outcomes.append(await session.load(entering, after=()))

    async with PostgresDestination(place.uri).open(FLOW) as session, anyio.create_task_group() as group:
        await session.load(file(ITEM, [], chunk=7, movement=1), after=())
        group.start_soon(load, session, await slow())
        await at_work.wait()
        group.start_soon(load, session, file(ITEM, [upsert(id=1, text="new")], movement=3))
        await anyio.sleep(0.2)
        assert outcomes == []
        go_on.set()
    assert [type(outcome) for outcome in outcomes] == [Loaded, Loaded]
    assert place.rows("SELECT id, text FROM item") == [(1, "new")]
