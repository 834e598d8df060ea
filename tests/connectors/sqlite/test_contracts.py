"""SQLite keeps what every source and every destination keeps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from pipeline.connectors.sqlite import SqliteDestination, SqliteSource
from pipeline.domain.ids import Label, StreamName
from pipeline.domain.schema import Column, StreamSchema
from tests.connectors.sqlite import databases
from tests.connectors.sqlite.databases import run
from tests.contracts.destination import DestinationContract, DestinationWorld
from tests.contracts.source import SourceContract, SourceWorld


def source_world(path: Path, *, rows: int) -> SourceWorld:
    """A database at `path` with two tables, the first of which has so many rows."""
    run(
        path,
        "PRAGMA journal_mode=WAL",
        "CREATE TABLE album (id INTEGER PRIMARY KEY, title TEXT, price REAL, cover BLOB)",
        "CREATE TABLE tag (name TEXT COLLATE NOCASE, album INT, PRIMARY KEY (name DESC, album)) WITHOUT ROWID",
        "INSERT INTO tag VALUES ('b', 1), ('A', 2), ('a', 3), ('Ä', -1)",
        "INSERT INTO album VALUES (?, ?, 1.5, x'00ff')",
        values=[(number, f"title {number}") for number in range(rows)],
    )
    return SourceWorld(
        source=SqliteSource(path),
        again=SqliteSource(path),
        missing=SqliteSource(path.with_name("missing.db")),
        change_one_row=lambda: run(path, "UPDATE album SET title = 'changed' WHERE id = 3"),
        is_isolated=True,
    )


def destination_world(path: Path, *, made_by_statement: bool) -> DestinationWorld:
    """A place for a database at `path`; its table is made by a source's statement, or from the stream's columns."""
    create = "CREATE TABLE item (id INTEGER PRIMARY KEY, version INTEGER NOT NULL) STRICT"
    native: dict[str, object] = {"create_table": create, "indexes": [], "rowid": None, "encoding": "UTF-8"}
    columns = (Column("id", "integer", nullable=False), Column("version", "integer", nullable=False))
    schema = StreamSchema(
        StreamName("item"), Label("item"), columns, ("id",), {"sqlite": native} if made_by_statement else {}
    )
    return DestinationWorld(
        destination=SqliteDestination(path),
        impossible=SqliteDestination(path.parent / "no such directory" / "copy.db"),
        schema=schema,
        upsert=lambda n, version: orjson.dumps({"upsert": {"id": n, "version": version}}) + b"\n",
        delete=lambda n: orjson.dumps({"delete": {"id": n}}) + b"\n",
        held=lambda: _held(path),
        refused=b'{"upsert":{"id":99,"version":null}}\n',
        is_transactional=True,
        accept=lambda: run(path, "DROP TABLE item", "CREATE TABLE item (id INTEGER PRIMARY KEY, version INTEGER)"),
        wider=replace(schema, columns=(*columns, Column("note", "text")), native=_wider(native, schema)),
    )


def _held(path: Path) -> dict[int, int]:
    if not databases.rows(path, "SELECT 1 FROM sqlite_schema WHERE name = 'item'"):
        return {}
    rows = databases.rows(path, "SELECT id, ifnull(version, 0) FROM item")
    return {int(str(number)): int(str(version)) for number, version in rows}


def _wider(native: dict[str, object], schema: StreamSchema) -> dict[str, object]:
    wider = str(native["create_table"]).replace(") STRICT", ", note TEXT) STRICT")
    return {"sqlite": native | {"create_table": wider}} if schema.native else {}


class TestSqliteSource(SourceContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> SourceWorld:
        return source_world(tmp_path / "app 100%.db", rows=5000)


class TestSqliteDestination(DestinationContract):
    @pytest.fixture(params=["made by the source's statement", "made from columns"])
    def world(self, tmp_path: Path, request: pytest.FixtureRequest) -> DestinationWorld:
        return destination_world(tmp_path / "copy.db", made_by_statement="statement" in request.param)
