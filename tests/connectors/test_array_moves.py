"""Whole Movements between databases store arrays of values where the importer reads them, and names elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pipeline.assembly.commands.flows import add_flow_destination, import_flow
from pipeline.assembly.commands.maintenance.manual import compact
from pipeline.assembly.commands.move import move
from pipeline.codec.event_files.event_file import EventFileReader
from pipeline.connectors.postgres import PostgresDestination, PostgresSource
from pipeline.connectors.sqlite import SqliteDestination, SqliteSource
from pipeline.domain.event_file import Header
from pipeline.domain.movement import Status
from pipeline.settings import Settings
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.connectors.postgres.moving import Movements
from tests.connectors.postgres.places import Place
from tests.connectors.sqlite import databases
from tests.fakes.destination import MemoryDestination

CREATE = "CREATE TABLE t (id BIGINT PRIMARY KEY, a TEXT, n DOUBLE PRECISION)"
TEXTS = ["plain", "", "null", ']}\n{"upsert":[', "[1]", "{}", "a\\b", '"q"', "\r\t", "日"]
ROWS = [(at, TEXTS[at % len(TEXTS)], None if at % 7 == 0 else at / 4) for at in range(3000)]
QUERY = "SELECT id, a, n FROM t ORDER BY id"


def literal(value: object) -> str:
    return "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"


def inserts(rows: Sequence[tuple[object, ...]]) -> str:
    return "INSERT INTO t VALUES " + ", ".join(f"({', '.join(map(literal, row))})" for row in rows)


async def stored(store: MemoryObjectStore) -> list[tuple[Header, bytes]]:
    """Return the Event Files with their lines as they are stored."""
    found = []
    for info in await store.list_page("flows/"):
        if "/events/" in info.key:
            reader = EventFileReader(None, arrays=True)
            lines = b"".join(reader.feed((await store.get(info.key)).data))
            reader.close()
            assert reader.header is not None
            found.append((reader.header, lines))
    return found


@pytest.mark.parametrize("here", ["sqlite", "postgres"])
@pytest.mark.parametrize("there", ["sqlite", "postgres"])
async def test_databases_are_moved_as_arrays(make: Callable[[], Place], tmp_path: Path, here: str, there: str) -> None:
    app, copy = tmp_path / "app.db", tmp_path / "copy.db"
    places = {"here": make(), "there": make()}
    if here == "sqlite":
        databases.run(app, CREATE.replace("BIGINT", "INTEGER").replace("DOUBLE PRECISION", "REAL"), inserts(ROWS))
    else:
        places["here"].run(CREATE, inserts(ROWS))
    source = SqliteSource(app) if here == "sqlite" else PostgresSource(places["here"].uri)
    destination = SqliteDestination(copy) if there == "sqlite" else PostgresDestination(places["there"].uri)
    movements = Movements(source, destination)

    def change(*statements: str) -> None:
        if here == "sqlite":
            databases.run(app, *statements)
        else:
            places["here"].run(*statements)

    def copied() -> list[tuple[object, ...]]:
        return databases.rows(copy, QUERY) if there == "sqlite" else places["there"].rows(QUERY)

    first = await movements.move()
    assert (first.status, first.problems, first.totals.upserts) == (Status.SUCCESS, (), len(ROWS))
    assert copied() == ROWS
    files = [(header, lines) for header, lines in await stored(movements.store) if header.schema.stream == "t"]
    assert all(header.arrays and lines.startswith(b'{"upsert":[') for header, lines in files)
    assert sum(lines.count(b'{"upsert":[') for _, lines in files) == len(ROWS)

    change("DELETE FROM t WHERE id = 5", "UPDATE t SET a = 'new' WHERE id = 6")
    second = await movements.move()
    assert (second.status, second.totals.upserts, second.totals.deletes) == (Status.SUCCESS, 1, 1)
    assert copied() == [(id_, "new" if id_ == 6 else a, n) for id_, a, n in ROWS if id_ != 5]
    third = await movements.move()
    assert (third.totals.upserts, third.totals.deletes) == (0, 0)


async def test_the_state_of_a_flow_is_the_same_with_names_and_with_arrays(
    make: Callable[[], Place], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release before this one stored names: nothing is moved again because of it."""
    source, copy = make(), make()
    source.run(CREATE, inserts(ROWS))
    movements = Movements(PostgresSource(source.uri), PostgresDestination(copy.uri))
    with monkeypatch.context() as before:
        before.setattr("pipeline.engine.movers.mover.takes_arrays", lambda _session, _stream: False)
        assert (await movements.move()).status is Status.SUCCESS
    assert not any(header.arrays for header, _ in await stored(movements.store))
    source.run("UPDATE t SET a = 'new' WHERE id = 6")
    second = await movements.move()
    assert (second.status, second.totals.upserts, second.totals.deletes) == (Status.SUCCESS, 1, 0)
    assert copy.rows(QUERY) == [(id_, "new" if id_ == 6 else a, n) for id_, a, n in ROWS]


async def test_other_destinations_get_names(tmp_path: Path) -> None:
    app = tmp_path / "app.db"
    databases.run(app, "CREATE TABLE t (number INTEGER PRIMARY KEY, text)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')")
    movements = Movements(SqliteSource(app), MemoryDestination())
    assert (await movements.move()).status is Status.SUCCESS
    ((header, lines),) = await stored(movements.store)
    assert (header.arrays, lines.count(b'{"upsert":{"number":')) == (False, 2)


async def test_compacted_arrays_reach_a_second_destination(tmp_path: Path) -> None:
    app, settings = tmp_path / "app.db", Settings(home=tmp_path / "home", event_file_rows=1000)
    databases.run(app, CREATE.replace("BIGINT", "INTEGER").replace("DOUBLE PRECISION", "REAL"), inserts(ROWS))
    await move(app, tmp_path / "copy.db", flow="crm", settings=settings)
    for at in range(3):
        databases.run(app, f"UPDATE t SET a = 'new {at}' WHERE id % 10 = {at}", f"DELETE FROM t WHERE id = {100 + at}")
        await move(app, tmp_path / "copy.db", flow="crm", settings=settings)
    compaction = await compact("crm", settings=settings)
    assert compaction.streams
    await add_flow_destination("crm", tmp_path / "second.db", name="second", settings=settings)
    assert (await import_flow("second", settings=settings)).status is Status.SUCCESS
    wanted = databases.rows(app, QUERY)
    assert len(wanted) == len(ROWS) - 3
    assert databases.rows(tmp_path / "copy.db", QUERY) == databases.rows(tmp_path / "second.db", QUERY) == wanted
