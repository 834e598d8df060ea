"""About how many rows a source says it has, before it reads them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from pipeline.connectors.postgres import PostgresSource
from pipeline.connectors.sqlite import SqliteSource
from pipeline.domain.ids import StreamName
from pipeline.ports.source import RowEstimator, Source
from tests.connectors.postgres.places import place_factory
from tests.connectors.sam.exports import source_of, write_file
from tests.servers.postgresql import PostgresqlServer


async def estimates(source: Source) -> Mapping[StreamName, int]:
    async with source.open_snapshot() as snapshot:
        assert isinstance(snapshot, RowEstimator)
        return await snapshot.row_estimates([schema.stream for schema in await snapshot.streams()])


async def test_sqlite_counts_small_tables_and_takes_the_range_of_row_numbers_of_large_ones(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "app.db")) as db, db:
        for table, clause in (("empty", ""), ("small", ""), ("keyed", " WITHOUT ROWID"), ("large", ""), ("gaps", "")):
            db.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, v TEXT){clause}")
        for table, start, rows in (
            ("small", 7, 300),
            ("keyed", 0, 25_000),
            ("large", 100, 30_000),
            ("gaps", 0, 30_000),
        ):
            db.executemany(f"INSERT INTO {table} VALUES (?, 'x')", ((number,) for number in range(start, start + rows)))
        db.execute("INSERT INTO gaps VALUES (?, 'x')", (2**62,))
    assert await estimates(SqliteSource(tmp_path / "app.db")) == {"empty": 0, "small": 300, "large": 30_000}


async def test_postgresql_says_it_of_tables_that_were_analysed(postgresql: PostgresqlServer) -> None:
    place = place_factory(postgresql)()
    place.run("CREATE TABLE known (id int PRIMARY KEY)", "INSERT INTO known SELECT generate_series(1, 5000)")
    place.run("CREATE TABLE unknown (id int PRIMARY KEY)", "ANALYZE known")
    assert await estimates(PostgresSource(place.uri)) == {"known": 5000}


async def test_an_export_is_counted(tmp_path: Path) -> None:
    write_file(tmp_path, "t_full_0.ndjson", [{"ID": 1}, {"ID": 2}, {"ID": 1, "DELETED": True}])
    write_file(tmp_path, "u_full_0.ndjson", [b"{"])
    assert await estimates(source_of(tmp_path)) == {"t": 1}
