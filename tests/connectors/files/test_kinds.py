"""What becomes of each kind of entry, attribute and name: a test for each row of docs/reference/trees.md."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.connectors.files import FilesDestination, FilesSource
from pipeline.domain.errors import RefusedError
from pipeline.domain.inventory import Fate
from pipeline.ports.source import UnreadRows
from tests.connectors.files.conftest import NOBODY, mounted_at
from tests.connectors.files.moving import (
    FLOW,
    MemoryBinaries,
    TreeFlow,
    described,
    file_id,
    hashes_of,
    keys_of,
    rows_of,
    to_load,
    upsert_line,
)
from tests.connectors.files.trees import ACL_OF_TWO

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def places(root: Path) -> tuple[Path, Path, TreeFlow]:
    source, destination = root / "source", root / "destination"
    source.mkdir()
    return source, destination, TreeFlow(source, destination)


@needs_root
async def test_set_id_bits_of_another_owner_are_taken_off_and_said_until_they_are_gone_at_the_source(
    tmp_path: Path,
) -> None:
    source, destination, flow = places(tmp_path)
    (source / "d").mkdir()
    for name, mode in (("d/u", 0o4755), ("g", 0o2755), ("both", 0o6711), ("sticky", 0o1777)):
        (source / name).write_text(name)
        os.chown(source / name, NOBODY, NOBODY)
        (source / name).chmod(mode)
    os.chown(source / "d", NOBODY, NOBODY)
    (source / "d").chmod(0o2770)
    expected = [
        ("set-gid bit", "both", "not moved"),
        ("set-gid bit", "d", "not moved"),
        ("set-gid bit", "g", "not moved"),
        ("set-uid bit", "both", "not moved"),
        ("set-uid bit", "d/u", "not moved"),
    ]
    for _ in range(2):  # also in a Movement that moves nothing
        await flow.move()
        assert [mode_of(destination / name) for name in ("d/u", "g", "both", "sticky", "d")] == [
            0o755, 0o755, 0o711, 0o1777, 0o770,
        ]  # fmt: skip
        assert flow.items() == [("owner", "nobody with 5 entries", "not moved"), *expected]
        assert [item.is_gap for item in flow.inventory] == [False, True, True, True, True, True]
    for name in ("d/u", "g", "d"):
        (source / name).chmod(0o755)
    (source / "both").unlink()
    await flow.move()
    assert flow.items() == [("owner", "nobody with 4 entries", "not moved")]


async def test_set_id_bits_of_the_same_owner_are_kept(tmp_path: Path) -> None:
    source, destination, flow = places(tmp_path)
    (source / "d").mkdir()
    (source / "d" / "f").touch()
    (source / "d" / "f").chmod(0o6755)
    (source / "d").chmod(0o6755)
    for _ in range(2):
        await flow.move()
        assert (mode_of(destination / "d" / "f"), mode_of(destination / "d")) == (0o6755, 0o6755)
        assert flow.items() == []
        (source / "d" / "f").write_text("changed")  # which takes the bits off for anybody but root
        (source / "d" / "f").chmod(0o6755)


@pytest.mark.parametrize("attributes", [None, '{"uid":4711,"gid":4712,"names":[]}'])
async def test_set_id_bits_of_an_unknown_owner_are_taken_off_also_from_a_file_that_is_there(
    tmp_path: Path, attributes: str | None
) -> None:
    binaries = MemoryBinaries()
    line = upsert_line("f", size=1, digest=binaries.add(b"x"), mode=0o6755, attributes=attributes)
    (tmp_path / "f").write_bytes(b"x")
    os.utime(tmp_path / "f", ns=(1, 1))
    async with FilesDestination(tmp_path).open(FLOW) as session:
        await session.load(to_load(file_id(1), [line], binaries), after=[])
        assert mode_of(tmp_path / "f") == 0o755
        kinds = [item.kind for item in await session.ensure_objects(rows_changed=True)]
    assert kinds == ["set-gid bit", "set-uid bit"]


async def test_attributes_that_are_none_reject_the_record(tmp_path: Path) -> None:
    lines = [
        upsert_line(str(n), "directory", attributes=value) for n, value in enumerate(("{", "[]", 7, '{"uid":"x"}'))
    ]
    async with FilesDestination(tmp_path).open(FLOW) as session:
        await session.load(to_load(file_id(1), lines, MemoryBinaries()), after=[])
        rejected = await session.retry_rejected()
    assert [rejection.column for rejection in rejected] == ["attributes"] * 4


async def test_verify_compares_modes_but_for_set_id_bits(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    os.utime(tmp_path / "f", ns=(0, 7))
    hashes = []
    for mode in (0o755, 0o6755, 0o1755, 0o750):
        (tmp_path / "f").chmod(mode)
        async with FilesSource(tmp_path, checksum=True).open_snapshot() as snapshot:
            (schema,) = await snapshot.streams()
            async with snapshot.open_rows(schema) as blocks:
                hashes += [
                    hash_ async for block in blocks if not isinstance(block, UnreadRows) for hash_ in hashes_of(block)
                ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


async def test_special_files_are_named_and_hard_links_become_files_of_their_own(tmp_path: Path) -> None:
    source, destination, flow = places(tmp_path)
    os.mkfifo(source / "pipe")
    (source / "f").write_text("shared")
    os.link(source / "f", source / "g")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(source / "socket"))
    await flow.move()
    assert flow.items() == [
        ("fifo", "pipe", "not moved"),
        ("socket", "socket", "not moved"),
        ("hard link", "f", "moved in another form"),
        ("hard link", "g", "moved in another form"),
    ]
    assert [item.is_gap for item in flow.inventory] == [True, True, False, False]
    assert sorted(path.name for path in destination.iterdir()) == [".pipeline-import", "f", "g"]
    assert (destination / "f").stat().st_nlink == (destination / "g").stat().st_nlink == 1
    assert (destination / "g").read_text() == "shared"


@needs_root
async def test_devices_are_named(tmp_path: Path) -> None:
    source, _, flow = places(tmp_path)
    os.mknod(source / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(source / "loop", stat.S_IFBLK | 0o660, os.makedev(7, 0))
    await flow.move()
    assert flow.items() == [("device", "loop", "not moved"), ("device", "null", "not moved")]


async def test_an_access_control_list_is_named_and_gives_the_group_no_more_than_before(tmp_path: Path) -> None:
    source, destination, flow = places(tmp_path)
    (source / "d").mkdir()
    (source / "f").touch(0o600)
    for path in (source / "d", source / "f"):
        os.setxattr(path, "system.posix_acl_access", ACL_OF_TWO)
    assert (mode_of(source / "f"), mode_of(source / "d")) == (0o660, 0o660)  # the group's bits are the mask
    await flow.move()
    assert (mode_of(destination / "f"), mode_of(destination / "d")) == (0o600, 0o600)
    assert flow.items() == [
        ("access control list", f"{name} (system.posix_acl_access)", "not moved") for name in ("d", "f")
    ]
    assert all(item.is_gap for item in flow.inventory)
    for row in await rows_of(FilesSource(source, checksum=True), MemoryBinaries()):
        assert row["mode"] == 0o600


async def test_extended_attributes_are_named_and_do_not_hinder(tmp_path: Path) -> None:
    source, destination, flow = places(tmp_path)
    (source / "f").write_text("x")
    os.setxattr(source / "f", "user.comment", b"a comment")
    await flow.move()
    assert flow.items() == [("extended attribute", "f (user.comment)", "not moved")]
    assert not flow.inventory[0].is_gap
    assert os.listxattr(destination / "f") == []


@needs_root
async def test_capabilities_and_file_flags_are_named(tmp_path: Path) -> None:
    source, destination, flow = places(tmp_path)
    for name in ("capable", "fixed", "log"):
        (source / name).touch(0o755)
    os.setxattr(source / "capable", "security.capability", struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0))
    if shutil.which("chattr") is None:
        pytest.skip("no chattr")
    try:
        for flag, name in (("+i", "fixed"), ("+a", "log")):
            done = subprocess.run(["chattr", flag, source / name], check=False, capture_output=True)  # noqa: ASYNC221
            if done.returncode:
                pytest.skip("no flags on this file system")
        await flow.move()
    finally:
        subprocess.run(["chattr", "-ia", source / "fixed", source / "log"], check=False)  # noqa: ASYNC221
    assert flow.items() == [
        ("capability", "capable (security.capability)", "not moved"),
        ("file flag", "fixed (immutable)", "not moved"),
        ("file flag", "log (append only)", "not moved"),
    ]
    assert [item.is_gap for item in flow.inventory] == [True, False, False]
    assert os.listxattr(destination / "capable") == []


async def test_of_very_many_items_of_a_kind_the_first_thousand_are_named_and_the_others_counted(tmp_path: Path) -> None:
    source, _, flow = places(tmp_path)
    (source / "0").touch()
    for number in range(1, 1003):
        os.link(source / "0", source / f"{number}")
    await flow.move()
    assert len(flow.inventory) == 1003
    assert {item.name for item in flow.inventory[1000:]} == {"…"}
    assert {item.fate for item in flow.inventory} == {Fate.OTHER_FORM}


async def test_holes_stay_holes(tmp_path: Path) -> None:
    source, destination, flow = places(tmp_path)
    with (source / "disk").open("wb") as file:
        file.write(b"begin")
        file.truncate(8_000_000)
        file.seek(5_000_000)
        file.write(b"middle")
    if (source / "disk").stat().st_blocks * 512 > 1_000_000:
        pytest.skip("this file system has no holes")
    await flow.move()
    assert (destination / "disk").read_bytes() == (source / "disk").read_bytes()
    assert (destination / "disk").stat().st_blocks * 512 < 100_000


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A source with the directory `inner`, which another file system fills."""
    with mounted_at(tmp_path / "source" / "inner"):
        yield tmp_path


async def test_other_file_systems_are_moved_or_left_out_and_named(mounted: Path) -> None:
    source = mounted / "source"
    (source / "inner" / "f").touch()
    (source / "z").touch()
    assert await keys_of(FilesSource(source)) == [("inner",), ("inner/f",), ("z",)]
    async with FilesSource(source, one_file_system=True).open_snapshot() as snapshot:
        (schema,) = await snapshot.streams()
        async with snapshot.open_rows(schema) as blocks:
            keys = [block.keys() async for block in blocks if not isinstance(block, UnreadRows)]
        (item,) = await snapshot.omissions()
    assert keys == [[("inner",), ("z",)]]
    assert (item.kind, item.name, item.is_gap) == ("mount point", "inner", False)


async def test_an_empty_mount_point_of_fstab_is_an_error_until_it_is_mounted_or_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, below = tmp_path / "r", tmp_path / "r" / "my data"
    below.mkdir(parents=True)
    (root / "f").touch()

    async def read(*lines: str, one_file_system: bool = False) -> None:
        (tmp_path / "fstab").write_text("\n".join(["# /dev/sda1 / ext4 rw 0 1", "tmpfs none swap sw", "", *lines]))
        await keys_of(FilesSource(root, one_file_system=one_file_system))

    monkeypatch.setattr("pipeline.connectors.files.mounts.FSTAB", tmp_path / "fstab")
    entry = f"/dev/sdb1 {tmp_path}/r/my\\040data ext4 rw,nofail 0 2"
    with pytest.raises(RefusedError, match=r"my data.* is not mounted"):
        await read(entry)
    await read(entry, one_file_system=True)
    await read(entry.replace("rw", "noauto"))
    await read(f"/dev/sdb1 {tmp_path}/elsewhere ext4 rw 0 2", f"/dev/sdb1 {tmp_path}/r ext4 rw 0 2")
    (below / "g").touch()
    await read(entry)
    (below / "g").unlink()
    below.rmdir()
    await read(entry)
    (root / "f").unlink()
    for mount in (root, tmp_path):
        with pytest.raises(RefusedError, match="mount it"):
            await read(f"/dev/sdb1 {mount} ext4 rw 0 2")
    await read("tmpfs / ext4 rw 0 2", f"tmpfs {Path('/proc')} proc rw 0 0")


async def test_names_of_any_bytes_and_of_the_greatest_length_are_moved_and_replaced(tmp_path: Path) -> None:
    source, destination, flow = places(tmp_path)
    names = [
        b"n" * 255,
        "é".encode() * 127,
        b"\xff" * 255,
        b"a\nb",
        b" ",
        b"-rf",
        b"*",
        b"~",
        b"a\\b",
        b".pipeline-import-x",
    ]
    (source / "d").mkdir()
    for name in names:
        (source / os.fsdecode(name)).write_bytes(name)
        (source / "d" / os.fsdecode(name)).write_bytes(name)
    await flow.move()
    assert described(source) == described(destination)
    for path in source.iterdir():
        if path.is_file():
            path.unlink()
            path.symlink_to("d")
    await flow.move()
    assert described(source) == described(destination)
    assert flow.rejections == []


async def test_names_in_two_normal_forms_are_two_files_where_the_file_system_tells_them_apart(tmp_path: Path) -> None:
    source, destination, flow = places(tmp_path)
    for name in ("\u00e9", "e\u0301"):
        (source / name).write_text(name)
    if len(list(source.iterdir())) < 2:
        pytest.skip("to this file system both names are the same")
    await flow.move()
    assert described(source) == described(destination)


async def test_an_empty_mount_point_of_fstab_is_not_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file system would hide what was written below it. One that has files is no mount point that waits."""
    (tmp_path / "fstab").write_text(f"/dev/sdb1 {tmp_path / 'disk'} ext4 rw 0 2\n")
    monkeypatch.setattr("pipeline.connectors.files.mounts.FSTAB", tmp_path / "fstab")
    disk = tmp_path / "disk"
    disk.mkdir()
    for root in (disk, disk / "copy"):
        with pytest.raises(RefusedError, match=r"disk.* is not mounted"):
            async with FilesDestination(root).open(FLOW):
                pass
    assert not list(disk.iterdir())
    (disk / "a file").touch()
    async with FilesDestination(disk / "copy").open(FLOW):
        pass
