"""Files that are written to while they are read: what is stored is a content that was there, and is looked at again."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pipeline.connectors.files import FilesSource
from pipeline.connectors.files.reading.contents import TICK_SECONDS, settle
from pipeline.domain.ids import BinaryId, FlowName
from pipeline.domain.keys import Key
from pipeline.engine.storage.binaries import BinaryFiles
from pipeline.ports.object_store import OpenBody
from pipeline.ports.reporter import SilentReporter
from pipeline.ports.source import UnreadRows
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.connectors.files.moving import MemoryBinaries, Row, hashes_of, rows_of

LARGE = 3 * 1024 * 1024


class Meddler(MemoryBinaries):
    """Stores contents, and meddles with the source after the first piece of every reading."""

    def __init__(self, meddle: Callable[[], object]) -> None:
        super().__init__()
        self._meddle = meddle

    async def store(self, open_body: OpenBody) -> BinaryId:
        return await super().store(self.meddled(open_body))

    def meddled(self, open_body: OpenBody) -> OpenBody:
        @asynccontextmanager
        async def reopen() -> AsyncIterator[AsyncIterator[bytes]]:
            async with open_body() as pieces:
                yield self._meddled(aiter(pieces))

        return reopen

    async def _meddled(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        yield await anext(pieces)
        self._meddle()
        async for piece in pieces:
            yield piece


async def one_row(root: Path, binaries: MemoryBinaries) -> tuple[Row, bytes, bytes]:
    """The only row, its content, and the hash that went with it."""
    async with FilesSource(root).open_snapshot() as snapshot:
        (schema,) = await snapshot.streams()
        async with snapshot.open_rows(schema) as blocks:
            (hashed,) = [
                row_hash async for block in blocks if not isinstance(block, UnreadRows) for row_hash in hashes_of(block)
            ]
    (row,) = await rows_of(FilesSource(root), binaries)
    return row, binaries.contents[BinaryId(str(row["digest"]))], hashed


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


async def hash_now(root: Path) -> bytes:
    return (await one_row(root, MemoryBinaries()))[2]


@pytest.mark.parametrize("size", [0, 10, LARGE])
async def test_a_log_that_grows_gives_what_it_held_at_one_moment(tmp_path: Path, size: int) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"x" * size)

    def append() -> None:
        with log.open("ab") as file:
            file.write(b"y" * 1000)

    row, content, hashed = await one_row(tmp_path, Meddler(append) if size else MemoryBinaries())
    assert (row["size"], content) == (size, b"x" * size)
    if size:
        assert hashed != await hash_now(tmp_path)


async def test_a_file_that_grew_after_its_block_was_built_is_stored_as_it_is_and_looked_at_again(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"old")
    before = await hash_now(tmp_path)
    binaries = MemoryBinaries()
    (row,) = await rows_of(FilesSource(tmp_path), binaries, lambda: _write(log, b"newer"))
    assert row["size"] == 5
    assert row["mtime_ns"] == log.stat().st_mtime_ns
    assert binaries.contents[BinaryId(str(row["digest"]))] == b"newer"
    assert before != await hash_now(tmp_path)


async def test_a_file_that_is_cut_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"x" * LARGE)
    row, content, _ = await one_row(tmp_path, Meddler(lambda: os.truncate(file, 5000)))
    assert (row["size"], content) == (5000, b"x" * 5000)


async def test_a_file_that_changes_at_every_reading_is_stored_from_a_copy_and_named(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"\0" * LARGE)
    counter = iter(range(1, 100))

    def rewrite() -> None:
        with file.open("r+b") as opened:
            opened.seek(LARGE - 10)
            opened.write(bytes([next(counter)]))

    with capture_logs() as logs:
        row, content, hashed = await one_row(tmp_path, Meddler(rewrite))
    assert row["size"] == LARGE == len(content)
    assert [(log["event"], log["path"]) for log in logs] == [("file_changed_while_read", "f")]
    assert hashed != await hash_now(tmp_path)


async def test_a_file_that_changes_between_the_two_readings_of_the_engine_is_stored_from_a_copy(tmp_path: Path) -> None:
    """The engine reads a large file twice, first for its digest."""
    file, counter = tmp_path / "f", iter(range(1, 100))
    file.write_bytes(b"\0" * LARGE)
    binaries = BinaryFiles(MemoryObjectStore(), FlowName("f"), SilentReporter())

    class Rewriting(Meddler):
        async def store(self, open_body: OpenBody) -> BinaryId:
            return await binaries.store(self.meddled(open_body))

    def rewrite() -> None:
        with file.open("r+b") as opened:
            opened.seek(LARGE - 10)
            opened.write(bytes([next(counter)]))

    with capture_logs() as logs:
        (row,) = await rows_of(FilesSource(tmp_path), Rewriting(rewrite))
    assert [(log["event"], log["path"]) for log in logs] == [("file_changed_while_read", "f")]
    assert await binaries.size(BinaryId(str(row["digest"]))) == row["size"] == LARGE


async def test_a_change_right_after_the_reading_shows_in_the_hash(tmp_path: Path) -> None:
    """Kernels before 6.13 date two changes within a tick alike, so there this holds by the wait alone."""
    file = tmp_path / "f"
    for _ in range(15):
        file.write_bytes(b"one")
        os.utime(file, ns=(0, 7))
        _, content, before = await one_row(tmp_path, MemoryBinaries())
        assert content == b"one"
        file.write_bytes(b"two")
        os.utime(file, ns=(0, 7))
        assert before != await hash_now(tmp_path)


async def test_a_file_is_read_only_when_its_last_change_is_older_than_a_tick(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.touch()
    settle(file.stat())
    assert time.time_ns() - file.stat().st_ctime_ns >= TICK_SECONDS * 0.99e9


@pytest.mark.parametrize("replacement", ["nothing", "fifo", "link", "directory"])
async def test_a_file_that_is_gone_when_its_content_is_wanted_is_rejected(tmp_path: Path, replacement: str) -> None:
    file = tmp_path / "f"
    file.touch()

    def replace() -> None:
        file.unlink()
        if replacement == "fifo":
            os.mkfifo(file)
        elif replacement == "link":
            file.symlink_to("/etc/passwd")
        elif replacement == "directory":
            file.mkdir()

    (tmp_path / "other").touch()
    rejected: dict[Key, str] = {}
    (row,) = await rows_of(FilesSource(tmp_path), MemoryBinaries(), replace, rejected)
    assert row["path"] == "other"
    assert "it changed while the pipeline was working" in rejected["f",]


async def test_a_directory_that_becomes_a_link_between_is_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    (root / "d" / "f").write_bytes(b"mine")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "f").write_bytes(b"secret")

    def replace() -> None:
        (root / "d").rename(tmp_path / "away")
        (root / "d").symlink_to("../other")

    rejected: dict[Key, str] = {}
    await rows_of(FilesSource(root), MemoryBinaries(), replace, rejected)
    assert sorted(rejected) == [("d",), ("d/f",)]
