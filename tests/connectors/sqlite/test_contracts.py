"""SQLite keeps what every source and every destination keeps."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from pipeline.connectors.sqlite import SqliteDestination, SqliteSource
from pipeline.domain.ids import Label, StreamName
from pipeline.domain.schema import Column, StreamSchema
from tests.connectors.sqlite.databases import rows, run
from tests.contracts.destination import DestinationContract, DestinationWorld
from tests.contracts.source import SourceContract, SourceWorld


class TestSqliteSource(SourceContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> SourceWorld:
        path = tmp_path / "app 100%.db"
        run(
            path,
            "PRAGMA journal_mode=WAL",
            "CREATE TABLE album (id INTEGER PRIMARY KEY, title TEXT, price REAL, cover BLOB)",
            "CREATE TABLE tag (name TEXT COLLATE NOCASE, album INT, PRIMARY KEY (name DESC, album)) WITHOUT ROWID",
            "INSERT INTO tag VALUES ('b', 1), ('A', 2), ('a', 3), ('Ä', -1)",
            "INSERT INTO album VALUES (?, ?, 1.5, x'00ff')",
            values=[(number, f"title {number}") for number in range(5000)],
        )
        return SourceWorld(
            source=SqliteSource(path),
            again=SqliteSource(path),
            missing=SqliteSource(tmp_path / "missing.db"),
            change_one_row=lambda: run(path, "UPDATE album SET title = 'changed' WHERE id = 3"),
            is_isolated=True,
        )


class TestSqliteDestination(DestinationContract):
    @pytest.fixture(params=["made by the source's statement", "made from columns"])
    def world(self, tmp_path: Path, request: pytest.FixtureRequest) -> DestinationWorld:
        path = tmp_path / "copy.db"
        create = "CREATE TABLE item (id INTEGER PRIMARY KEY, version INTEGER NOT NULL) STRICT"
        native: dict[str, object] = {"create_table": create, "indexes": [], "rowid": None, "encoding": "UTF-8"}
        columns = (Column("id", "integer", nullable=False), Column("version", "integer", nullable=False))
        from_source = request.param == "made by the source's statement"
        return DestinationWorld(
            destination=SqliteDestination(path),
            impossible=SqliteDestination(tmp_path / "no such directory" / "copy.db"),
            schema=StreamSchema(
                StreamName("item"), Label("item"), columns, ("id",), {"sqlite": native} if from_source else {}
            ),
            upsert=lambda n, version: orjson.dumps({"upsert": {"id": n, "version": version}}) + b"\n",
            delete=lambda n: orjson.dumps({"delete": {"id": n}}) + b"\n",
            held=lambda: _held(path),
            refused=b'{"upsert":{"id":99,"version":null}}\n',
            is_transactional=True,
        )


def _held(path: Path) -> dict[int, int]:
    if not rows(path, "SELECT 1 FROM sqlite_schema WHERE name = 'item'"):
        return {}
    return {int(str(row[0])): int(str(row[1])) for row in rows(path, "SELECT id, version FROM item")}
