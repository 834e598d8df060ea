"""Each of these doubles breaks one clause of a port, and some test of its contract suite fails."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipeline.connectors.sqlite import SqliteDestination, SqliteSource
from pipeline.domain.errors import DamagedError
from pipeline.domain.ids import EventFileId, FlowName, StreamName
from pipeline.domain.keys import Key
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import (
    Destination,
    DestinationSession,
    FileToLoad,
    GaveWay,
    LoadOutcome,
    Mark,
    Rejection,
    Violation,
)
from pipeline.ports.source import RowBlock, Snapshot, Source, UnreadRows, UpsertSink
from tests.connectors.sqlite.test_contracts import destination_world, source_world
from tests.contracts.destination import DestinationContract, file_to_load
from tests.contracts.source import SourceContract
from tests.loops import on_backend


@dataclass(frozen=True)
class Session:
    """Hands everything on to a whole session."""

    whole: DestinationSession

    async def marks(self) -> Mapping[EventFileId, Mark]:
        return await self.whole.marks()

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        return await self.whole.load(file, after=after)

    async def retry_rejected(self) -> Sequence[Rejection]:
        return await self.whole.retry_rejected()

    async def finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        return await self.whole.finish(streams)


class Forgetful(Session):
    async def marks(self) -> Mapping[EventFileId, Mark]:
        return {}


class Overtaking(Session):
    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        return await self.whole.load(file, after=[])


class Trusting(Session):
    """Loads what it got of a damaged file."""

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        async def blocks() -> AsyncIterator[bytes]:
            try:
                async for block in file.blocks:
                    yield block
            except DamagedError:
                return

        return await self.whole.load(replace(file, blocks=blocks()), after=after)


class Repeating(Session):
    """Loads a marked file again, under another name."""

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        outcome = await self.whole.load(file, after=after)
        if isinstance(outcome, GaveWay) and file.entry.id in await self.whole.marks():
            blocks = [block async for block in file.blocks]
            return await self.whole.load(file_to_load(file.header.schema, blocks, chunk=9), after=after)
        return outcome


class LettingLateOnesIn(Session):
    """Says of every file that the latest Movement imports it."""

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        latest = max([mark.movement for mark in (await self.whole.marks()).values()], default=0)
        return await self.whole.load(replace(file, movement=max(latest, file.movement)), after=after)


class Careless(Session):
    async def retry_rejected(self) -> Sequence[Rejection]:
        return []


@dataclass(frozen=True)
class Opening:
    """A destination whose sessions are of one of the kinds above."""

    whole: Destination
    kind: type[Session]

    @property
    def location(self) -> str:
        return self.whole.location

    @asynccontextmanager
    async def open(self, flow: FlowName) -> AsyncIterator[DestinationSession]:
        async with self.whole.open(flow) as session:
            yield self.kind(session)


@dataclass(frozen=True)
class Block:
    """Hands everything on to a whole block."""

    whole: RowBlock

    def __len__(self) -> int:
        return len(self.whole)

    def digest(self) -> bytes:
        return self.whole.digest()

    def last_key(self) -> Key:
        return self.whole.last_key()

    def keys(self) -> Sequence[Key]:
        return self.whole.keys()

    def row_hashes(self) -> bytes:
        return self.whole.row_hashes()

    async def upserts(self, positions: Sequence[int], sink: UpsertSink) -> bytes:
        return await self.whole.upserts(positions, sink)


class Blind(Block):
    def row_hashes(self) -> bytes:
        return bytes(8 * len(self))


class Undiscerning(Block):
    def digest(self) -> bytes:
        return bytes(16)


class Lavish(Block):
    async def upserts(self, positions: Sequence[int], sink: UpsertSink) -> bytes:
        return await self.whole.upserts(range(len(self)), sink)


class Backward(Block):
    def keys(self) -> Sequence[Key]:
        return self.whole.keys()[::-1]


@dataclass(frozen=True)
class Reading:
    """A source whose blocks are of one of the kinds above."""

    whole: Source
    kind: type[Block]

    @property
    def location(self) -> str:
        return self.whole.location

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[Snapshot]:
        async with self.whole.open_snapshot() as snapshot:
            yield _ReadingSnapshot(snapshot, self.kind)


@dataclass(frozen=True)
class _ReadingSnapshot:
    whole: Snapshot
    kind: type[Block]

    async def streams(self) -> Sequence[StreamSchema]:
        return await self.whole.streams()

    @asynccontextmanager
    async def open_rows(self, schema: StreamSchema) -> AsyncIterator[AsyncIterator[RowBlock]]:
        async with self.whole.open_rows(schema) as blocks:
            yield (self.kind(block) async for block in blocks if not isinstance(block, UnreadRows))


def failing(contract: object, worlds: Callable[[], object]) -> set[str]:
    """Return the facts of a contract that do not hold, each tried in a world of its own."""
    failed = set()
    for name, fact in inspect.getmembers(contract, inspect.ismethod):
        if not name.startswith("test_"):
            continue
        wanted = inspect.signature(fact).parameters
        world = worlds()
        arguments: dict[str, object] = {"world": world, "on_loop": on_backend("asyncio"), "later": "upsert"}
        if "file" in wanted:
            arguments["file"] = inspect.unwrap(DestinationContract.file)(contract, world)
        try:
            fact(**{name: arguments[name] for name in wanted})
        except (AssertionError, pytest.fail.Exception):
            failed.add(name)
    return failed


@pytest.mark.parametrize("kind", [Session, Forgetful, Overtaking, Trusting, Repeating, LettingLateOnesIn, Careless])
def test_a_broken_destination_fails_some_fact_and_a_whole_one_none(tmp_path: Path, kind: type[Session]) -> None:
    numbers = iter(range(1000))

    def world() -> object:
        whole = destination_world(tmp_path / f"{next(numbers)}.db", made_by_statement=True)
        return replace(whole, destination=Opening(whole.destination, kind))

    assert bool(failing(DestinationContract(), world)) == (kind is not Session)


@pytest.mark.parametrize("kind", [Block, Blind, Undiscerning, Lavish, Backward])
def test_a_broken_source_fails_some_fact_and_a_whole_one_none(tmp_path: Path, kind: type[Block]) -> None:
    numbers = iter(range(1000))

    def world() -> object:
        whole = source_world(tmp_path / f"{next(numbers)}.db", rows=20)
        return replace(whole, source=Reading(whole.source, kind), again=Reading(whole.again, kind))

    assert bool(failing(SourceContract(), world)) == (kind is not Block)


def test_the_connectors_keep_their_ports() -> None:
    source: Source = SqliteSource(Path("a.db"))
    destination: Destination = SqliteDestination(Path("a.db"))
    assert source.location == destination.location
