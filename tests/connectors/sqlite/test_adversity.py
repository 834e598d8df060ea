"""A destination that is locked, full, read-only, damaged or something else: one clear error, and nothing half-applied."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anyio
import apsw
import pytest

from pipeline.connectors.sqlite import SqliteDestination, SqliteSource
from pipeline.connectors.sqlite.connection import open_destination
from pipeline.connectors.sqlite.loading.destination import SqliteDestinationSession
from pipeline.domain.errors import ConfigurationError, DamagedError, RefusedError, TransientError
from tests.connectors.sqlite.databases import load, rows, run, spoil
from tests.connectors.sqlite.test_destination import held, item, items
from tests.contracts.destination import FLOW


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "destination.db"


async def test_a_locked_database_is_a_passing_condition(path: Path) -> None:
    await load(path, items(item(1, "x")))
    writer = apsw.Connection(str(path))
    async with SqliteDestination(path, busy_timeout_seconds=0.05).open(FLOW) as session:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(TransientError, match=r"destination\.db, table item"):
            await session.load(items(item(2, "y"), chunk=1), after=[])
        writer.execute("ROLLBACK")
        await session.load(items(item(2, "y"), chunk=1), after=[])
    writer.close()
    assert len(held(path)) == 2


async def test_a_full_disk_fails_the_file_and_leaves_nothing_of_it(path: Path) -> None:
    await load(path, items(item(1, "x")))
    connection = open_destination(path, 1.0)
    pages = connection.execute("PRAGMA page_count").get
    assert isinstance(pages, int)
    connection.execute(f"PRAGMA max_page_count={pages + 5}").fetchall()
    session = SqliteDestinationSession(connection, FLOW, "sqlite:///full.db")
    full = items(*[item(n, "x" * 1000) for n in range(2, 2000)], chunk=1)
    with pytest.raises(RefusedError, match="the disk is full"):
        await session.load(full, after=[])
    assert len(await session.marks()) == 1
    connection.close()
    assert held(path) == [(1, "x", None)]


def test_a_place_of_another_kind_is_named_and_left_as_it_is(path: Path, tmp_path: Path) -> None:
    path.write_bytes(b"not a database at all " * 100)
    for place, words in ((path, "is not an SQLite database"), (tmp_path, "is not a file")):
        with pytest.raises(ConfigurationError, match=words):
            anyio.run(load, place, items(item(1, "x")))
    assert path.read_bytes() == b"not a database at all " * 100


async def test_a_damaged_database_is_an_error(path: Path) -> None:
    await load(path, items(*[item(n, "x" * 500) for n in range(2000)]))
    spoil(path, 100)
    with pytest.raises(DamagedError, match=r"destination\.db"):
        await load(path, items(item(1, "y"), chunk=1))


async def test_triggers_of_the_destination_do_not_fire(path: Path) -> None:
    run(
        path,
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name, size)",
        "CREATE TABLE log (id)",
        "CREATE TRIGGER aborts BEFORE INSERT ON item WHEN new.id = 3 BEGIN SELECT RAISE(ABORT, 'not three'); END",
        "CREATE TRIGGER writes AFTER INSERT ON item BEGIN INSERT INTO log VALUES (new.id); END",
    )
    loaded = await load(path, items(*[item(n, "x") for n in range(5)]))
    assert loaded.rejections == ()
    assert [row[0] for row in held(path)] == [0, 1, 2, 3, 4]
    assert rows(path, "SELECT * FROM log") == []


async def test_rows_may_be_loaded_before_those_they_refer_to(path: Path) -> None:
    run(
        path,
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name, size REFERENCES item(id))",
        "CREATE TABLE note (item REFERENCES item(id) ON DELETE CASCADE)",
        "INSERT INTO item VALUES (1, 'old', NULL)",
        "INSERT INTO note VALUES (1)",
    )
    loaded = await load(path, items(item(2, "b", 3), item(3, "c", 2), item(1, "new", 2)))
    assert loaded.rejections == ()
    assert rows(path, "SELECT * FROM note") == [(1,)]


async def test_an_existing_database_keeps_its_journal_mode(path: Path) -> None:
    run(path, "PRAGMA journal_mode=WAL", "CREATE TABLE other (a)")
    await load(path, items(item(1, "x")))
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


READ_ONLY = """
import anyio, os, sys
from pathlib import Path
from tests.connectors.sqlite.databases import load
from tests.connectors.sqlite.test_destination import item, items
async def main():
    if os.geteuid() == 0:
        os.setgid(65534), os.setuid(65534)
    try:
        await load(Path(sys.argv[1]), items(item(1, "x")))
    except Exception as error:
        print(type(error).__name__, error)
anyio.run(main)
"""


@pytest.mark.parametrize("exists", [True, False])
def test_a_destination_that_is_not_writable_is_refused(readable_by_all: Path, exists: bool) -> None:
    path = readable_by_all / "destination.db"
    if exists:
        run(path, "CREATE TABLE other (a)")
        path.chmod(0o444)
    readable_by_all.chmod(0o555)
    command = [sys.executable, "-c", READ_ONLY, str(path)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    assert answer.startswith("RefusedError")
    assert str(path) in answer


async def test_a_database_whose_writer_was_killed_is_refused_until_sqlite_has_taken_the_changes_back(
    path: Path,
) -> None:
    run(path, "CREATE TABLE item (id INTEGER PRIMARY KEY, name)", "INSERT INTO item VALUES (1, zeroblob(100000))")
    write = (
        "import apsw, os, sys; c = apsw.Connection(sys.argv[1]); c.execute('PRAGMA cache_size = 1; BEGIN; "
        "UPDATE item SET name = randomblob(100000)'); os.kill(os.getpid(), 9)"
    )
    await anyio.run_process([sys.executable, "-c", write, str(path)], check=False)
    with pytest.raises(RefusedError, match=r"a process ended while it wrote.*so that SQLite takes them back"):
        async with SqliteSource(path).open_snapshot():
            pass
    assert rows(path, "SELECT count(*) FROM item WHERE name = zeroblob(100000)") == [(1,)]
    async with SqliteSource(path).open_snapshot() as snapshot:
        assert [schema.stream for schema in await snapshot.streams()] == ["item"]
