"""An export keeps what every source and every destination keeps, in a directory and in a bucket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import orjson
import pytest

from pipeline.connectors.sam.options import SamPlace, read_location, read_place
from pipeline.connectors.sam.reading.source import SamSource
from pipeline.connectors.sam.storage.bucket import BucketStorage
from pipeline.connectors.sam.storage.port import ExportStorage, OpenStorage
from pipeline.connectors.sam.writing.destination import SamDestination
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import Label, StreamName
from pipeline.domain.schema import Column, StreamSchema
from pipeline.ports.object_store import ObjectStore
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.connectors.sam.exports import destination_of, read, source_of, write_file, write_listing
from tests.contracts.destination import DestinationContract, DestinationWorld
from tests.contracts.source import SourceContract, SourceWorld

COLUMNS = (Column("id", "integer", nullable=False), Column("version", "integer", nullable=False))
SCHEMA = StreamSchema(StreamName("item"), Label("item"), COLUMNS, ("id",))


class TestSamSource(SourceContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> SourceWorld:
        place, names = tmp_path / "an export", ("album_full_1.ndjson", "album_full_0.ndjson", "tag_full_0.ndjson")
        write_listing(place, *names)

        def write(changed: str) -> None:
            for chunk in range(2):
                rows = [{"ID": number, "NAME": f"title {number}"} for number in range(chunk, 3000, 2)]
                if chunk:
                    rows[1]["NAME"] = changed
                write_file(place, names[1 - chunk], rows)

        write("title 3")
        tags = [{"name": "b", "album": 1}, {"name": "Ä", "album": -1}, {"name": "a", "album": 1.5}]
        write_file(place, names[2], tags, {"name": "varchar", "album": "number"}, primaryKeys=["name", "album"])
        return SourceWorld(
            source=source_of(place),
            again=source_of(place),
            missing=source_of(tmp_path / "missing"),
            change_one_row=lambda: write("changed"),
            is_isolated=True,
        )


def destination_world(destination: SamDestination, impossible: SamDestination, source: SamSource) -> DestinationWorld:
    def held() -> Mapping[int, int]:
        async def versions() -> dict[int, int]:
            return {row["id"]: row["version"] for row in (await read(source))["item"].rows}

        try:
            with ThreadPoolExecutor(1) as thread:  # the test runs in an event loop
                return thread.submit(anyio.run, versions).result()
        except (ConfigurationError, KeyError):  # nothing is written yet
            return {}

    return DestinationWorld(
        destination=destination,
        impossible=impossible,
        schema=SCHEMA,
        upsert=lambda n, version: orjson.dumps({"upsert": {"id": n, "version": version}}) + b"\n",
        delete=lambda n: orjson.dumps({"delete": {"id": n}}) + b"\n",
        held=held,
        refused=None,
        is_transactional=True,
        wider=replace(SCHEMA, columns=(*COLUMNS, Column("note", "text"))),
    )


class TestSamDestination(DestinationContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> DestinationWorld:
        place = tmp_path / "out"
        return destination_world(destination_of(place), destination_of(tmp_path / "no" / "out"), source_of(place))


class TestSamDestinationInABucket(DestinationContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> DestinationWorld:
        place, store = read_place(read_location("sam:s3://bucket/prefix")), MemoryObjectStore()
        nowhere = destination_of(tmp_path / "no" / "out")
        opening = opening_of(store)
        return destination_world(SamDestination(place, opening), nowhere, SamSource(place, opening))


def opening_of(store: ObjectStore) -> OpenStorage:
    @asynccontextmanager
    async def opened(place: SamPlace, *, write: bool = False) -> AsyncIterator[ExportStorage]:
        yield BucketStorage(store)

    return opened
