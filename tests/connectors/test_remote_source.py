"""A source that is read in a subprocess passes the contract of every source."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest
from blake3 import blake3

from pipeline.connectors.files import FilesSource
from pipeline.connectors.remote_source import RemoteSource
from pipeline.connectors.sqlite import SqliteSource
from pipeline.domain.errors import TransientError
from pipeline.domain.ids import BinaryId
from pipeline.ports.object_store import OpenBody
from pipeline.ports.source import UnreadRows, UpsertSink
from tests.connectors.sqlite.databases import run
from tests.contracts.source import SourceContract, SourceWorld, read_first

pytestmark = pytest.mark.slow


def remote(path: Path) -> RemoteSource:
    """Return a source that reads a database in a subprocess."""
    return RemoteSource(partial(SqliteSource, path))


async def end_process(open_body: OpenBody) -> BinaryId:
    """End the process that stores a content."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


async def digest(open_body: OpenBody) -> BinaryId:
    """Return the id of a content."""
    async with open_body() as pieces:
        return BinaryId(blake3(b"".join([piece async for piece in pieces])).hexdigest())


class TestRemoteSource(SourceContract):
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
            source=remote(path),
            again=remote(path),
            missing=remote(path.with_name("missing.db")),
            change_one_row=lambda: run(path, "UPDATE album SET title = 'changed' WHERE id = 3"),
            is_isolated=True,
        )


async def test_rows_hashes_and_lines_equal_those_of_the_source(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    make_source = partial(FilesSource, tmp_path, checksum=True)
    async with make_source().open_snapshot() as here, RemoteSource(make_source).open_snapshot() as there:
        (schema,) = await there.streams()
        async with here.open_rows(schema) as own_blocks, there.open_rows(schema) as blocks:
            own, block = await anext(aiter(own_blocks)), await anext(aiter(blocks))
            assert not isinstance(own, UnreadRows)
            assert not isinstance(block, UnreadRows)
            assert (list(own.keys()), own.row_hashes()) == (list(block.keys()), block.row_hashes())
            assert await own.upserts([0, 1], UpsertSink(digest)) == await block.upserts([0, 1], UpsertSink(digest))


async def test_contents_are_stored_by_the_function_of_each_call_in_the_subprocess(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    async with RemoteSource(partial(FilesSource, tmp_path)).open_snapshot() as snapshot:
        (schema,) = await snapshot.streams()
        async with snapshot.open_rows(schema) as blocks:
            block = await anext(aiter(blocks))
            assert not isinstance(block, UnreadRows)
            with pytest.raises(TransientError, match=r"that reads file:.* ended unexpectedly"):
                await block.upserts([0], UpsertSink(end_process))


async def test_hashes_come_with_later_blocks_once_they_were_used(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    run(
        path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY)",
        "INSERT INTO t VALUES (?)",
        values=[(n,) for n in range(20_000)],
    )
    own = (await read_first(SqliteSource(path))).hashes
    async with remote(path).open_snapshot() as snapshot:
        (schema,) = await snapshot.streams()
        async with snapshot.open_rows(schema) as blocks:
            found = [
                (block._summary.hashes is not None, block.row_hashes())
                async for block in blocks
                if not isinstance(block, UnreadRows)
            ]
    assert b"".join(hashes for _, hashes in found) == b"".join(own)
    assert [came for came, _ in found][:2] == [False, False]
    assert all(came for came, _ in found[2:])
