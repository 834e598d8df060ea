"""Small files are read and written in batches, and each is still a record of its own when something is wrong with it."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import orjson
import pytest
from anyio import to_thread
from structlog.testing import capture_logs

from pipeline.connectors.files import FilesDestination, FilesSource
from pipeline.connectors.files.loading import tree_writer
from pipeline.domain.errors import RefusedError
from pipeline.domain.ids import BinaryId
from pipeline.domain.keys import Key
from pipeline.ports.destination import Loaded
from pipeline.ports.source import UnreadRows, UpsertSink
from tests.connectors.files.moving import (
    FLOW,
    MemoryBinaries,
    Row,
    TreeFlow,
    described,
    file_id,
    hashes_of,
    to_load,
    upsert_line,
)

FILES = 300


def fill(root: Path, count: int = FILES) -> None:
    """Files in three directories, of 0 bytes to some kilobytes; some hundred go into a batch."""
    for number in range(count):
        file = root / f"d{number % 3}" / f"{number:04}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(f"{number} ".encode() * (number * 7 % 900))


class Read:
    """The rows of a tree, the rejected ones with their reasons, the hashes, and what is stored."""

    def __init__(self) -> None:
        self.binaries = MemoryBinaries()
        self.rows: dict[object, Row] = {}
        self.rejected: dict[Key, str] = {}
        self.hashes: dict[Key, bytes] = {}

    async def read(self, root: Path, between: Callable[[], object] = lambda: None) -> Read:
        """Read the tree. `between` runs when its entries are listed and no content is read yet."""
        async with FilesSource(root).open_snapshot() as snapshot:
            (schema,) = await snapshot.streams()
            async with snapshot.open_rows(schema) as blocks:
                async for block in blocks:
                    assert not isinstance(block, UnreadRows)
                    keys = block.keys()
                    self.hashes |= zip(keys, hashes_of(block), strict=True)
                    between()
                    sink = UpsertSink(self.binaries.store, self.binaries.store_contents)
                    lines = await block.upserts(range(len(block)), sink)
                    self.rejected |= {keys[at]: why.reason for at, why in sink.rejected.items()}
                    self.rows |= {row["path"]: row for row in (orjson.loads(it)["upsert"] for it in lines.splitlines())}
        return self

    def content(self, path: str) -> bytes:
        return self.binaries.contents[BinaryId(str(self.rows[path]["digest"]))]


async def test_many_small_files_take_few_calls_of_threads_on_both_sides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "source", 1000)
    calls = 0
    run_sync: Callable[..., Awaitable[object]] = to_thread.run_sync

    async def counted(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        return await run_sync(*arguments, **options)

    monkeypatch.setattr(to_thread, "run_sync", counted)
    flow = TreeFlow(tmp_path / "source", tmp_path / "destination", records_per_file=2000)
    assert await flow.move() == 1003
    assert described(tmp_path / "source") == described(tmp_path / "destination")
    assert calls < 450  # the 335 blocks of the Event File, of three records each, take a call each


async def test_files_that_vanish_or_may_not_be_read_are_rejected_alone(unprivileged: Path) -> None:
    fill(unprivileged)

    def meddle() -> None:
        (unprivileged / "d1" / "0100").unlink()
        (unprivileged / "d1" / "0103").chmod(0)
        (unprivileged / "d1" / "0106").unlink()
        (unprivileged / "d1" / "0106").symlink_to("/etc/passwd")

    read = await Read().read(unprivileged, meddle)
    assert {key: reason.split(": ")[1].split(";")[0] for key, reason in read.rejected.items()} == {
        ("d1/0100",): "No such file or directory",
        ("d1/0103",): "Permission denied",
        ("d1/0106",): "Too many levels of symbolic links",
    }
    assert len(read.rows) == FILES + 3 - 3
    assert read.content("d1/0109") == b"109 " * (109 * 7 % 900)


async def test_a_file_that_changes_while_its_batch_is_read_is_read_again_or_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path)
    once, always = tmp_path / "d0" / "0003", tmp_path / "d0" / "0006"
    once.write_bytes(b"before")
    always.write_bytes(b"before")
    versions = {once: [b"after!"], always: [b"after%d" % number for number in range(9)]}
    paths = {path.stat().st_ino: path for path in versions}
    pread = os.pread

    def meddling(fd: int, size: int, offset: int) -> bytes:
        data = pread(fd, size, offset)
        path = paths.get(os.fstat(fd).st_ino)
        if path is not None and versions[path]:
            path.write_bytes(versions[path].pop(0))
        return data

    monkeypatch.setattr(os, "pread", meddling)
    with capture_logs() as logs:
        read = await Read().read(tmp_path)
    assert read.content("d0/0003") == b"after!"
    assert read.content("d0/0006") == b"after1"
    assert [(log["event"], log["path"]) for log in logs] == [("file_changed_while_read", "d0/0006")]
    monkeypatch.undo()
    again = await Read().read(tmp_path)
    looked_at_again = {key for key, digest in read.hashes.items() if again.hashes[key] != digest}
    assert looked_at_again == {("d0/0003",), ("d0/0006",)}


async def test_a_small_file_that_has_grown_large_is_stored_whole(tmp_path: Path) -> None:
    fill(tmp_path)
    large = os.urandom(3_000_000)
    read = await Read().read(tmp_path, lambda: (tmp_path / "d0" / "0003").write_bytes(large))
    assert read.content("d0/0003") == large
    assert read.rows["d0/0003"]["size"] == len(large)
    assert len(read.rows) == FILES + 3


def lines_of(binaries: MemoryBinaries, count: int = FILES) -> list[bytes]:
    """Records of small files in one directory, all with other contents."""
    contents = [f"{number} ".encode() * 100 for number in range(count)]
    return [
        upsert_line(f"d/{number:04}", size=len(content), digest=binaries.add(content))
        for number, content in enumerate(contents)
    ]


async def load(root: Path, lines: Sequence[bytes], binaries: MemoryBinaries) -> Loaded:
    async with FilesDestination(root).open(FLOW) as session:
        outcome = await session.load(to_load(file_id(1), lines, binaries), after=[])
        assert isinstance(outcome, Loaded)
        await session.finish([file_id(1).stream])
        return outcome


def staged(root: Path) -> list[Path]:
    return list((root / ".pipeline-import" / "incoming").iterdir())


async def test_a_name_that_is_too_long_rejects_its_record_alone(tmp_path: Path) -> None:
    root, binaries = tmp_path / "tree", MemoryBinaries()
    lines = lines_of(binaries)
    lines[100] = upsert_line("d/" + "n" * 256, size=3, digest=binaries.add(b"one"))
    outcome = await load(root, lines, binaries)
    assert [(it.line, it.column) for it in outcome.rejections] == [(102, "path")]
    assert (outcome.mark.upserts, outcome.mark.binaries) == (FILES - 1, FILES - 1)
    assert len(list((root / "d").iterdir())) == FILES - 1
    assert staged(root) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a directory to another user")
async def test_a_directory_that_may_not_be_written_to_rejects_the_records_below_it_alone(unprivileged: Path) -> None:
    root, binaries = unprivileged / "tree", MemoryBinaries()
    (root / "closed").mkdir(parents=True)
    lines = lines_of(binaries)
    lines[50:50] = [upsert_line(f"closed/{at}", size=6, digest=binaries.add(b"closed")) for at in range(2)]
    os.seteuid(0)
    os.chown(root / "closed", 0, 0)
    os.seteuid(65534)
    outcome = await load(root, lines, binaries)
    assert [(it.key, it.column) for it in outcome.rejections] == [('["closed/0"]', "path"), ('["closed/1"]', "path")]
    assert all("Permission denied; grant" in it.reason for it in outcome.rejections)
    assert len(list((root / "d").iterdir())) == FILES
    os.seteuid(0)
    os.chown(root / "closed", 65534, 65534)
    os.seteuid(65534)
    binaries.contents.clear()  # the contents of the rejected records are kept at the destination
    async with FilesDestination(root).open(FLOW) as session:
        assert await session.retry_rejected() == []
    assert {path.read_bytes() for path in (root / "closed").iterdir()} == {b"closed"}


async def test_a_full_disk_in_a_batch_is_an_error_and_the_next_load_completes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, binaries = tmp_path / "tree", MemoryBinaries()
    lines = lines_of(binaries)
    written, pwrite = [0], os.pwrite

    def full(fd: int, data: memoryview, offset: int) -> int:
        written[0] += 1
        if written[0] > 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(fd, data, offset)

    with monkeypatch.context() as limited:
        limited.setattr("pipeline.sparse_files.os.pwrite", full)
        with pytest.raises(RefusedError, match="free some space"):
            await load(root, lines, binaries)
    assert staged(root) == []
    placed = {path.name: path.stat().st_ino for path in (root / "d").iterdir()}
    assert 0 < len(placed) <= 100
    outcome = await load(root, lines, binaries)
    assert outcome.mark.binaries == FILES - len(placed)
    assert {path.name: path.read_bytes() for path in (root / "d").iterdir()} == {
        f"{number:04}": f"{number} ".encode() * 100 for number in range(FILES)
    }
    assert placed.items() <= {path.name: path.stat().st_ino for path in (root / "d").iterdir()}.items()


async def test_what_the_device_has_lost_is_an_error_and_not_marked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, binaries = tmp_path / "tree", MemoryBinaries()
    lines = lines_of(binaries)
    asked = []

    def lost(fd: int) -> None:
        asked.append(fd)
        raise OSError(errno.EIO, "Input/output error")

    async with FilesDestination(root).open(FLOW) as session:
        monkeypatch.setattr(tree_writer, "sync_file_system", lost)
        with pytest.raises(RefusedError, match="could not keep what was written: Input/output error"):
            await session.load(to_load(file_id(1), lines, binaries), after=[])
        assert await session.marks() == {}
        monkeypatch.undo()
        assert isinstance(await session.load(to_load(file_id(1), lines, binaries), after=[]), Loaded)
    assert len(asked) == 1  # one call for all files


def test_a_file_system_that_cannot_be_written_to_its_device_is_an_error() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        tree_writer.sync_file_system(-1)


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM])
def test_all_file_systems_are_written_where_the_call_for_one_is_not_allowed(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    class Libc:
        def syncfs(self, fd: int) -> int:
            ctypes.set_errno(code)
            return -1

    written: list[str] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name, use_errno: Libc())
    monkeypatch.setattr(os, "sync", lambda: written.append("all"))
    tree_writer.sync_file_system(-1)
    assert written == ["all"]


KILLED = """
    import os, signal, sys
    from pathlib import Path
    import anyio
    from pipeline.connectors.files import FilesDestination
    from tests.connectors.files.moving import FLOW, MemoryBinaries, file_id, to_load
    from tests.connectors.files.test_batches import lines_of

    calls, rename = [0], os.rename

    def dying(*arguments, **options):
        calls[0] += 1
        if calls[0] > int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        rename(*arguments, **options)

    os.rename = dying

    async def main():
        binaries = MemoryBinaries()
        lines = lines_of(binaries)
        async with FilesDestination(Path(sys.argv[1])).open(FLOW) as session:
            await session.load(to_load(file_id(1), lines, binaries), after=[])

    anyio.run(main)
"""


@pytest.mark.parametrize("renamed", [0, 1, 137, FILES - 1])
async def test_a_load_that_is_killed_in_a_batch_leaves_whole_files_and_is_completed(
    tmp_path: Path, renamed: int
) -> None:
    root = tmp_path / "tree"
    (root / "d").mkdir(parents=True)
    (root / "d" / "0000").write_bytes(b"old")
    script = [sys.executable, "-c", textwrap.dedent(KILLED), str(root), str(renamed)]
    killed = subprocess.run(script, check=False, cwd=Path(__file__).parents[3])  # noqa: ASYNC221 - it dies at once
    assert killed.returncode == -signal.SIGKILL
    whole = {f"{number:04}": f"{number} ".encode() * 100 for number in range(FILES)}
    found = {path.name: path.read_bytes() for path in (root / "d").iterdir()}
    assert found.items() <= (whole | {"0000": found["0000"]}).items()
    assert found["0000"] in (b"old", whole["0000"])
    assert renamed <= len(found) <= renamed + 1
    assert 1 <= len(staged(root)) <= 2
    binaries = MemoryBinaries()
    outcome = await load(root, lines_of(binaries), binaries)
    assert outcome.mark.binaries == FILES - renamed
    assert {path.name: path.read_bytes() for path in (root / "d").iterdir()} == whole
    assert staged(root) == []
