"""What the source holds, the destination holds, bit for bit."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from hypothesis import assume, given, settings

from pipeline.connectors.sqlite import SqliteSource
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.keys import order
from tests.connectors.sqlite.databases import copy, dump, rows, run, schema_of
from tests.connectors.sqlite.tables import AnyTable, make, tables
from tests.contracts.source import StreamContent, read_first

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le", "UTF-16be"])
@settings(max_examples=60, deadline=None)
@given(table=tables())
def test_any_table_arrives_as_it_was(encoding: str, table: AnyTable) -> None:
    with TemporaryDirectory() as directory:
        source, destination = Path(directory, "source.db"), Path(directory, "destination.db")
        make(source, table, encoding)
        try:
            anyio.run(copy, source, destination)
        except ConfigurationError as error:
            assume("hide rowid" not in str(error))
            raise
        assert dump(destination) == dump(source)
        assert schema_of(destination) == schema_of(source)
        anyio.run(copy_again, source, destination)
        assert dump(destination) == dump(source)


async def copy_again(source: Path, destination: Path) -> None:
    """Load everything a second time, as another Flow would: upserts onto rows that are there."""
    rows(destination, "DELETE FROM _pipeline_marks")
    await copy(source, destination)


@settings(max_examples=60, deadline=None)
@given(table=tables())
def test_keys_ascend_whatever_the_table_s_own_order(table: AnyTable) -> None:
    with TemporaryDirectory() as directory:
        source = Path(directory, "source.db")
        make(source, table, "UTF-8")
        try:
            content = anyio.run(read_first, SqliteSource(source))
        except ConfigurationError as error:
            assume("hide rowid" not in str(error))
            raise
        assert all(one < following for one, following in pairwise(map(order, content.keys)))
        assert len(content.keys) == len(dump(source)[table.name])


async def test_a_database_with_everything_in_it_arrives(tmp_path: Path) -> None:
    source, destination = tmp_path / "source.db", tmp_path / "destination.db"
    run(
        source,
        "CREATE TABLE artist (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL DEFAULT 'nobody' UNIQUE)",
        "CREATE TABLE album (id INTEGER PRIMARY KEY, artist INTEGER NOT NULL REFERENCES artist(id) ON DELETE CASCADE,"
        " title TEXT, length INT CHECK (length > 0), shout TEXT AS (upper(title)) STORED, twice AS (length * 2))",
        "CREATE INDEX album_title ON album (title COLLATE NOCASE DESC) WHERE length > 1",
        "CREATE UNIQUE INDEX album_expression ON album (lower(title), artist)",
        "CREATE TABLE loose (a, b)",
        "CREATE VIEW titles AS SELECT title FROM album",
        "CREATE VIRTUAL TABLE search USING fts5(text)",
        "INSERT INTO search VALUES ('not data of its own')",
        "INSERT INTO artist VALUES (1, 'A'), (9, 'B')",
        "DELETE FROM artist WHERE id = 9",
        "INSERT INTO album(id, artist, title, length) VALUES (1, 1, 'x', 3), (2, 1, 'y', 1)",
        "INSERT INTO loose(rowid, a) VALUES (-5, 1), (7, 1), (9, NULL)",
    )
    assert await copy(source, destination) == []
    assert dump(destination) == dump(source)
    assert schema_of(destination) == schema_of(source)
    assert rows(destination, "SELECT rowid, text FROM search WHERE search MATCH 'own'") == [(1, "not data of its own")]
    assert rows(destination, "SELECT * FROM titles ORDER BY 1") == [("x",), ("y",)]
    assert rows(destination, "SELECT * FROM sqlite_sequence") == [("artist", 9)]


async def test_blocks_are_bounded_by_bytes_as_well_as_rows(tmp_path: Path) -> None:
    source = tmp_path / "source.db"
    run(source, "CREATE TABLE big (id INTEGER PRIMARY KEY, data BLOB)")
    run(source, "INSERT INTO big VALUES (?, zeroblob(1400000))", values=[(number,) for number in range(6)])
    async with (
        SqliteSource(source).open_snapshot() as snapshot,
        snapshot.open_rows((await snapshot.streams())[0]) as it,
    ):
        assert [len(block) async for block in it] == [2, 2, 2]


async def test_the_hashes_are_the_same_in_every_release(tmp_path: Path) -> None:
    source = tmp_path / "source.db"
    run(
        source,
        "CREATE TABLE v (id INTEGER PRIMARY KEY, value)",
        "INSERT INTO v VALUES (1, NULL), (2, 1), (3, 1.0), (4, 'é'), (5, x'00ff'), (6, 9e999), (7, 1 << 62)",
    )
    content = await read_first(SqliteSource(source))
    assert [value.hex() for value in content.hashes] == KNOWN_HASHES


KNOWN_HASHES = [
    "593c97a5496171e0",
    "cf9b2c33b7ebebef",
    "4354fdb0c5a82432",
    "75754e3146561e19",
    "dafe0f71d644bb2f",
    "110c9fa9ac346e93",
    "14affd4626bab288",
]


async def test_text_that_is_not_utf8_does_not_change_the_hashes_of_other_rows(tmp_path: Path) -> None:
    source = tmp_path / "source.db"
    run(source, "CREATE TABLE v (id INTEGER PRIMARY KEY, a, b)")
    run(source, "INSERT INTO v VALUES (?, ?, ?)", values=[(n, f"text {n}", n * 1.5) for n in range(5000)])
    before = await read_first(SqliteSource(source))
    run(source, "UPDATE v SET a = CAST(x'ff' AS TEXT) WHERE id = 2500")
    after = await read_first(SqliteSource(source))
    changed = [at for at, (one, other) in enumerate(zip(before.hashes, after.hashes, strict=True)) if one != other]
    assert changed == [2500]
    assert after.lines[2500] == b'{"upsert":{"id":2500,"a":{"$text":"/w=="},"b":3750.0}}'
    assert _without(after, 2500) == _without(before, 2500)


def _without(content: StreamContent, position: int) -> list[bytes]:
    return content.lines[:position] + content.lines[position + 1 :]
