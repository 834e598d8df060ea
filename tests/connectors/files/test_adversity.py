"""What is left when a load is killed, when a limit is met, and when permissions bind."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.connectors.files import FilesDestination
from pipeline.connectors.files.directories import open_root
from pipeline.connectors.files.loading.records import parse_upsert
from pipeline.connectors.files.loading.staging import StagingArea
from pipeline.connectors.files.loading.tree_writer import TreeWriter, exact_name, near_name
from pipeline.domain.errors import DamagedError, RefusedError
from pipeline.ports.destination import Loaded
from tests.connectors.files.conftest import NOBODY, mounted_at
from tests.connectors.files.moving import (
    FLOW,
    MemoryBinaries,
    TreeFlow,
    described,
    file_id,
    to_load,
    upsert_line,
)
from tests.connectors.files.trees import Branch, Leaf, grow
from tests.contracts.store_clauses import same

LARGE = b"new" * 1_000_000

KILLED = """
    import os, signal, sys
    from contextlib import asynccontextmanager
    from pathlib import Path
    import anyio
    from pipeline.connectors.files import FilesDestination
    from tests.connectors.files.moving import FLOW, MemoryBinaries, file_id, to_load, upsert_line

    class Killing(MemoryBinaries):
        @asynccontextmanager
        async def open(self, id_):
            async def pieces():
                content = self.contents[id_]
                yield content[: len(content) // 2]
                os.kill(os.getpid(), signal.SIGKILL)

            yield pieces()

    async def main():
        binaries = Killing()
        line = upsert_line("f", size=3_000_000, digest=binaries.add(b"new" * 1_000_000))
        async with FilesDestination(Path(sys.argv[1])).open(FLOW) as session:
            await session.load(to_load(file_id(1), [line], binaries), after=[])

    anyio.run(main)
"""


async def test_a_load_that_is_killed_leaves_the_old_file_and_nothing_once_it_is_done_again(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    (root / "f").write_bytes(b"old")
    script = [sys.executable, "-c", textwrap.dedent(KILLED), str(root)]
    killed = subprocess.run(script, check=False, cwd=Path(__file__).parents[3])  # noqa: ASYNC221 - it dies at once
    assert killed.returncode == -signal.SIGKILL
    assert (root / "f").read_bytes() == b"old"
    assert described(root).keys() == {b"f"}
    assert len(list((root / ".pipeline-import" / "incoming").iterdir())) == 1
    binaries = MemoryBinaries()
    line = upsert_line("f", size=len(LARGE), digest=binaries.add(LARGE))
    async with FilesDestination(root).open(FLOW) as session:
        assert await session.marks() == {}
        assert isinstance(await session.load(to_load(file_id(1), [line], binaries), after=[]), Loaded)
    same(LARGE, (root / "f").read_bytes())
    assert list((root / ".pipeline-import" / "incoming").iterdir()) == []


async def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "tree"
    binaries = MemoryBinaries()
    line = upsert_line("f", size=len(LARGE), digest=binaries.add(LARGE))
    written, pwrite = [0], os.pwrite

    def full(fd: int, data: memoryview, offset: int) -> int:
        written[0] += len(data)
        if written[0] > 1_500_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(fd, data, offset)

    async with FilesDestination(root).open(FLOW) as session:
        monkeypatch.setattr("pipeline.sparse_files.os.pwrite", full)
        with pytest.raises(RefusedError, match="free some space"):
            await session.load(to_load(file_id(1), [line], binaries), after=[])
        assert await session.marks() == {}
    assert described(root).keys() == set()
    assert list((root / ".pipeline-import" / "incoming").iterdir()) == []


@contextmanager
def largest_file(max_bytes: int) -> Iterator[None]:
    """A stand-in for a file system that takes no larger files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_file_too_large_for_the_file_system_rejects_its_record_alone(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    binaries = MemoryBinaries()
    lines = [upsert_line(name, size=len(data), digest=binaries.add(data)) for name, data in (("f", LARGE), ("g", b"x"))]
    async with FilesDestination(root).open(FLOW) as session:
        with largest_file(1_500_000):
            outcome = await session.load(to_load(file_id(1), lines, binaries), after=[])
        assert isinstance(outcome, Loaded)
        (rejection,) = outcome.rejections
        assert (rejection.line, rejection.column, outcome.mark.upserts) == (2, "size", 1)
        assert len(await session.retry_rejected()) == 1
    assert described(root).keys() == {b"g"}
    assert list((root / ".pipeline-import" / "incoming").iterdir()) == []


@contextmanager
def as_root() -> Iterator[None]:
    user = os.geteuid()
    os.seteuid(0)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files to another user")
async def test_what_this_user_may_not_change_rejects_its_records_alone(unprivileged: Path) -> None:
    source, destination = unprivileged / "source", unprivileged / "destination"
    for name in ("d/changed", "d/removed", "d/sub/f", "e"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("old")
    flow = TreeFlow(source, destination)
    await flow.move()
    with as_root():
        os.chown(destination / "d", 0, 0)
    for name in ("d/changed", "d/sub/f", "e"):
        (source / name).write_text("new")
    (source / "d" / "removed").unlink()
    for _ in range(2):  # each Movement says so again
        await flow.move()
        assert [(destination / name).read_text() for name in ("d/changed", "d/sub/f", "e")] == ["old", "new", "new"]
        (rejection,) = flow.rejections
        assert "d/changed" in rejection.key
        assert "grant this user the permission" in rejection.reason
        assert [violation.message.split(":")[0] for violation in flow.violations] == [
            "'d/removed' is gone from the source, and stays here",
            "a directory keeps its permissions and time",
        ]
    with as_root():
        os.chown(destination / "d", NOBODY, NOBODY)
    await flow.move()
    assert (flow.rejections, flow.violations) == ([], [])
    assert described(source) == described(destination)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files to another user")
async def test_a_directory_that_is_placed_on_a_later_try_gets_its_permissions_and_time(unprivileged: Path) -> None:
    source, destination = unprivileged / "source", unprivileged / "destination"
    (source / "d").mkdir(parents=True)
    flow = TreeFlow(source, destination)
    await flow.move()
    with as_root():
        os.chown(destination / "d", 0, 0)
    grow(source / "d", {b"new": Branch({b"f": Leaf(b"content", None, 0o440, 5)}, 0o550, 7)})
    await flow.move()
    assert len(flow.rejections) == 2
    with as_root():
        os.chown(destination / "d", NOBODY, NOBODY)
    async with flow.destination.open(FLOW) as session:
        assert await session.retry_rejected() == []
    assert described(source) == described(destination)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a directory to any group")
async def test_a_directory_of_the_destination_keeps_its_own_permissions_and_group_bit(unprivileged: Path) -> None:
    source, destination = unprivileged / "source", unprivileged / "destination"
    (source / "d").mkdir(parents=True)
    (source / "d" / "f").write_text("old")
    flow = TreeFlow(source, destination)
    await flow.move()
    with as_root():
        os.chown(destination / "d", NOBODY, 4711)  # a group in which this user is not
        (destination / "d").chmod(0o2770)
    (source / "d" / "f").write_text("new")
    await flow.move()
    assert (flow.rejections, flow.violations) == ([], [])
    assert (destination / "d" / "f").read_text() == "new"
    assert stat.S_IMODE((destination / "d").stat().st_mode) == 0o2770


@pytest.mark.skipif(os.getuid() != 0, reason="only root may make a file immutable")
async def test_an_immutable_file_at_the_destination_rejects_its_record_alone(tmp_path: Path) -> None:
    source, destination = tmp_path / "source", tmp_path / "destination"
    source.mkdir()
    for name in ("f", "g"):
        (source / name).write_text("old")
    flow = TreeFlow(source, destination)
    await flow.move()
    for name in ("f", "g"):
        (source / name).write_text("new")
    if shutil.which("chattr") is None:
        pytest.skip("no chattr")
    if subprocess.run(["chattr", "+i", destination / "f"], check=False, capture_output=True).returncode:  # noqa: ASYNC221
        pytest.skip("no flags on this file system")
    try:
        await flow.move()
        assert [(destination / name).read_text() for name in ("f", "g")] == ["old", "new"]
        assert len(flow.rejections) == 1
    finally:
        subprocess.run(["chattr", "-i", destination / "f"], check=True)  # noqa: ASYNC221
    await flow.move()
    assert flow.rejections == []
    assert (destination / "f").read_text() == "new"


async def test_directories_without_write_permission_are_filled_and_changed(unprivileged: Path) -> None:
    source, destination = unprivileged / "source", unprivileged / "destination"
    leaf = Leaf(b"one", None, 0o400, 1)
    flow = TreeFlow(source, destination)
    for content in (b"one", b"two"):
        inner = Branch({b"f": Leaf(content, None, 0o444, 3), b"g": leaf}, 0o555, 4)
        outer = Branch({b"inner": inner, b"link": Leaf(b"", b"f", 0, 6)}, 0o500, 5)
        grow(source, {b"outer": outer})
        await flow.move()
        assert described(source) == described(destination)
    (source / "outer" / "inner").chmod(0o700)
    (source / "outer").chmod(0o700)
    grow(source, {})
    await flow.move()
    assert described(destination) == {}


async def test_a_directory_widened_by_a_load_that_failed_is_narrowed_again(unprivileged: Path) -> None:
    root = unprivileged / "tree"
    binaries = MemoryBinaries()
    lines = [upsert_line("d", "directory", mode=0o555, mtime_ns=5)]
    async with FilesDestination(root).open(FLOW) as session:
        await session.load(to_load(file_id(1), lines, binaries), after=[])
        await session.finish([file_id(1).stream])
        line = upsert_line("d/f", digest=binaries.add(b"x"))
        binaries.contents = dict.fromkeys(binaries.contents, b"other")
        with pytest.raises(KeyError):
            await session.load(to_load(file_id(2), [line], MemoryBinaries()), after=[])
        assert stat.S_IMODE((root / "d").stat().st_mode) == 0o755
    async with FilesDestination(root).open(FLOW) as session:
        await session.finish([file_id(1).stream])
    status = (root / "d").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o555, 5)


async def test_a_root_that_is_not_writable_is_an_error(unprivileged: Path) -> None:
    root = unprivileged / "tree"
    root.mkdir(0o555)
    with pytest.raises(RefusedError, match=r"tree/.*not writable"):
        async with FilesDestination(root).open(FLOW):
            pass


async def test_a_state_file_that_is_not_a_database_is_named(tmp_path: Path) -> None:
    (tmp_path / ".pipeline-import").mkdir()
    (tmp_path / ".pipeline-import" / "state.db").write_bytes(b"no database" * 1000)
    with pytest.raises(DamagedError, match=r"state\.db"):
        async with FilesDestination(tmp_path).open(FLOW):
            pass


async def test_what_a_killed_load_left_on_another_file_system_is_removed_when_it_is_repeated(tmp_path: Path) -> None:
    root, binaries = tmp_path / "tree", MemoryBinaries()
    with mounted_at(root / "inner"):
        left = root / "inner" / os.fsdecode(near_name(b"inner/f"))
        left.write_bytes(b"half")
        line = upsert_line("inner/f", size=5, digest=binaries.add(b"whole"))
        async with FilesDestination(root).open(FLOW) as session:
            assert isinstance(await session.load(to_load(file_id(1), [line], binaries), after=[]), Loaded)
        assert {path.name: path.read_bytes() for path in (root / "inner").iterdir()} == {"f": b"whole"}


def test_a_file_system_mounted_inside_the_tree_takes_files_and_links(tmp_path: Path) -> None:
    places = (path for path in (Path("/dev/shm"), Path("/var/tmp")) if path.is_dir())
    elsewhere = next((path for path in places if path.stat().st_dev != tmp_path.stat().st_dev), None)
    if elsewhere is None:
        pytest.skip("there is no second file system here")
    incoming = elsewhere / f"pipeline-test-{os.getpid()}"
    incoming.mkdir()
    root_fd, incoming_fd = open_root(tmp_path), open_root(incoming)
    try:
        tree = TreeWriter(root_fd, StagingArea(incoming_fd), exact_name)
        tree.staging.write("staged", b"content")
        with tree.parents() as parents:
            tree.install(parse_upsert(upsert_line("f", mode=0o640, mtime_ns=7, digest="0" * 64), 2), "staged", parents)
        tree.make_link(parse_upsert(upsert_line("l", "symlink", mtime_ns=8, target="f"), 3), "link")
        tree.sync()
        assert list(incoming.iterdir()) == []
    finally:
        os.close(root_fd)
        os.close(incoming_fd)
        incoming.rmdir()
    common = (stat.S_IFREG, 0o640, 7, b"content")
    assert described(tmp_path) == {b"f": common, b"l": (stat.S_IFLNK, 0o777, 8, b"f")}
