"""A worker of an earlier Movement that wakes up late gives way: what it brings may be older than what is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.connectors.files import FilesDestination, FilesSource
from pipeline.connectors.sqlite import SqliteDestination, SqliteSource
from pipeline.domain.ids import FlowName, StreamName
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import Destination, FileToLoad, GaveWay, Loaded
from pipeline.ports.source import Source
from tests.cli.app import make_database
from tests.contracts.destination import file_to_load

Place = tuple[Source, Destination]


def database(directory: Path) -> Place:
    return SqliteSource(make_database(directory / "app.db")), SqliteDestination(directory / "copy.db")


def tree(directory: Path) -> Place:
    (directory / "in").mkdir()
    return FilesSource(directory / "in", stream=StreamName("@files")), FilesDestination(directory / "out")


def nothing_of(schema: StreamSchema, movement: int, chunk: int) -> FileToLoad:
    """An Event File without records, on its way in in the course of its Movement."""
    return replace(file_to_load(schema, [], movement=movement, chunk=chunk), movement=movement)


@pytest.mark.parametrize("open_place", [database, tree])
async def test_a_later_movement_shuts_out_an_earlier_one(open_place: Callable[[Path], Place], tmp_path: Path) -> None:
    source, destination = open_place(tmp_path)
    async with source.open_snapshot() as snapshot:
        (schema,) = await snapshot.streams()
    other = replace(schema, stream=StreamName("another"))
    async with destination.open(FlowName("crm")) as session:
        assert isinstance(await session.load(nothing_of(schema, 3, 0), after=()), Loaded)
        late = await session.load(nothing_of(schema, 2, 0), after=())
        assert isinstance(late, GaveWay)
        assert "later than 2" in late.reason
        assert isinstance(await session.load(nothing_of(schema, 3, 1), after=()), Loaded)
        if isinstance(destination, FilesDestination):
            assert isinstance(await session.load(nothing_of(other, 2, 0), after=()), Loaded)
    async with destination.open(FlowName("another")) as session:
        assert isinstance(await session.load(nothing_of(schema, 2, 0), after=()), Loaded)
