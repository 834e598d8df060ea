"""A source that is read in a subprocess, so that two sources are read and hashed on two processors.

Of most blocks only the digest and the last key cross the channel; hashes, keys and lines cross when they are asked for.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import anyio

from pipeline.domain.ids import StreamName
from pipeline.domain.inventory import InventoryItem
from pipeline.domain.keys import Key
from pipeline.domain.schema import StreamSchema
from pipeline.ports.source import (
    DefinitionReader,
    OmissionReporter,
    RowBlock,
    RowRejection,
    Snapshot,
    Source,
    StoreBinary,
    UnreadRows,
    UpsertSink,
)
from pipeline.processes.channel import Subprocess, open_subprocess

BLOCKS_KEPT = 3
"""The block that is read ahead, the one that is compared, and the one before, whose last key may be asked for."""


@dataclass(frozen=True, slots=True)
class BlockSummary:
    """What crosses of each block. `number` counts the blocks of a stream; `hashes` are there if they were wanted."""

    number: int
    rows: int
    digest: bytes
    last_key: Key
    hashes: bytes | None


class SnapshotReader:
    """The service in the subprocess: reads one stream of a snapshot at a time."""

    def __init__(self, snapshot: Snapshot, opened: AsyncExitStack) -> None:
        self._snapshot = snapshot
        self._opened = opened
        self._rows: AsyncIterator[RowBlock | UnreadRows]
        self._blocks: dict[int, RowBlock] = {}
        self._next = 0

    async def streams(self) -> Sequence[StreamSchema]:
        """Return the streams of the snapshot."""
        return await self._snapshot.streams()

    async def omissions(self) -> Sequence[InventoryItem]:
        """Return what the rows do not give."""
        return await self._snapshot.omissions() if isinstance(self._snapshot, OmissionReporter) else ()

    async def definitions(self) -> Mapping[StreamName, Mapping[str, str]]:
        """Return what tables have beside rows."""
        return await self._snapshot.definitions() if isinstance(self._snapshot, DefinitionReader) else {}

    async def open_rows(self, schema: StreamSchema) -> None:
        """Open a stream in place of the one before."""
        await self._opened.aclose()
        self._rows = aiter(await self._opened.enter_async_context(self._snapshot.open_rows(schema)))
        self._next = 0
        self._blocks.clear()

    async def next_block(self, with_hashes: bool) -> BlockSummary | UnreadRows | None:
        """Read a block and drop the oldest one; return None after the last block."""
        block = await anext(self._rows, None)
        if block is None or isinstance(block, UnreadRows):
            return block
        number, self._next = self._next, self._next + 1
        self._blocks[number] = block
        self._blocks.pop(number - BLOCKS_KEPT, None)
        hashes = block.row_hashes() if with_hashes else None
        return BlockSummary(number, len(block), block.digest(), block.last_key(), hashes)

    async def keys(self, number: int) -> Sequence[Key]:
        """Return the keys of a block."""
        return list(self._blocks[number].keys())

    async def row_hashes(self, number: int) -> bytes:
        """Return the hashes of a block."""
        return self._blocks[number].row_hashes()

    async def upserts(
        self, number: int, positions: Sequence[int], store_binary: StoreBinary
    ) -> tuple[bytes, Mapping[int, RowRejection]]:
        """Return the upsert lines of some rows of a block, and the rejected rows."""
        sink = UpsertSink(store_binary)
        return await self._blocks[number].upserts(positions, sink), sink.rejected


@asynccontextmanager
async def open_reader(make_source: Callable[[], Source], _closed: anyio.Event) -> AsyncIterator[SnapshotReader]:
    """Open the service."""
    async with make_source().open_snapshot() as snapshot, AsyncExitStack() as opened:
        yield SnapshotReader(snapshot, opened)


class RemoteSource:
    """A source that is made and read in a subprocess.

    The `store_binary` of `upserts` runs there too, so it must be picklable: a function of a module.
    """

    def __init__(self, make_source: Callable[[], Source]) -> None:
        """Read the source that the picklable `make_source` makes."""
        self._make_source = make_source

    @property
    def location(self) -> str:
        """The location of the source."""
        return self._make_source().location

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[RemoteSnapshot]:
        """Start the subprocess and open the source in it."""
        async with open_subprocess(partial(open_reader, self._make_source), f"reads {self.location}") as subprocess:
            yield RemoteSnapshot(subprocess)


class RemoteSnapshot:
    """A Snapshot in a subprocess. One stream is read at a time: to open a second waits until the first is closed."""

    def __init__(self, subprocess: Subprocess[SnapshotReader]) -> None:
        self._subprocess = subprocess
        self._reading = anyio.Lock()

    async def streams(self) -> Sequence[StreamSchema]:
        """The streams, ordered by name."""
        return await self._subprocess.call(SnapshotReader.streams).value()

    async def omissions(self) -> Sequence[InventoryItem]:
        """What the rows do not give."""
        return await self._subprocess.call(SnapshotReader.omissions).value()

    async def definitions(self) -> Mapping[StreamName, Mapping[str, str]]:
        """What tables have beside rows."""
        return await self._subprocess.call(SnapshotReader.definitions).value()

    @asynccontextmanager
    async def open_rows(self, schema: StreamSchema) -> AsyncIterator[AsyncIterator[RemoteBlock | UnreadRows]]:
        """Open the rows of a stream. One block is read ahead."""
        async with self._reading, aclosing(self._blocks(schema)) as blocks:
            yield blocks

    async def _blocks(self, schema: StreamSchema) -> AsyncGenerator[RemoteBlock | UnreadRows, None]:
        await self._subprocess.call(SnapshotReader.open_rows, schema).value()
        with_hashes = False
        ahead = self._subprocess.call(SnapshotReader.next_block, with_hashes)
        while (summary := await ahead.value()) is not None:
            ahead = self._subprocess.call(SnapshotReader.next_block, with_hashes)
            if isinstance(summary, UnreadRows):
                yield summary
                continue
            block = RemoteBlock(self._subprocess, summary)
            yield block
            with_hashes = block.hashes_were_used


class RemoteBlock:
    """A RowBlock in a subprocess, which keeps it until the one after the next is read.

    To ask for keys or hashes blocks the event loop until the subprocess has replied.
    """

    def __init__(self, subprocess: Subprocess[SnapshotReader], summary: BlockSummary) -> None:
        self._subprocess = subprocess
        self._summary = summary
        self.hashes_were_used = False
        """Then the hashes of later blocks come with their summaries."""

    def __len__(self) -> int:
        return self._summary.rows

    def digest(self) -> bytes:
        """The digest, from the summary."""
        return self._summary.digest

    def last_key(self) -> Key:
        """The last key, from the summary."""
        return self._summary.last_key

    def keys(self) -> Sequence[Key]:
        """The keys."""
        return self._subprocess.call(SnapshotReader.keys, self._summary.number).value_blocking()

    def row_hashes(self) -> bytes:
        """The hashes."""
        self.hashes_were_used = True
        if self._summary.hashes is not None:
            return self._summary.hashes
        return self._subprocess.call(SnapshotReader.row_hashes, self._summary.number).value_blocking()

    async def upserts(self, positions: Sequence[int], sink: UpsertSink) -> bytes:
        """The lines. `store_binary` runs in the subprocess."""
        request = (self._summary.number, list(positions), sink.store_binary)
        lines, rejected = await self._subprocess.call(SnapshotReader.upserts, *request).value()
        sink.rejected.update(rejected)
        return lines
