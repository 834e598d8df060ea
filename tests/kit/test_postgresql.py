"""An Exporter into PostgreSQL, and PostgreSQL into an Importer: types, keys, and the same values on the way back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pipeline
from pipeline.kit import Batch, Exporter, Import, Importer
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.kit.reading.source import ExporterSource
from tests.connectors.postgres.places import place_factory
from tests.kit.app import move
from tests.kit.test_row_types import ROW, Everything
from tests.servers.postgresql import PostgresqlServer


async def test_every_type_survives_the_way_through_postgresql(postgresql: PostgresqlServer, tmp_path: Path) -> None:
    place = place_factory(postgresql)()
    exporter, importer, found = Exporter("app"), Importer("app"), list[Everything]()
    row = Everything(**{**vars(ROW), "text": "one\ntwo ☃ {"})  # PostgreSQL has no text with U+0000

    @exporter.rows("everything", row=Everything, key=("id", "uuid"), ordered=True)
    async def rows(client: None) -> AsyncIterator[Everything]:
        yield row

    @importer.applies("everything", row=Everything)
    async def apply(target: None, batch: Batch[Everything], ctx: Import) -> None:
        found.extend(upsert.row for upsert in batch.upserts)

    source = ExporterSource("app:source", exporter, None)
    movement = await move(source, place.uri, tmp_path)
    assert movement.status is pipeline.Status.SUCCESS, movement.problems
    assert (await move(source, place.uri, tmp_path)).totals.files_exported == 0
    query = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'everything' AND column_name = %s"
    types = [place.rows(query, (name,))[0][1] for name in ("id", "price", "moment", "local", "length", "uuid", "data")]
    assert types == [
        "bigint",
        "numeric",
        "timestamp with time zone",
        "timestamp without time zone",
        "interval",
        "uuid",
        "bytea",
    ]
    key = "SELECT count(*) FROM pg_index WHERE indrelid = 'everything'::regclass AND indisprimary AND indnatts = 2"
    assert place.rows(key) == [(1,)]
    back = await move(place.uri, ImporterDestination("app:destination", importer, None), tmp_path / "back")
    assert back.status is pipeline.Status.SUCCESS, back.problems
    assert found == [row]
