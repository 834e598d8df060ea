"""The directory store between processes: one winner, no lost update, no half-written object after a kill."""

from __future__ import annotations

import os
import random
import resource
import signal
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import time

import anyio
import pytest

from pipeline.domain.errors import ConflictError, PipelineError
from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import OpenBody, PutCondition
from pipeline.stores.directory.object_store import DirectoryObjectStore
from tests.contracts.processes import race, start, wait_for_start

pytestmark = pytest.mark.slow

KEY = ObjectKey("flows/crm/flow.json")
PROCESSES = 8


def create(root: str, name: str) -> None:
    wait_for_start()

    async def main() -> None:
        store = DirectoryObjectStore(Path(root))
        for number in range(20):
            try:
                await store.put(ObjectKey(f"race/{number}"), name.encode(), PutCondition.ABSENT)
            except ConflictError:
                continue
            print(number, end=" ")

    anyio.run(main)


def come_and_go(root: str, name: str) -> None:
    wait_for_start()

    async def main() -> None:
        store = DirectoryObjectStore(Path(root))
        for number in range(100):
            key = ObjectKey(f"a/b/c/{name}.{number}")
            await store.put(key, b"x", PutCondition.ABSENT if number % 2 else PutCondition.NONE)
            if number != 99:
                await store.delete(key)

    anyio.run(main)


def count_up(root: str, times: str) -> None:
    wait_for_start()

    async def main() -> None:
        store = DirectoryObjectStore(Path(root))
        done = 0
        while done < int(times):
            seen = await store.get(KEY)
            try:
                await store.put(KEY, b"%d" % (int(seen.data) + 1), seen.version)
            except ConflictError:
                continue
            done += 1

    anyio.run(main)


def replace_for_ever(root: str) -> None:
    async def main() -> None:
        store = DirectoryObjectStore(Path(root))
        await store.put(KEY, b"x" * 400_000, PutCondition.NONE)
        wait_for_start()
        for number in range(1_000_000):
            data = bytes([number % 256]) * 400_000
            await store.put(KEY, data, PutCondition.NONE)
            await store.put(ObjectKey(f"new/{number}"), body_of(data), PutCondition.ABSENT)

    anyio.run(main)


def put_over_the_limit(root: str) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    wait_for_start()

    async def main() -> None:
        store = DirectoryObjectStore(Path(root))
        data = b"x" * 3_000_000
        for body in (data, body_of(data)):
            try:
                await store.put(KEY, body, PutCondition.ABSENT)
            except PipelineError as error:
                print(type(error).__name__, error)

    anyio.run(main)


def body_of(data: bytes) -> OpenBody:
    @asynccontextmanager
    async def open_body() -> AsyncIterator[AsyncIterable[bytes]]:
        yield _pieces(data)

    return open_body


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start_at in range(0, len(data), 100_000):
        yield data[start_at : start_at + 100_000]


def test_one_of_several_creating_processes_wins(tmp_path: Path) -> None:
    outputs = race([start(create, tmp_path, number) for number in range(PROCESSES)])
    won = {int(number): name for name, output in enumerate(outputs) for number in output.split()}
    assert sum(len(output.split()) for output in outputs) == len(won) == 20
    for number, name in won.items():
        assert (tmp_path / f"objects/race/{number}~").read_text() == str(name)


def test_an_object_is_stored_though_others_remove_its_empty_directory(tmp_path: Path) -> None:
    race([start(come_and_go, tmp_path, number) for number in range(PROCESSES)])
    assert {path.name for path in (tmp_path / "objects/a/b/c").iterdir()} == {f"{n}.99" for n in range(PROCESSES)}


async def test_no_update_of_a_process_is_lost(tmp_path: Path) -> None:
    store = DirectoryObjectStore(tmp_path)
    await store.put(KEY, b"0", PutCondition.ABSENT)
    race([start(count_up, tmp_path, 10) for _ in range(PROCESSES)])
    assert (await store.get(KEY)).data == b"%d" % (PROCESSES * 10)


async def test_a_killed_writer_leaves_whole_objects_only(tmp_path: Path) -> None:
    store = DirectoryObjectStore(tmp_path)
    chance = random.Random(1)
    for _ in range(6):
        child = start(replace_for_ever, tmp_path)
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "ready\n"
        child.stdin.write("\n")
        child.stdin.flush()
        await anyio.sleep(chance.uniform(0.0, 0.1))
        child.send_signal(signal.SIGKILL)
        child.communicate()
        for info in await store.list_page(""):
            data = (await store.get(info.key)).data
            assert data == data[:1] * 400_000
            await store.delete(info.key)


def test_a_file_over_the_limit_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    [output] = race([start(put_over_the_limit, tmp_path)])
    lines = output.splitlines()
    assert [line.split()[0] for line in lines] == ["RefusedError"] * 2
    assert all(str(tmp_path) in line and "make room" in line for line in lines)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_a_dead_writer_s_file_is_removed(tmp_path: Path) -> None:
    await DirectoryObjectStore(tmp_path).put(KEY, b"", PutCondition.ABSENT)
    old, fresh = tmp_path / "tmp/old", tmp_path / "tmp/fresh"
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (time() - 90, time() - 90))
    await DirectoryObjectStore(tmp_path).put(KEY, b"", PutCondition.NONE)
    assert list((tmp_path / "tmp").iterdir()) == [fresh]


async def test_a_living_writer_s_file_is_not_removed(tmp_path: Path) -> None:
    store = DirectoryObjectStore(tmp_path)

    async def long_body() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        [writing] = (tmp_path / "tmp").iterdir()
        os.utime(writing, (time() - 90, time() - 90))
        await DirectoryObjectStore(tmp_path).put(ObjectKey("other"), b"", PutCondition.NONE)
        yield b"y"

    @asynccontextmanager
    async def open_body() -> AsyncIterator[AsyncIterable[bytes]]:
        yield long_body()

    await store.put(KEY, open_body, PutCondition.ABSENT)
    assert (await store.stat(KEY)) is not None
