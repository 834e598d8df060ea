"""Binary Files on SeaweedFS: 2,000 of 20 KB and 4 large ones, stored and read by the engine and other S3 clients in one run.

`BENCH_LARGE_MB` is the size of a large file (the figures in docs/explanation/performance.md use 512). `BENCH_ROUNDS` is how
often the small files are stored and read; the table shows medians. The extra `bench` installs the other clients.
"""

from __future__ import annotations

import importlib
import os
import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from types import ModuleType

import anyio
from anyio import to_thread

from benchmarks import other_clients
from benchmarks.other_clients import Client
from pipeline.aws.options import AwsOptions
from pipeline.domain.ids import BinaryId, FlowName
from pipeline.engine.storage.binaries import BinaryFiles
from pipeline.engine.storage.pack_writer import PACKED_BYTES
from pipeline.ports.object_store import ObjectStore, OpenBody
from pipeline.ports.reporter import SilentReporter
from pipeline.stores.s3.object_store import open_s3_store
from tests.servers.addresses import S3Server
from tests.servers.seaweedfs import seaweedfs
from tests.stores.s3_buckets import new_bucket

SMALL_FILES = 2_000
SMALL_BYTES = 20_000
SMALL_AT_ONCE = 16
LARGE_FILES = 4
LARGE_AT_ONCE = 4
LARGE_BYTES = int(os.environ.get("BENCH_LARGE_MB", "64")) * 1_000_000
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
PIECE_BYTES = 1024 * 1024

Work = Callable[[str], Awaitable[int]]
Opened = tuple[str, Callable[[str], Client]]


class Engine:
    """Stores and reads as an exporter and an importer do, with or without packs."""

    def __init__(self, store: ObjectStore, flow: str, packed_bytes: int) -> None:
        self._store, self._flow, self._packed_bytes = store, FlowName(flow), packed_bytes
        self._ids: dict[str, BinaryId] = {}
        self._files = self._as_a_new_process()

    def _as_a_new_process(self) -> BinaryFiles:
        return BinaryFiles(self._store, self._flow, SilentReporter(), packed_bytes=self._packed_bytes)

    async def put(self, name: str, data: bytes) -> None:
        """Store a small content."""
        self._ids[name] = await self._files.store(_opening(lambda: _only(data)))

    async def put_file(self, name: str, path: Path) -> None:
        """Store the content of a file."""
        self._ids[name] = await self._files.store(_opening(lambda: _pieces_of(path)))

    async def end(self) -> None:
        """Make all content durable, and start with empty caches, as a reader in another process does."""
        await self._files.flush()
        self._files = self._as_a_new_process()

    async def get(self, name: str) -> int:
        """Read a content and check it; return its size."""
        async with self._files.open(self._ids[name]) as pieces:
            return sum([len(piece) async for piece in pieces])


def _opening(pieces: Callable[[], AsyncIterator[bytes]]) -> OpenBody:
    @asynccontextmanager
    async def open_body() -> AsyncIterator[AsyncIterator[bytes]]:
        yield pieces()

    return open_body


async def _only(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def _pieces_of(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await to_thread.run_sync(file.read, PIECE_BYTES):
            yield piece


def run(directory: Path) -> None:
    """Measure, and print a table."""
    large = directory / "large"
    with seaweedfs() as server:
        bucket = anyio.run(new_bucket, server)
        anyio.run(_measure, server, bucket, large)


async def _measure(server: S3Server, bucket: str, large: Path) -> None:
    print(f"Binary Files: {SMALL_FILES:,} of {SMALL_BYTES // 1000} KB, {LARGE_FILES} of {LARGE_BYTES // 1_000_000} MB")
    print(f"  {'':22}{'small, stored':>30}{'small, read':>30}{'large, stored':>15}{'large, read':>13}")
    print(f"  {'':22}{'files/s   MB/s  CPU ms/file':>30}{'files/s   MB/s  CPU ms/file':>30}{'MB/s':>15}{'MB/s':>13}")
    async with AsyncExitStack() as stack:
        options = AwsOptions(server.endpoint_url, server.region, server.access_key_id, server.secret_access_key)
        store = await stack.enter_async_context(open_s3_store(bucket, aws=options, path_style=True))
        clients: list[Opened] = [
            ("engine, packs", lambda flow: Engine(store, flow, PACKED_BYTES)),
            ("engine, without packs", lambda flow: Engine(store, flow, -1)),
        ]
        for name, modules, open_client in other_clients.ALL:
            try:
                loaded: Sequence[ModuleType] = [importlib.import_module(module) for module in modules]
            except ImportError as error:
                print(f"  {name}: left out, {error}: pip install 'app-data-pipeline[bench]'")
                continue
            client = await stack.enter_async_context(open_client(server, bucket, *loaded))
            clients.append((name, partial(_same, client)))
        await _measure_all(clients, large)


def _same(client: Client, flow: str) -> Client:
    """Return the client itself: other clients have no Flows."""
    return client


async def _measure_all(clients: Sequence[Opened], large: Path) -> None:
    figures: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name, _ in clients}
    for turn in range(ROUNDS):
        for name, client in clients:
            figures[name].append(await _small(client(f"{name} {turn}"), f"{name}/{turn}", turn))
    await to_thread.run_sync(_write_large, large)
    for name, client in clients:
        stored, read = await _large(client(f"{name} large"), f"{name}/large", large)
        medians = [statistics.median(figure) for figure in zip(*figures[name], strict=True)]
        print(
            f"  {name:22}{_small_figures(*medians[:2])}{_small_figures(*medians[2:])}{stored:>15.0f}{read:>13.0f}",
            flush=True,
        )


def _small_figures(seconds: float, cpu_seconds: float) -> str:
    rate, megabytes = SMALL_FILES / seconds, SMALL_FILES * SMALL_BYTES / 1e6 / seconds
    return f"{rate:>12,.0f}{megabytes:>7.1f}{cpu_seconds * 1000 / SMALL_FILES:>11.2f}"


async def _small(client: Client, prefix: str, seed: int) -> tuple[float, float, float, float]:
    """Return seconds and CPU seconds of storing, and of reading."""
    dice = random.Random(seed)
    contents = {f"{prefix}/{number}": dice.randbytes(SMALL_BYTES) for number in range(SMALL_FILES)}

    async def put(name: str) -> int:
        await client.put(name, contents[name])
        return SMALL_BYTES

    stored = await _timed(put, list(contents), SMALL_AT_ONCE, SMALL_BYTES, client.end)
    read = await _timed(client.get, list(contents), SMALL_AT_ONCE, SMALL_BYTES, None)
    return *stored, *read


async def _large(client: Client, prefix: str, large: Path) -> tuple[float, float]:
    """Return MB/s of storing, and of reading."""
    names = [f"{prefix}/{number}" for number in range(LARGE_FILES)]

    async def put(name: str) -> int:
        await client.put_file(name, large / name.rpartition("/")[2])
        return LARGE_BYTES

    stored, _ = await _timed(put, names, LARGE_AT_ONCE, LARGE_BYTES, client.end)
    read, _ = await _timed(client.get, names, LARGE_AT_ONCE, LARGE_BYTES, None)
    return LARGE_FILES * LARGE_BYTES / 1e6 / stored, LARGE_FILES * LARGE_BYTES / 1e6 / read


async def _timed(
    work: Work, names: Sequence[str], at_once: int, size: int, end: Callable[[], Awaitable[None]] | None
) -> tuple[float, float]:
    """Do the work for all names; return the seconds and CPU seconds of this process.

    RuntimeError unless each result is `size` bytes.
    """
    waiting = iter(names)

    async def take() -> None:
        for name in waiting:
            done = await work(name)
            if done != size:
                raise RuntimeError(f"{name} has {done} bytes, not {size}")

    begun, cpu = time.perf_counter(), time.process_time()
    async with anyio.create_task_group() as group:
        for _ in range(at_once):
            group.start_soon(take)
    if end is not None:
        await end()
    return time.perf_counter() - begun, time.process_time() - cpu


def _write_large(large: Path) -> None:
    large.mkdir()
    for number in range(LARGE_FILES):
        dice = random.Random(number)
        block = dice.randbytes(1_000_000)
        with (large / str(number)).open("wb") as file:
            for piece in range(LARGE_BYTES // 1_000_000):
                file.write(piece.to_bytes(4, "big") + block[4:])
