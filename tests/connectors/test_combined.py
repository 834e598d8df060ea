"""Several connectors as one: each stream is read from and written to the part it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.connectors.combined import CombinedDestination, CombinedSource
from pipeline.connectors.files import FilesDestination, FilesSource
from pipeline.connectors.files.schema import DEFAULT_STREAM, files_schema
from pipeline.domain.errors import ConfigurationError, DefectError
from pipeline.domain.ids import EventFileId, Phase, StreamName
from pipeline.ports.destination import FileToLoad, GaveWay, Loaded
from pipeline.ports.source import UnreadRows
from tests.connectors.files.moving import FLOW, MemoryBinaries, delete_line, described, file_id, to_load, upsert_line
from tests.contracts.destination import DestinationContract, DestinationWorld
from tests.contracts.source import SourceContract, SourceWorld

FIRST, SECOND = StreamName("@a"), StreamName("@b")


def tree(root: Path, *names: str) -> Path:
    root.mkdir()
    for name in names:
        (root / name).write_text(name)
    return root


class TestCombinedSource(SourceContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> SourceWorld:
        one, other = tree(tmp_path / "one", "x"), tree(tmp_path / "other", "p", "q", "r")

        def change() -> None:
            (other / "q").write_text("changed")

        def combined() -> CombinedSource:
            return CombinedSource([FilesSource(one, stream=SECOND), FilesSource(other, stream=FIRST)])

        missing = CombinedSource([FilesSource(tmp_path / "missing")])
        return SourceWorld(combined(), combined(), missing, change, is_isolated=False, follows_known_ranges=False)


class TestCombinedDestination(DestinationContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> DestinationWorld:
        binaries = MemoryBinaries()
        routed = tmp_path / "routed"

        def upsert(number: int, version: int) -> bytes:
            content = str(version).encode()
            return upsert_line(f"row-{number}", size=len(content), digest=binaries.add(content), mtime_ns=version)

        def held() -> Mapping[int, int]:
            return {int(path.name.removeprefix("row-")): int(path.read_bytes()) for path in routed.glob("row-*")}

        routes = {DEFAULT_STREAM: FilesDestination(routed)}
        return DestinationWorld(
            corrects=False,
            destination=CombinedDestination(FilesDestination(tmp_path / "first"), routes),
            impossible=CombinedDestination(FilesDestination(tmp_path / "missing" / "tree"), {}),
            schema=files_schema(DEFAULT_STREAM),
            upsert=upsert,
            delete=lambda number: delete_line(f"row-{number}"),
            held=held,
            refused=upsert_line("row-99", "door"),
            is_transactional=False,
            open_binary=binaries.open,
        )


async def test_a_stream_is_read_from_the_part_that_has_it(tmp_path: Path) -> None:
    source = CombinedSource(
        [
            FilesSource(tree(tmp_path / "one", "x"), stream=SECOND),
            FilesSource(tree(tmp_path / "other", "y"), stream=FIRST),
        ]
    )
    async with source.open_snapshot() as snapshot:
        assert [schema.stream for schema in await snapshot.streams()] == [FIRST, SECOND]
        keys = {}
        for schema in await snapshot.streams():
            async with snapshot.open_rows(schema) as blocks:
                keys[schema.stream] = [
                    key
                    for block in [block async for block in blocks if not isinstance(block, UnreadRows)]
                    for key in list(block.keys())
                ]
        assert keys == {FIRST: [("y",)], SECOND: [("x",)]}
    async with source.open_snapshot() as snapshot, snapshot.open_rows(files_schema(FIRST)) as blocks:
        assert [len(block) async for block in blocks] == [1]


async def test_a_stream_that_no_part_has_is_a_defect(tmp_path: Path) -> None:
    source = CombinedSource([FilesSource(tree(tmp_path / "one"), stream=SECOND)])
    async with source.open_snapshot() as snapshot:
        with pytest.raises(DefectError, match="@a"):
            async with snapshot.open_rows(files_schema(FIRST)):
                pass


async def test_two_parts_with_a_stream_of_one_name_need_separate_flows(tmp_path: Path) -> None:
    source = CombinedSource([FilesSource(tree(tmp_path / "one")), FilesSource(tree(tmp_path / "other"))])
    async with source.open_snapshot() as snapshot:
        with pytest.raises(ConfigurationError, match=r"one/.*other/.*'@files'.*separate Flows"):
            await snapshot.streams()


def test_locations_name_all_parts_once(tmp_path: Path) -> None:
    one, other = FilesDestination(tmp_path / "one"), FilesDestination(tmp_path / "other")
    assert CombinedDestination(one, {FIRST: other, SECOND: other}).location == f"{one.location} + {other.location}"
    parts = [FilesSource(tmp_path / "one"), FilesSource(tmp_path / "other")]
    assert CombinedSource(parts).location == f"{parts[0].location} + {parts[1].location}"


def file_of(stream: StreamName, name: str, binaries: MemoryBinaries, chunk: int = 0) -> FileToLoad:
    line = upsert_line(name, size=1, digest=binaries.add(b"x"))
    file = to_load(file_id(1, chunk), [line], binaries)
    id_ = EventFileId(1, stream, Phase.FULL, chunk)
    header = replace(file.header, id=id_, schema=files_schema(stream))
    return replace(file, entry=replace(file.entry, id=id_), header=header)


async def test_each_stream_goes_where_it_is_routed_and_all_others_to_the_first_part(tmp_path: Path) -> None:
    binaries = MemoryBinaries()
    destination = CombinedDestination(
        FilesDestination(tmp_path / "first"), {FIRST: FilesDestination(tmp_path / "routed")}
    )
    routed, unrouted = file_of(FIRST, "x", binaries), file_of(SECOND, "y", binaries)
    async with destination.open(FLOW) as session:
        for file in (routed, unrouted):
            assert isinstance(await session.load(file, after=[]), Loaded)
        assert set(await session.marks()) == {routed.entry.id, unrouted.entry.id}
        assert await destination.read_marks(FLOW, wait_seconds=2) == await session.marks()
        assert await session.finish([FIRST, SECOND]) == []
    assert (set(described(tmp_path / "routed")), set(described(tmp_path / "first"))) == ({b"x"}, {b"y"})


async def test_a_file_gives_way_to_one_before_it_at_another_part(tmp_path: Path) -> None:
    binaries = MemoryBinaries()
    destination = CombinedDestination(
        FilesDestination(tmp_path / "first"), {FIRST: FilesDestination(tmp_path / "routed")}
    )
    before, file = file_of(SECOND, "y", binaries), file_of(FIRST, "x", binaries)
    async with destination.open(FLOW) as session:
        assert isinstance(await session.load(file, after=[before.entry.id]), GaveWay)
        await session.load(before, after=[])
        again = file_of(FIRST, "x", binaries)
        assert isinstance(await session.load(again, after=[before.entry.id]), Loaded)


async def test_marks_of_a_stream_count_only_where_it_is_routed_now(tmp_path: Path) -> None:
    """A Flow that was moved into one place, and then is given a place of its own for a stream, fills that place."""
    binaries = MemoryBinaries()
    first, routed = FilesDestination(tmp_path / "first"), FilesDestination(tmp_path / "routed")
    async with first.open(FLOW) as session:
        await session.load(file_of(FIRST, "x", binaries), after=[])
    async with CombinedDestination(first, {FIRST: routed}).open(FLOW) as combined:
        assert await combined.marks() == {}
