"""The connector keeps what every source and every destination keeps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest

from pipeline.connectors.files import FilesDestination, FilesSource
from pipeline.connectors.files.schema import DEFAULT_STREAM, files_schema
from pipeline.domain.ids import StreamName
from pipeline.ports.destination import Loaded
from tests.connectors.files.moving import MemoryBinaries, delete_line, upsert_line
from tests.contracts.destination import FLOW, DestinationContract, DestinationWorld, file_to_load
from tests.contracts.source import SourceContract, SourceWorld


class TestFilesSource(SourceContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> SourceWorld:
        return _source_world(tmp_path, checksum=False)


class TestFilesSourceByChecksum(SourceContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> SourceWorld:
        return _source_world(tmp_path, checksum=True)


def _source_world(tmp_path: Path, *, checksum: bool) -> SourceWorld:
    root = tmp_path / "tree"
    (root / "d").mkdir(parents=True)
    (root / "d" / "x").write_bytes(b"x")
    (root / "d-y").symlink_to("d/x")
    (root / os.fsdecode(b"\xff")).write_bytes(b"raw")
    (tmp_path / "link").symlink_to(root)
    return SourceWorld(
        source=FilesSource(root, checksum=checksum),
        again=FilesSource(tmp_path / "link" / "." / "d" / "..", checksum=checksum),
        missing=FilesSource(tmp_path / "missing"),
        change_one_row=lambda: _write(root / "d" / "x", b"y"),
        is_isolated=False,
        spoil_one_row=(root / "d" / "x").unlink,
    )


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


class TestFilesDestination(DestinationContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> DestinationWorld:
        root = tmp_path / "made"
        binaries = MemoryBinaries()

        def upsert(number: int, version: int) -> bytes:
            content = str(version).encode()
            return upsert_line(f"row-{number}", size=len(content), digest=binaries.add(content), mtime_ns=version)

        def held() -> Mapping[int, int]:
            return {int(path.name.removeprefix("row-")): int(path.read_bytes()) for path in root.glob("row-*")}

        return DestinationWorld(
            corrects=False,
            destination=FilesDestination(root),
            impossible=FilesDestination(tmp_path / "missing" / "tree"),
            schema=files_schema(DEFAULT_STREAM),
            upsert=upsert,
            delete=lambda number: delete_line(f"row-{number}"),
            held=held,
            refused=orjson.dumps({"upsert": {"path": "row-99", "kind": "door", "mode": 1, "mtime_ns": 1}}) + b"\n",
            is_transactional=False,
            open_binary=binaries.open,
        )


async def test_a_later_movement_of_one_stream_does_not_shut_out_another(tmp_path: Path) -> None:
    one, other = files_schema(DEFAULT_STREAM), files_schema(StreamName("another"))
    async with FilesDestination(tmp_path / "made").open(FLOW) as session:
        assert isinstance(await session.load(file_to_load(one, [], movement=3), after=()), Loaded)
        assert isinstance(await session.load(file_to_load(other, [], movement=2), after=()), Loaded)
