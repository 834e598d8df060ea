"""A source read in a process of its own keeps what every source keeps, and leaves no process behind."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from pathlib import Path

import pytest

from pipeline.connectors.apart import ApartSource
from pipeline.connectors.files import FilesSource
from pipeline.connectors.sqlite import SqliteSource
from pipeline.domain.errors import TransientError
from pipeline.engine.verify_stream import digest_only
from tests.connectors.sqlite.databases import run
from tests.contracts.source import SourceContract, SourceWorld, read_first


def apart(path: Path) -> ApartSource:
    """Read a database in another process."""
    return ApartSource(SqliteSource(path), digest_only)


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
    here, there = await read_first(source), await read_first(ApartSource(source, digest_only))
    assert (here.keys, here.hashes, here.lines) == (there.keys, there.hashes, there.lines)


async def test_no_process_is_left_behind(tmp_path: Path) -> None:
    run(tmp_path / "app.db", "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1)")

    async def fail() -> None:
        async with apart(tmp_path / "app.db").open_snapshot():
            assert len(multiprocessing.active_children()) == 1
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert multiprocessing.active_children() == []


async def test_a_process_that_dies_is_told_and_it_can_be_tried_again(tmp_path: Path) -> None:
    run(tmp_path / "app.db", "CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    async with apart(tmp_path / "app.db").open_snapshot() as snapshot:
        (child,) = multiprocessing.active_children()
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(TransientError, match="has ended unexpectedly"):
            await snapshot.streams()


def test_sources_can_be_sent_to_another_process(tmp_path: Path) -> None:
    postgres = pytest.importorskip("pipeline.connectors.postgres")
    for source in (
        SqliteSource(tmp_path / "app.db"),
        FilesSource(tmp_path, checksum=True, exclude=[tmp_path / "x"]),
        postgres.PostgresSource("postgresql://localhost/app"),
    ):
        assert pickle.loads(pickle.dumps(source)).location == source.location
