"""Loads at the same time: of one Movement, and of an earlier and a later one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import psycopg
import pytest

from pipeline.connectors.postgres import PostgresDestination
from pipeline.domain.errors import TransientError
from pipeline.domain.ids import FlowName
from pipeline.ports.destination import DestinationSession, FileToLoad, GaveWay, Loaded, LoadOutcome
from tests.connectors.postgres.loading import FLOW, file, schema, upsert
from tests.connectors.postgres.places import Place

ITEM = schema({"id": "integer", "text": "text"})


def slow(at_work: anyio.Event, go_on: anyio.Event) -> FileToLoad:
    """A file whose content comes when `go_on` is set, while its transaction is open."""
    return between(file(ITEM, [upsert(id=1, text="old")], movement=2), at_work, go_on)


def between(loading: FileToLoad, at_work: anyio.Event, go_on: anyio.Event, before: bytes = b"") -> FileToLoad:
    """The same file, of whose content `before` comes first, and the rest when `go_on` is set."""

    async def blocks() -> AsyncIterator[bytes]:
        if before:
            yield before
        at_work.set()
        await go_on.wait()
        async for block in loading.blocks:
            yield block

    return FileToLoad(loading.entry, loading.header, blocks(), loading.open_binary, loading.movement)


async def until_written(place: Place, text: str) -> None:
    """Wait until a load in hand has written a row with this text, which is unique."""
    with psycopg.connect(place.uri) as db, anyio.fail_after(60):
        while True:
            try:
                db.execute("SET lock_timeout = '10ms'")
                db.execute("INSERT INTO item VALUES (99, %s)", (text,))
            except psycopg.errors.LockNotAvailable:  # the other transaction has not ended
                return
            db.rollback()
            await anyio.sleep(0.01)


async def test_a_load_that_is_in_hand_when_its_movement_is_fenced_commits_nothing(place: Place) -> None:
    at_work, go_on = anyio.Event(), anyio.Event()

    async def zombie() -> None:
        async with PostgresDestination(place.uri).open(FLOW) as session:
            with pytest.raises(TransientError):
                await session.load(slow(at_work, go_on), after=())
            again = await session.load(file(ITEM, [upsert(id=1, text="old")], movement=2), after=())
            assert isinstance(again, GaveWay)

    async with PostgresDestination(place.uri).open(FLOW) as session, anyio.create_task_group() as group:
        await session.load(file(ITEM, [upsert(id=2, text="there")], chunk=7, movement=1), after=())
        group.start_soon(zombie)
        await at_work.wait()
        async with PostgresDestination(place.uri).open(FlowName("another")) as other:
            await other.fence(9)  # ends no session of this Flow
        with anyio.fail_after(60):
            await session.fence(2)
        go_on.set()
    assert place.rows("SELECT id, text FROM item ORDER BY id") == [(2, "there")]


async def test_a_later_movement_waits_for_a_running_load_of_an_earlier_one(place: Place) -> None:
    at_work, go_on = anyio.Event(), anyio.Event()
    outcomes: list[LoadOutcome] = []

    async def load(session: DestinationSession, entering: FileToLoad) -> None:
        outcomes.append(await session.load(entering, after=()))

    async with PostgresDestination(place.uri).open(FLOW) as session, anyio.create_task_group() as group:
        await session.load(file(ITEM, [], chunk=7, movement=1), after=())
        group.start_soon(load, session, slow(at_work, go_on))
        await at_work.wait()
        group.start_soon(load, session, file(ITEM, [upsert(id=1, text="new")], movement=3))
        await anyio.sleep(0.2)
        assert outcomes == []
        go_on.set()
    assert [type(outcome) for outcome in outcomes] == [Loaded, Loaded]
    assert place.rows("SELECT id, text FROM item") == [(1, "new")]


async def test_files_of_one_movement_are_loaded_into_one_table_at_the_same_time(place: Place) -> None:
    at_work, go_on = anyio.Event(), anyio.Event()
    async with PostgresDestination(place.uri).open(FLOW) as session, anyio.create_task_group() as group:
        group.start_soon(lambda: session.load(slow(at_work, go_on), after=()))
        await at_work.wait()
        with anyio.fail_after(60):
            await session.load(file(ITEM, [upsert(id=2, text="beside")], chunk=1, movement=2), after=())
        assert place.rows("SELECT id, text FROM item") == [(2, "beside")]
        go_on.set()
    assert place.rows("SELECT id, text FROM item ORDER BY id") == [(1, "old"), (2, "beside")]


async def test_a_load_that_has_collided_with_another_is_repeated_alone(place: Place) -> None:
    place.run("CREATE TABLE item (id bigint PRIMARY KEY, text text UNIQUE)")
    failed: list[int] = []
    ended: list[int] = []

    async def load(session: DestinationSession, number: int, loading: FileToLoad) -> None:
        try:
            await session.load(loading, after=())
            ended.append(number)
        except TransientError:  # of two that wait for each other, PostgreSQL ends one
            failed.append(number)

    def crossing(number: int, at_work: anyio.Event, go_on: anyio.Event) -> FileToLoad:
        mine, theirs = "ab"[number], "ba"[number]
        rest = file(ITEM, [upsert(id=10 + number, text=theirs)], chunk=number, movement=2, full=True)
        return between(rest, at_work, go_on, upsert(id=number, text=mine))

    async with PostgresDestination(place.uri).open(FLOW) as one, PostgresDestination(place.uri).open(FLOW) as other:
        sessions, go_on = (one, other), anyio.Event()
        async with anyio.create_task_group() as group:
            for number in (0, 1):
                at_work = anyio.Event()
                group.start_soon(load, sessions[number], number, crossing(number, at_work, go_on))
                await at_work.wait()
            for text in "ab":
                await until_written(place, text)
            go_on.set()
        assert len(failed) == len(ended) == 1
        (lost,) = failed
        at_work, go_on = anyio.Event(), anyio.Event()
        async with anyio.create_task_group() as group:
            beside = between(file(ITEM, [], chunk=2, movement=2, full=True), at_work, go_on)
            group.start_soon(load, sessions[1 - lost], 2, beside)
            await at_work.wait()
            again = file(ITEM, [upsert(id=lost, text="c")], chunk=lost, movement=2, full=True)
            group.start_soon(load, sessions[lost], lost, again)
            await anyio.sleep(0.3)
            assert lost not in ended
            go_on.set()
    assert sorted(ended) == [0, 1, 2]
