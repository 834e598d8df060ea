"""A rejected record with a content is applied again, also in a Movement that has no Event File."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import pipeline
from pipeline.kit import Batch, Binary, Exporter, Import, Importer, Refused
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.kit.reading.source import ExporterSource
from tests.kit.app import move


@dataclass
class Photo:
    id: int
    content: Binary


@pytest.mark.parametrize("delivery", ["found", "keyed"])
async def test_a_rejected_record_with_a_content_is_applied_later(delivery: str, tmp_path: Path) -> None:
    exporter, importer, is_full, got = Exporter("album"), Importer("album"), [True], dict[int, bytes]()

    @exporter.rows("photos", row=Photo, key="id")
    async def photos(client: None) -> AsyncIterator[Photo]:
        yield Photo(1, Binary(b"picture " * 1000))

    async def keep(photo: Photo, ctx: Import) -> str:
        if is_full[0]:
            raise Refused("the album is full")
        async with ctx.binary(photo.content) as pieces:
            got[photo.id] = b"".join([piece async for piece in pieces])
        return f"new-{photo.id}"

    if delivery == "found":

        @importer.creates("photos", row=Photo)
        async def create(target: None, photo: Photo, ctx: Import) -> str:
            return await keep(photo, ctx)

    else:

        @importer.applies("photos", row=Photo)
        async def apply(target: None, batch: Batch[Photo], ctx: Import) -> None:
            for record in batch.upserts:
                await keep(record.row, ctx)

    source = ExporterSource("album:source", exporter, None)
    there = ImporterDestination("album:copy", importer, None)
    assert (await move(source, there, tmp_path)).status is pipeline.Status.INCOMPLETE
    is_full[0] = False
    moved = await move(source, there, tmp_path)
    assert (moved.status, moved.totals.files_imported) == (pipeline.Status.SUCCESS, 0), moved.problems
    assert got == {1: b"picture " * 1000}
