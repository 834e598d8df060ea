"""How the files source describes a tree, and what it cannot describe."""

from __future__ import annotations

import os
import socket
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pipeline.connectors.files import FilesSource
from pipeline.connectors.files.directories import closing_fd, open_root
from pipeline.connectors.files.schema import DEFAULT_STREAM
from pipeline.connectors.files.tree import Omitted, walk
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import StreamName
from pipeline.domain.inventory import Fate, InventoryItem
from pipeline.domain.keys import Key
from pipeline.ports.source import UnreadRows
from tests.connectors.files.moving import MemoryBinaries, hashes_of, keys_of, rows_of


async def hashes(source: FilesSource) -> list[bytes]:
    async with source.open_snapshot() as snapshot:
        (schema,) = await snapshot.streams()
        async with snapshot.open_rows(schema) as blocks:
            found: list[bytes] = []
            async for block in blocks:
                assert not isinstance(block, UnreadRows)
                found += hashes_of(block)
            return found


async def test_a_row_describes_a_file(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"content")
    file.chmod(0o1751)
    os.utime(file, ns=(0, -5))
    binaries = MemoryBinaries()
    assert await rows_of(FilesSource(tmp_path), binaries) == [
        {
            "path": "f",
            "kind": "file",
            "size": 7,
            "mode": 0o1751,
            "mtime_ns": -5,
            "digest": binaries.add(b"content"),
            "target": None,
            "attributes": None,
        }
    ]


async def test_links_are_kept_and_never_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").touch()
    (root / "out").symlink_to("../outside")
    (root / "loop").symlink_to("loop")
    (root / "d" / "up").symlink_to("..")
    rows = await rows_of(FilesSource(root), MemoryBinaries())
    assert [(row["path"], row["kind"], row["target"]) for row in rows] == [
        ("d", "directory", None),
        ("d/up", "symlink", ".."),
        ("loop", "symlink", "loop"),
        ("out", "symlink", "../outside"),
    ]


async def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "f").touch()
    (tmp_path / "link").symlink_to("root")
    assert await keys_of(FilesSource(tmp_path / "link")) == [("f",)]


async def test_names_and_targets_that_are_not_utf8_are_carried_as_bytes(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"\xff")).symlink_to(os.fsdecode(b"\xfe"))
    (row,) = await rows_of(FilesSource(tmp_path), MemoryBinaries())
    assert (row["path"], row["target"]) == ({"$text": "/w=="}, {"$text": "/g=="})


async def test_special_files_are_skipped_and_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "z").touch()
    with socket.socket(socket.AF_UNIX) as server, capture_logs() as logs:
        server.bind(str(tmp_path / "socket"))
        assert await keys_of(FilesSource(tmp_path)) == [("z",)]
    logged = [(log["event"], log["path"], log["kind"], log["skipped"]) for log in logs]
    assert logged == [("special_file_skipped", "pipe", "fifo", 1), ("special_file_skipped", "socket", "socket", 2)]


async def test_a_tree_is_counted_with_the_bytes_of_its_files(tmp_path: Path) -> None:
    """What is special is neither counted nor named a second time."""
    for name, size in (("a", 5), ("d/b", 70_000), ("d/e/c", 0)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    (tmp_path / "link").symlink_to("d/b")
    os.mkfifo(tmp_path / "fifo")
    rows = await rows_of(FilesSource(tmp_path), MemoryBinaries())
    async with FilesSource(tmp_path).open_snapshot() as snapshot:
        with capture_logs() as logs:
            found = await snapshot.count_stream(DEFAULT_STREAM)
        assert snapshot.can_count(DEFAULT_STREAM)
        assert not snapshot.can_count(StreamName("other"))
    assert (found.rows, found.content_bytes) == (len(rows), 70_005)
    assert not logs


async def test_excluded_paths_and_import_metadata_are_not_part_of_the_tree(tmp_path: Path) -> None:
    for path in (".pipeline-import/incoming", "a/.pipeline-import", "a/home/b", "a-home"):
        (tmp_path / path).mkdir(parents=True)
    home = InventoryItem("pipeline file", "a/home", Fate.NOT_MOVED, "it is the home directory")
    source = FilesSource(
        tmp_path, exclude={tmp_path / "a" / "home": home, tmp_path / "a" / "none": replace(home, name="n")}
    )
    assert await keys_of(source) == [("a",), ("a-home",), ("a/.pipeline-import",)]
    async with source.open_snapshot() as snapshot:
        assert await snapshot.omissions() == [home]


async def test_a_missing_root_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "missing", tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigurationError, match=root.name):
            async with FilesSource(root).open_snapshot():
                pass


async def test_what_cannot_be_listed_or_examined_is_named_in_its_place(unprivileged: Path) -> None:
    (unprivileged / "d" / "closed" / "x").mkdir(parents=True)
    (unprivileged / "d" / "closed-too").touch()
    below = [("d/closed/x", "d/closed/x\0"), ("d/closed/x/", "d/closed/x0")]
    for mode, unread in ((0, [("d/closed/", "d/closed0")]), (0o444, below)):
        (unprivileged / "d" / "closed").chmod(mode)
        try:
            async with FilesSource(unprivileged).open_snapshot() as snapshot:
                (schema,) = await snapshot.streams()
                async with snapshot.open_rows(schema) as blocks:
                    found = [block async for block in blocks]
        finally:
            (unprivileged / "d" / "closed").chmod(0o700)
        keys = [key for block in found if not isinstance(block, UnreadRows) for key in list(block.keys())]
        assert keys == [("d",), ("d/closed",), ("d/closed-too",)]
        missing = [block for block in found if isinstance(block, UnreadRows)]
        assert [(block.first, block.end) for block in missing] == [((first,), (end,)) for first, end in unread]
        assert all("Permission denied" in block.reason for block in missing)


async def test_a_file_that_may_not_be_read_is_rejected_and_the_others_are_read(unprivileged: Path) -> None:
    (unprivileged / "closed").touch(0)
    (unprivileged / "open").write_bytes(b"1")
    for checksum in (False, True):
        rejected: dict[Key, str] = {}
        (row,) = await rows_of(FilesSource(unprivileged, checksum=checksum), MemoryBinaries(), None, rejected)
        assert row["path"] == "open"
        assert "Permission denied; grant" in rejected["closed",]


async def test_a_time_that_no_integer_column_holds_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    os.utime(tmp_path / "f", ns=(0, 2**63))
    if (tmp_path / "f").stat().st_mtime_ns != 2**63:
        pytest.skip("this file system does not hold such times")
    rejected: dict[Key, str] = {}
    await rows_of(FilesSource(tmp_path), MemoryBinaries(), None, rejected)
    assert "years 1678 to 2262" in rejected["f",]


async def test_a_file_with_its_old_size_and_time_but_another_content_has_another_hash(tmp_path: Path) -> None:
    file = tmp_path / "f"
    for checksum in (False, True):
        source = FilesSource(tmp_path, checksum=checksum)
        file.write_bytes(b"one")
        os.utime(file, ns=(0, 7))
        before = await hashes(source)
        file.write_bytes(b"two")
        os.utime(file, ns=(0, 7))
        assert await hashes(source) != before


async def test_with_checksum_a_file_that_was_only_touched_by_name_keeps_its_hash(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"one")
    by_status, by_content = FilesSource(tmp_path), FilesSource(tmp_path, checksum=True)
    before = await hashes(by_status), await hashes(by_content)
    os.link(tmp_path / "f", tmp_path / "g")
    (tmp_path / "g").unlink()
    after = await hashes(by_status), await hashes(by_content)
    assert (before[0] == after[0], before[1] == after[1]) == (False, True)


async def test_a_directory_may_have_more_entries_than_a_block(tmp_path: Path) -> None:
    for number in range(1203):
        (tmp_path / str(number)).touch()
    assert [key[0] for key in await keys_of(FilesSource(tmp_path))] == sorted(str(number) for number in range(1203))


def test_a_directory_of_many_files_takes_less_than_100_bytes_for_each(tmp_path: Path) -> None:
    for number in range(5_000):
        os.mknod(tmp_path / f"{number:012}-record.json")
    with closing_fd(open_root(tmp_path)) as root_fd:
        entries = walk(root_fd, Omitted())
        tracemalloc.start()
        try:
            next(entries)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert sum(1 for _ in entries) == 4_999
    assert peak < 100 * 5_000


async def test_what_lies_too_deep_is_named_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each level costs more than the one above: a tree without an end would never be read."""
    monkeypatch.setattr("pipeline.connectors.files.tree.MAX_PATH_SEGMENTS", 4)
    (tmp_path / "a/b/c/d/e/f").mkdir(parents=True)
    (tmp_path / "z").touch()
    found: list[object] = []
    async with FilesSource(tmp_path).open_snapshot() as snapshot:
        (schema,) = await snapshot.streams()
        async with snapshot.open_rows(schema) as blocks:
            async for block in blocks:
                found += [block] if isinstance(block, UnreadRows) else block.keys()
    (unread,) = [one for one in found if isinstance(one, UnreadRows)]
    assert found[:4] == [("a",), ("a/b",), ("a/b/c",), ("a/b/c/d",)]
    assert found[-1] == ("z",)
    assert unread.first == ("a/b/c/d/",)
    assert "more than 4 segments" in unread.reason
