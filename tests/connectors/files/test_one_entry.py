"""Trouble with one entry that concerns no other one, and entries that are not the pipeline's own."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pipeline.connectors.files import FilesSource
from pipeline.domain.errors import TransientError
from pipeline.domain.keys import Key
from tests.connectors.files.moving import MemoryBinaries, TreeFlow, described, rows_of


def fail_to_open(monkeypatch: pytest.MonkeyPatch, name: bytes, code: int) -> None:
    """Let the system refuse to open the entries of this name, as a file server or a FUSE file system does."""
    real = os.open

    def refusing(path: bytes | str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == name:
            raise OSError(code, os.strerror(code))
        return real(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", refusing)


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EAGAIN, errno.ETXTBSY, errno.EIO, errno.ESTALE])
async def test_a_file_that_is_in_use_or_broken_is_rejected_and_the_others_are_read(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file server says so of a file that a program has opened for itself alone."""
    for name in ("a", "locked", "z"):
        (tmp_path / name).write_text(name)
    fail_to_open(monkeypatch, b"locked", code)
    rejected: dict[Key, str] = {}
    rows = await rows_of(FilesSource(tmp_path), MemoryBinaries(), None, rejected)
    assert [row["path"] for row in rows] == ["a", "z"]
    assert os.strerror(code) in rejected["locked",]


async def test_too_many_open_files_concern_the_whole_movement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "f").touch()
    fail_to_open(monkeypatch, b"f", errno.EMFILE)
    with pytest.raises(TransientError, match="ulimit -n"):
        await rows_of(FilesSource(tmp_path), MemoryBinaries())


@pytest.mark.parametrize("code", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM])
async def test_a_link_where_the_file_system_has_none_rejects_its_record_alone(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file system of FUSE, FAT or a file server has an error of its own for that."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("content")
    (source / "link").symlink_to("file")
    flow = TreeFlow(source, tmp_path / "copy")
    with monkeypatch.context() as patch:

        def refuse(*_args: object, **_more: object) -> None:
            raise OSError(code, os.strerror(code))

        patch.setattr(os, "symlink", refuse)
        await flow.move()
    (rejection,) = flow.rejections
    assert "link" in rejection.key
    assert os.strerror(code) in rejection.reason
    assert (tmp_path / "copy" / "file").read_text() == "content"
    await flow.move()
    assert flow.rejections == []
    assert described(source) == described(tmp_path / "copy")


async def test_another_name_of_a_file_at_the_destination_keeps_its_permissions(tmp_path: Path) -> None:
    """People keep earlier copies of a tree as hard links."""
    source, copy, snapshot = tmp_path / "source", tmp_path / "copy", tmp_path / "snapshot"
    source.mkdir()
    (source / "f").write_text("content")
    (source / "f").chmod(0o644)
    flow = TreeFlow(source, copy)
    await flow.move()
    snapshot.hardlink_to(copy / "f")
    (source / "f").chmod(0o600)
    await flow.move()
    assert snapshot.stat().st_mode & 0o777 == 0o644
    assert described(source) == described(copy)
