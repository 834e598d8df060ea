"""Files whose blocks of zeros are holes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sparse_files import BLOCK_BYTES, write_sparse

PIECE = st.one_of(st.binary(max_size=9), st.integers(0, 3 * BLOCK_BYTES).map(bytes))


def written(path: Path, pieces: list[bytes]) -> os.stat_result:
    with path.open("wb", buffering=0) as file:
        for piece in pieces:
            write_sparse(file.fileno(), piece, os.fstat(file.fileno()).st_size)
        os.fsync(file.fileno())
    return path.stat()


@given(st.lists(st.lists(PIECE, max_size=5).map(b"".join), max_size=5))
def test_what_is_written_in_pieces_is_read_again(pieces: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, "f")
        written(path, pieces)
        assert path.read_bytes() == b"".join(pieces)


def test_blocks_of_zeros_take_no_space_wherever_they_are(tmp_path: Path) -> None:
    hole = bytes(100 * BLOCK_BYTES)
    full = written(tmp_path / "full", [b"x" * BLOCK_BYTES] * 100)
    (tmp_path / "holes").touch()
    os.truncate(tmp_path / "holes", len(hole))
    if (tmp_path / "holes").stat().st_blocks:
        pytest.skip("this file system has no holes")
    for pieces in (
        [hole],
        [hole, b"x", hole],
        [b"x", hole, b"x"],
        [b"x" + hole + b"x" + hole],
        [hole[:-7], hole[:7], b"x"],
    ):
        status = written(tmp_path / "f", pieces)
        assert status.st_size == sum(map(len, pieces))
        assert status.st_blocks * 512 <= 3 * BLOCK_BYTES < full.st_blocks * 512


def test_contents_without_zeros_are_written_in_one_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    pwrite = os.pwrite

    def noting(fd: int, data: memoryview, offset: int) -> int:
        lengths.append(len(data))
        return pwrite(fd, data, offset)

    monkeypatch.setattr("pipeline.sparse_files.os.pwrite", noting)
    written(tmp_path / "f", [(b"\0" + b"x" * (BLOCK_BYTES - 2) + b"\0") * 50])
    assert lengths == [50 * BLOCK_BYTES]
