"""How the files destination applies records, and which it rejects."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from pipeline.connectors.files import FilesDestination
from pipeline.connectors.files.loading import destination
from pipeline.connectors.files.loading.destination import FilesSession
from pipeline.connectors.files.schema import DEFAULT_STREAM
from pipeline.domain.errors import ConfigurationError, DamagedError, RefusedError, TransientError
from pipeline.domain.ids import BinaryId, FlowName
from pipeline.ports.destination import GaveWay, Loaded, LoadOutcome
from tests.connectors.files.moving import (
    FLOW,
    MemoryBinaries,
    delete_line,
    described,
    file_id,
    to_load,
    upsert_line,
)


class Loader:
    """Loads one Event File after another into one place."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.destination = FilesDestination(root)
        self.binaries = MemoryBinaries()
        self._chunk = 0

    def file(self, path: str, content: bytes, **values: object) -> bytes:
        kind = str(values.pop("kind", "file"))
        row = {"size": len(content), "digest": self.binaries.add(content)} | values
        return upsert_line(path, kind, **row)

    async def into(self, session: FilesSession, *lines: bytes) -> Loaded:
        self._chunk += 1
        outcome = await session.load(to_load(file_id(1, self._chunk), lines, self.binaries), after=[])
        assert isinstance(outcome, Loaded)
        return outcome

    async def load(self, *lines: bytes) -> Loaded:
        async with self.destination.open(FLOW) as session:
            outcome = await self.into(session, *lines)
            await session.finish([DEFAULT_STREAM])
            return outcome

    def names(self) -> set[bytes]:
        return set(described(self.root))

    def staged(self) -> list[str]:
        return [path.name for path in (self.root / ".pipeline-import" / "incoming").iterdir()]


@pytest.fixture
def loader(tmp_path: Path) -> Loader:
    return Loader(tmp_path / "tree")


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../../x", "..", "/etc/x", "//x", "", "a//b", "a/", "./x", ".", "a\0b", ".pipeline-import/state.db"],
)
async def test_a_path_that_does_not_lead_below_the_root_is_rejected(loader: Loader, tmp_path: Path, path: str) -> None:
    outcome = await loader.load(loader.file(path, b"evil"), loader.file("good", b"good"), delete_line(path + "x/.."))
    (rejection,) = outcome.rejections
    assert (rejection.line, rejection.column) == (2, "path")
    assert loader.names() == {b"good"}
    assert {name.split(b"/")[0] for name in described(tmp_path)} == {b"tree"}


async def test_a_delete_never_leaves_the_root(loader: Loader, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "f").touch()
    loader.root.mkdir()
    (loader.root / "link").symlink_to("../outside")
    await loader.load(delete_line("../outside/f"), delete_line("link/f"), delete_line(str(tmp_path / "outside" / "f")))
    assert (tmp_path / "outside" / "f").exists()
    assert (loader.root / "link").is_symlink()


@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
async def test_nothing_is_written_through_a_link(loader: Loader, tmp_path: Path, kind: str) -> None:
    (tmp_path / "outside").mkdir()
    loader.root.mkdir()
    (loader.root / "link").symlink_to("../outside")
    line = loader.file("link/x", b"x") if kind == "file" else upsert_line("link/x", kind, target="t")
    (rejection,) = (await loader.load(line)).rejections
    assert "'link' is not a directory" in rejection.reason
    assert list((tmp_path / "outside").iterdir()) == []


async def test_a_record_takes_the_place_of_a_link_and_does_not_write_to_its_target(
    loader: Loader, tmp_path: Path
) -> None:
    (tmp_path / "victim").write_bytes(b"as it was")
    loader.root.mkdir()
    (loader.root / "f").symlink_to("../victim")
    (loader.root / "d").symlink_to("..")
    await loader.load(upsert_line("d", "directory", mode=0o755), loader.file("d/x", b"x"), loader.file("f", b"new"))
    assert (tmp_path / "victim").read_bytes() == b"as it was"
    assert not (loader.root / "d").is_symlink()
    assert (loader.root / "f").read_bytes() == b"new"


async def test_a_link_in_place_of_the_metadata_directory_is_an_error(loader: Loader, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    loader.root.mkdir()
    (loader.root / ".pipeline-import").symlink_to("../outside")
    with pytest.raises(RefusedError, match=r"pipeline-import.*remove it"):
        await loader.load(loader.file("x", b"x"))
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ({"kind": "device"}, "kind"),
        ({"mode": -1}, "mode"),
        ({"mode": 0o100644}, "mode"),
        ({"mtime_ns": None}, "mtime_ns"),
        ({"digest": "../../x"}, "digest"),
        ({"kind": "symlink", "target": ""}, "target"),
        ({"kind": "symlink", "target": None}, "target"),
    ],
)
async def test_an_invalid_value_is_rejected(loader: Loader, values: dict[str, object], column: str) -> None:
    (rejection,) = (await loader.load(loader.file("x", b"x", **values))).rejections
    assert (rejection.key, rejection.column) == ('["x"]', column)
    assert loader.names() == set()


async def test_a_name_that_the_file_system_cannot_hold_is_rejected(loader: Loader) -> None:
    long = "n" * 256
    outcome = await loader.load(loader.file(long, b"x"), upsert_line(long + "d", "directory"), loader.file("y", b"y"))
    assert [rejection.reason.endswith("File name too long") for rejection in outcome.rejections] == [True, True]
    assert (outcome.mark.upserts, outcome.mark.rejected, outcome.mark.binaries) == (1, 2, 1)
    assert (loader.names(), loader.staged()) == ({b"y"}, [])


async def test_a_line_that_is_not_a_record_fails_the_whole_file(loader: Loader) -> None:
    for line in (b"{}\n", b"[]\n", b'{"upsert":1}\n', b"{\n", b'{"upsert":{"path":{"$t":1}}}\n'):
        with pytest.raises(DamagedError):
            await loader.load(loader.file("x", b"x"), line)
    assert loader.names() == set()


async def test_a_content_that_is_damaged_leaves_the_old_file(loader: Loader) -> None:
    await loader.load(loader.file("x", b"old"))

    class Damaged(MemoryBinaries):
        @asynccontextmanager
        async def open(self, id_: BinaryId) -> AsyncIterator[AsyncIterator[bytes]]:
            async def pieces() -> AsyncIterator[bytes]:
                yield b"x" * 3_000_000
                raise DamagedError("not what its id says")

            yield pieces()

    loader.binaries = Damaged()
    with pytest.raises(DamagedError, match="not what its id says"):
        await loader.load(loader.file("x", b"new content"))
    assert (loader.root / "x").read_bytes() == b"old"
    assert loader.staged() == []
    async with loader.destination.open(FLOW) as session:
        assert file_id(1, 2) not in await session.marks()


async def test_a_file_that_exists_is_not_written_again(loader: Loader) -> None:
    await loader.load(loader.file("x", b"content"))
    inode = (loader.root / "x").stat().st_ino
    outcome = await loader.load(loader.file("x", b"content", mode=0o600))
    assert outcome.mark.binaries == 0
    assert ((loader.root / "x").stat().st_ino, stat.S_IMODE((loader.root / "x").stat().st_mode)) == (inode, 0o600)
    (loader.root / "x").write_bytes(b"altered")
    os.utime(loader.root / "x", ns=(1, 1))
    assert (await loader.load(loader.file("x", b"content"))).mark.binaries == 1
    assert (loader.root / "x").read_bytes() == b"content"


async def test_a_directory_that_still_holds_a_users_files_is_left_and_reported_until_it_is_empty(
    loader: Loader,
) -> None:
    await loader.load(upsert_line("d", "directory", mode=0o755), loader.file("d/x", b"x"))
    (loader.root / "d" / "mine").touch()
    assert (await loader.load(delete_line("d"), delete_line("d/x"))).rejections == ()
    async with loader.destination.open(FLOW) as session:
        assert loader.names() == {b"d", b"d/mine"}
        for _ in range(2):
            (violation,) = await session.finish([DEFAULT_STREAM])
            assert "'d'" in violation.message
        (loader.root / "d" / "mine").unlink()
        assert await session.finish([DEFAULT_STREAM]) == []
    assert loader.names() == set()


async def test_a_file_waits_for_a_directory_in_its_place_with_its_content(loader: Loader) -> None:
    await loader.load(upsert_line("d", "directory", mode=0o755))
    (loader.root / "d" / "mine").touch()
    outcome = await loader.load(loader.file("d", b"now a file"))
    assert (outcome.rejections, outcome.mark.upserts) == ((), 1)
    async with loader.destination.open(FLOW) as session:
        (rejection,) = await session.retry_rejected()
        assert rejection.reason == "the directory 'd' is not empty at the destination"
        loader.binaries.contents.clear()
        (loader.root / "d" / "mine").unlink()
        assert await session.retry_rejected() == []
    assert (loader.root / "d").read_bytes() == b"now a file"
    assert loader.staged() == []


async def test_a_record_that_takes_the_place_of_one_that_waits_drops_its_content(loader: Loader) -> None:
    await loader.load(upsert_line("d", "directory", mode=0o755))
    (loader.root / "d" / "mine").touch()
    await loader.load(loader.file("d", b"now a file"))
    assert len(loader.staged()) == 1
    await loader.load(upsert_line("d", "directory", mode=0o755))
    assert loader.staged() == []
    async with loader.destination.open(FLOW) as session:
        assert await session.retry_rejected() == []


async def test_a_rejected_file_whose_directory_is_gone_creates_none_when_it_is_tried_again(loader: Loader) -> None:
    outcome = await loader.load(loader.file("d/" + "x" * 300, b"no file system takes such a name"))
    assert len(outcome.rejections) == 1
    (loader.root / "d").rmdir()
    async with loader.destination.open(FLOW) as session:
        assert len(await session.retry_rejected()) == 1
    assert loader.names() == set()


def folded(fd: int, name: bytes) -> bytes:
    """A file system that does not tell upper and lower case apart."""
    return next((other for other in map(os.fsencode, os.listdir(fd)) if other.lower() == name.lower()), name)


async def test_the_second_of_two_names_that_are_one_to_the_file_system_is_rejected(loader: Loader) -> None:
    loader.destination = FilesDestination(loader.root, listed_name=folded)
    lines = [
        upsert_line("Dir", "directory", mode=0o755),
        loader.file("Dir/x", b"x"),
        loader.file("README", b"big"),
        upsert_line("dir", "directory", mode=0o755),
        loader.file("dir/x", b"other x"),
        loader.file("readme", b"small"),
    ]
    outcome = await loader.load(*lines)
    assert [rejection.key for rejection in outcome.rejections] == ['["dir"]', '["dir/x"]', '["readme"]']
    assert loader.names() == {b"Dir", b"Dir/x", b"README"}
    assert (loader.root / "Dir" / "x").read_bytes() == b"x"
    await loader.load(delete_line("README"), delete_line("dir"), delete_line("dir/x"))
    async with loader.destination.open(FLOW) as session:
        assert await session.retry_rejected() == []
    assert {path.name: path.read_bytes() for path in loader.root.glob("[rR]*")} == {"readme": b"small"}


async def test_names_that_differ_in_case_are_two_files_on_a_case_sensitive_file_system(loader: Loader) -> None:
    await loader.load(loader.file("README", b"big"), loader.file("readme", b"small"))
    assert loader.names() == {b"README", b"readme"}


async def test_missing_parent_directories_are_created(loader: Loader) -> None:
    await loader.load(*(loader.file(f"a/b/{number}", b"x") for number in range(20)))
    assert (loader.root / "a" / "b" / "19").read_bytes() == b"x"


async def test_a_changed_file_does_not_change_the_time_of_its_directory(loader: Loader) -> None:
    await loader.load(upsert_line("d", "directory", mode=0o555, mtime_ns=5), loader.file("d/x", b"x"))
    await loader.load(loader.file("d/x", b"y"))
    status = (loader.root / "d").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o555, 5)


async def test_a_file_is_loaded_by_one_worker_at_a_time(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, go_on = anyio.Event(), anyio.Event()
    file = to_load(file_id(1), [loader.file("x", b"x")], loader.binaries)

    class Slow(MemoryBinaries):
        @asynccontextmanager
        async def open(self, id_: BinaryId) -> AsyncIterator[AsyncIterator[bytes]]:
            inside.set()
            await go_on.wait()
            async with loader.binaries.open(id_) as pieces:
                yield pieces

    slow = to_load(file_id(1), [loader.file("x", b"x")], Slow())
    outcomes: list[LoadOutcome] = []
    async with loader.destination.open(FLOW) as one, loader.destination.open(FLOW) as other:
        async with anyio.create_task_group() as group:

            async def load_slowly() -> None:
                outcomes.append(await one.load(slow, after=[]))

            group.start_soon(load_slowly)
            await inside.wait()
            with monkeypatch.context() as impatient:
                impatient.setattr(destination, "LOCK_WAIT_SECONDS", 0)
                with pytest.raises(TransientError, match="another worker is loading"):
                    await other.load(file, after=[])

            async def wait_and_load() -> None:
                outcomes.append(await other.load(file, after=[]))

            group.start_soon(wait_and_load)
            await anyio.sleep(0.05)
            assert outcomes == []
            go_on.set()
        assert isinstance(outcomes[0], Loaded)
        assert isinstance(outcomes[1], GaveWay)
        assert list(await other.marks()) == [file_id(1)]
    assert list((loader.root / ".pipeline-import" / "locks").iterdir()) == []


async def test_two_flows_may_fill_one_directory(loader: Loader) -> None:
    await loader.load(loader.file("x", b"x"))
    async with loader.destination.open(FlowName("other")) as session:
        assert await session.marks() == {}
        await loader.into(session, loader.file("y", b"y"))
    assert loader.names() == {b"x", b"y"}


async def test_columns_that_a_tree_cannot_hold_are_named_and_another_schema_is_an_error(loader: Loader) -> None:
    file = to_load(file_id(1), [], loader.binaries)
    schema = file.header.schema
    wider = type(schema)(
        schema.stream, schema.label, (*schema.columns, type(schema.columns[0])("owner", "text")), ("path",)
    )
    table = type(schema)(schema.stream, schema.label, schema.columns[1:], ("kind",))
    async with loader.destination.open(FLOW) as session:
        for shape, expected in ((wider, ("owner",)), (table, None)):
            header = type(file.header)(FLOW, file.entry.id, shape, 0, file.header.export_time)
            shaped = type(file)(file.entry, header, file.blocks, file.open_binary)
            if expected is None:
                with pytest.raises(ConfigurationError, match="not a stream of files"):
                    await session.load(shaped, after=[])
            else:
                outcome = await session.load(shaped, after=[])
                assert isinstance(outcome, Loaded)
                assert outcome.skipped_columns == expected
