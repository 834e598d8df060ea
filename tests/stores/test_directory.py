"""The directory store and its directory: its error messages, and what it does not touch."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from pipeline.domain.errors import ConfigurationError, PipelineError, RefusedError, TransientError
from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import PutCondition
from pipeline.stores.directory.errors import translated
from pipeline.stores.directory.object_store import PIECE_BYTES, DirectoryObjectStore
from tests.fakes.rows import body_of

KEY = ObjectKey("flows/crm/flow.json")


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (errno.ENOSPC, RefusedError, "make room"),
        (errno.EDQUOT, RefusedError, "make room"),
        (errno.EROFS, RefusedError, "mounted read-only"),
        (errno.EACCES, RefusedError, "right to write"),
        (errno.EPERM, RefusedError, "right to write"),
        (errno.EMFILE, TransientError, "ulimit"),
        (errno.ENAMETOOLONG, ConfigurationError, "shorter path"),
        (errno.EXDEV, RefusedError, "operating system"),
    ],
)
def test_an_error_names_the_place_and_the_way_out(number: int, kind: type[PipelineError], advice: str) -> None:
    with pytest.raises(kind, match=f"/the/place.*{advice}"), translated("store an object in", Path("/the/place")):
        raise OSError(number, os.strerror(number))


def test_a_file_in_place_of_the_directory_is_named(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_bytes(b"")
    store = DirectoryObjectStore(place)
    with pytest.raises(ConfigurationError, match=r"file.*directory of its own"):
        anyio.run(store.put, KEY, b"", PutCondition.ABSENT)


def test_reading_a_store_that_was_never_written_creates_nothing(tmp_path: Path) -> None:
    store = DirectoryObjectStore(tmp_path / "store")
    assert anyio.run(store.stat, KEY) is None
    assert list(anyio.run(store.list_page, "")) == []
    anyio.run(store.delete, KEY)
    assert list(tmp_path.iterdir()) == []


def test_a_relative_path_is_resolved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = DirectoryObjectStore(Path("store"))
    monkeypatch.chdir("/")
    anyio.run(store.put, KEY, b"{}", PutCondition.ABSENT)
    assert (tmp_path / "store/objects/flows/crm/flow.json").read_bytes() == b"{}"


def test_zeros_take_no_space_on_the_disk(tmp_path: Path) -> None:
    store, content = DirectoryObjectStore(tmp_path), bytes(8_000_000)
    (tmp_path / "hole").touch()
    os.truncate(tmp_path / "hole", len(content))
    if (tmp_path / "hole").stat().st_blocks:
        pytest.skip("this file system has no holes")
    anyio.run(store.put, KEY, body_of(content, piece_bytes=300_000), PutCondition.ABSENT)
    status = (tmp_path / "objects" / KEY).stat()
    assert anyio.run(store.get, KEY).data == content
    assert status.st_blocks * 512 < 100_000


async def test_the_last_object_of_a_directory_takes_it_along(tmp_path: Path) -> None:
    store = DirectoryObjectStore(tmp_path)
    keys = [ObjectKey(key) for key in ("a/b/c/1", "a/b/2", "a/b/c/d/3")]
    for key in keys:
        await store.put(key, b"x", PutCondition.ABSENT)
    for key in keys[:2]:
        await store.delete(key)
    assert [path.name for path in (tmp_path / "objects/a/b").iterdir()] == ["c"]
    await store.delete(keys[2])
    await store.delete(keys[2])
    assert list((tmp_path / "objects").iterdir()) == []
    await store.put(keys[0], b"y", PutCondition.ABSENT)
    assert (await store.get(keys[0])).data == b"y"


@pytest.mark.parametrize(
    ("size", "calls"), [(0, (1, 1)), (100, (1, 1)), (PIECE_BYTES - 1, (1, 1)), (PIECE_BYTES, (5, 3))]
)
async def test_a_small_object_takes_one_thread_to_write_and_one_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, calls: tuple[int, int]
) -> None:
    store, hops = DirectoryObjectStore(tmp_path / "store"), list[object]()
    run_sync = anyio.to_thread.run_sync

    async def counted(function: Callable[..., object], *arguments: object) -> object:
        hops.append(function)
        return await run_sync(function, *arguments)

    monkeypatch.setattr(anyio.to_thread, "run_sync", counted)
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    await store.put(KEY, body_of(content, piece_bytes=size // 2 + 1), PutCondition.ABSENT)
    written = len(hops)
    async with store.open_stream(KEY) as pieces:
        assert b"".join([piece async for piece in pieces]) == content
    assert (written, len(hops) - written) == calls
    async with store.open_stream(KEY, start=size // 3) as pieces:
        assert b"".join([piece async for piece in pieces]) == content[size // 3 :]
