"""A source read in a process of its own keeps what every source keeps, and leaves no process behind."""

from __future__ import annotations

import pickle
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import anyio
import pytest

from pipeline.connectors.files import FilesSource
from pipeline.connectors.remote_source import RemoteSource
from pipeline.connectors.sqlite import SqliteSource
from pipeline.domain.errors import TransientError
from pipeline.processes.children import Child, start_child
from tests.connectors.sqlite.databases import run
from tests.contracts.source import SourceContract, SourceWorld, read_first


def apart(path: Path) -> RemoteSource:
    """Read a database in another process."""
    return RemoteSource(SqliteSource(path))


class TestApartSource(SourceContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> SourceWorld:
        path = tmp_path / "app.db"
        run(
            path,
            "PRAGMA journal_mode=WAL",
            "CREATE TABLE album (id INTEGER PRIMARY KEY, title TEXT)",
            "CREATE TABLE tag (name TEXT PRIMARY KEY)",
            "INSERT INTO tag VALUES ('a'), ('b')",
            "INSERT INTO album VALUES (?, ?)",
            values=[(number, f"title {number}") for number in range(9000)],
        )
        return SourceWorld(
            source=apart(path),
            again=apart(path),
            missing=apart(path.with_name("missing.db")),
            change_one_row=lambda: run(path, "UPDATE album SET title = 'changed' WHERE id = 3"),
            is_isolated=True,
        )


async def test_it_tells_the_same_as_the_source_itself(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    source = FilesSource(tmp_path, checksum=True)
    here, there = await read_first(source), await read_first(RemoteSource(source))
    assert (here.keys, here.hashes, here.lines) == (there.keys, there.hashes, there.lines)


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[Child]:
    """The processes that are started."""
    started: list[Child] = []

    def start(module: str) -> tuple[Child, Connection]:
        child, connection = start_child(module)
        started.append(child)
        return child, connection

    monkeypatch.setattr("pipeline.connectors.remote_source.start_child", start)
    return started


async def test_no_process_is_left_behind(tmp_path: Path, children: list[Child]) -> None:
    run(tmp_path / "app.db", "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1)")

    async def fail() -> None:
        async with apart(tmp_path / "app.db").open_snapshot():
            assert [child.poll() for child in children] == [None]
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert [child.returncode for child in children] == [0]


async def test_a_process_that_dies_is_told_and_it_can_be_tried_again(tmp_path: Path, children: list[Child]) -> None:
    run(tmp_path / "app.db", "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    async with apart(tmp_path / "app.db").open_snapshot() as snapshot:
        children[0].kill()
        with pytest.raises(TransientError, match="has ended unexpectedly"):
            await snapshot.streams()


async def test_no_script_of_the_caller_is_run(tmp_path: Path) -> None:
    """As multiprocessing does, which runs a script anew that has no guard around what it does."""
    run(tmp_path / "app.db", "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, anyio\n"
        "from pathlib import Path\n"
        "from pipeline.connectors.remote_source import RemoteSource\n"
        "from pipeline.connectors.sqlite import SqliteSource\n"
        "async def main():\n"
        "    async with RemoteSource(SqliteSource(Path(sys.argv[1]))).open_snapshot() as snapshot:\n"
        "        print([schema.stream for schema in await snapshot.streams()])\n"
        "anyio.run(main)\n"
    )
    done = await anyio.run_process([sys.executable, str(script), str(tmp_path / "app.db")])
    assert done.stdout == b"['t']\n"


def test_sources_can_be_sent_to_another_process(tmp_path: Path) -> None:
    postgres = pytest.importorskip("pipeline.connectors.postgres")
    for source in (
        SqliteSource(tmp_path / "app.db"),
        FilesSource(tmp_path, checksum=True, exclude=[tmp_path / "x"]),
        postgres.PostgresSource("postgresql://localhost/app"),
    ):
        assert pickle.loads(pickle.dumps(source)).location == source.location
