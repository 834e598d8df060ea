"""Views, triggers, virtual tables and the numbers of the file follow their source, and nothing else is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.connectors.sqlite import SqliteDestination, SqliteSource
from pipeline.domain.inventory import Fate, InventoryItem
from tests.connectors.sqlite.databases import export, rows, run
from tests.contracts.destination import FLOW


async def move(source: Path, destination: Path) -> list[InventoryItem]:
    """Load every stream, and return what became of the schema objects."""
    rows(destination, "SELECT 1")
    async with SqliteDestination(destination).open(FLOW) as session:
        for file in await export(source):
            await session.load(file, after=[])
        return list(await session.ensure_objects(rows_changed=True))


def objects(path: Path) -> list[tuple[object, ...]]:
    """Return views, triggers and virtual tables."""
    found = "SELECT type, name, sql FROM sqlite_schema WHERE type IN ('view', 'trigger') OR sql LIKE 'CREATE VIRTUAL%'"
    return sorted(rows(path, found), key=str)


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    source, destination = tmp_path / "source.db", tmp_path / "destination.db"
    run(
        source,
        "CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)",
        "CREATE TABLE log (what)",
        "CREATE VIEW bodies AS SELECT body FROM note",
        "CREATE TRIGGER logs AFTER INSERT ON note BEGIN INSERT INTO log VALUES (new.id); END",
        "CREATE VIRTUAL TABLE words USING fts5(body)",
        "CREATE VIRTUAL TABLE area USING rtree(id, low, high)",
        "INSERT INTO words VALUES ('hello world')",
        "INSERT INTO area VALUES (1, 2.0, 3.0)",
        "PRAGMA user_version = 25",
        "PRAGMA application_id = 1196444487",
    )
    return source, destination


async def test_they_arrive_and_work(places: tuple[Path, Path]) -> None:
    source, destination = places
    items = await move(source, destination)
    assert {item.fate for item in items} == {Fate.MOVED}
    assert objects(destination) == objects(source)
    assert rows(destination, "SELECT body FROM words WHERE words MATCH 'world'") == [("hello world",)]
    assert rows(destination, "SELECT id FROM area WHERE low < 2.5") == [(1,)]
    assert rows(destination, "PRAGMA user_version") == [(25,)]
    assert rows(destination, "PRAGMA application_id") == [(1196444487,)]
    assert rows(destination, "PRAGMA integrity_check") == [("ok",)]


async def test_what_the_flow_created_follows_the_source(places: tuple[Path, Path], tmp_path: Path) -> None:
    source, destination = places
    await move(source, destination)
    run(source, "DROP VIEW bodies", "CREATE VIEW bodies AS SELECT id, body FROM note", "DROP TRIGGER logs")
    run(destination, "DELETE FROM _pipeline_marks", "UPDATE _pipeline_objects SET wanted = NULL")
    await move(source, destination)
    assert objects(destination) == objects(source)


async def test_what_the_app_made_at_the_destination_stays_and_is_named(places: tuple[Path, Path]) -> None:
    source, destination = places
    run(destination, "CREATE TABLE note (id INTEGER PRIMARY KEY, body TEXT)", "CREATE VIEW bodies AS SELECT 1 AS own")
    items = await move(source, destination)
    (left,) = [item for item in items if item.fate is Fate.NOT_MOVED]
    assert (left.kind, left.name) == ("view", "bodies")
    assert rows(destination, "SELECT * FROM bodies") == [(1,)]


async def test_a_statement_may_create_its_object_and_nothing_else(places: tuple[Path, Path]) -> None:
    source, destination = places
    await move(source, destination)
    hostile = '{"create": ["CREATE VIEW x AS SELECT 1; DROP TABLE note"], "remove": null, "facts": {}, "reason": ""}'
    run(
        destination,
        f"INSERT INTO _pipeline_objects VALUES ('{FLOW}', 'view', 'x', 'sqlite', 2, '{hostile}', NULL)",
    )
    async with SqliteDestination(destination).open(FLOW) as session:
        items = await session.ensure_objects(rows_changed=False)
    assert [item.fate for item in items if item.name == "x"] == [Fate.NOT_MOVED]
    assert rows(destination, "SELECT count(*) FROM note") == [(0,)]
    assert rows(destination, "SELECT name FROM sqlite_schema WHERE name = 'x'") == []


async def test_settings_of_the_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "source.db"
    run(
        path,
        "PRAGMA page_size = 8192",
        "PRAGMA auto_vacuum = INCREMENTAL",
        "CREATE TABLE t (a)",
        "PRAGMA journal_mode = WAL",
    )
    async with SqliteSource(path).open_snapshot() as snapshot:
        await snapshot.streams()
        found = {item.name: item.reason for item in await snapshot.omissions()}
    assert found == {
        "auto_vacuum": "it is 2 at the source; set it with PRAGMA auto_vacuum = 2 and VACUUM",
        "journal_mode": "it is wal at the source; set it with PRAGMA journal_mode = wal",
        "page_size": "it is 8192 at the source; set it with PRAGMA page_size = 8192 and VACUUM",
    }


async def test_a_trigger_of_the_source_does_not_keep_its_table_from_being_rebuilt(places: tuple[Path, Path]) -> None:
    source, destination = places
    await move(source, destination)
    run(source, "ALTER TABLE note ADD COLUMN extra TEXT DEFAULT 'x'")
    run(destination, "DELETE FROM _pipeline_marks")
    await move(source, destination)
    run(source, "ALTER TABLE note DROP COLUMN extra")
    run(destination, "DELETE FROM _pipeline_marks")
    await move(source, destination)
    assert objects(destination) == objects(source)
    assert rows(destination, "SELECT sql FROM sqlite_schema WHERE name = 'note'") == rows(
        source, "SELECT sql FROM sqlite_schema WHERE name = 'note'"
    )


@pytest.mark.parametrize("event", ["INSERT", "DELETE"])
async def test_a_view_that_changes_keeps_its_triggers_and_gets_changed_ones(
    places: tuple[Path, Path], event: str
) -> None:
    source, destination = places
    trigger = "CREATE TRIGGER adds INSTEAD OF {} ON bodies BEGIN INSERT INTO log VALUES (1); END"
    run(source, trigger.format("INSERT"))
    await move(source, destination)
    run(source, "DROP VIEW bodies", "CREATE VIEW bodies AS SELECT id, body FROM note", trigger.format(event))
    run(destination, "DELETE FROM _pipeline_marks", "UPDATE _pipeline_objects SET wanted = NULL")
    items = await move(source, destination)
    assert {item.fate for item in items} == {Fate.MOVED}
    assert objects(destination) == objects(source)
