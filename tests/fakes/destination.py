"""A destination in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from anyio.lowlevel import checkpoint

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import EventFileId, FlowName, StreamName
from pipeline.ports.destination import (
    DestinationSession,
    FileToLoad,
    GaveWay,
    LoadOutcome,
    Mark,
    Rejection,
    Violation,
)
from pipeline.testing.simulated.calls import UNHINDERED, Calls, value
from tests.fakes.place import Place, Record, Writer, records_of


@dataclass
class MemoryDestination(Place):
    """A Place that is opened as a destination. `session` is what is opened.

    Copies made with `replace` share what the place holds, so that each process can have `calls` of its own. Without
    transactions a process that dies may leave rows without their mark, never the reverse.
    """

    calls: Calls = UNHINDERED
    has_transactions: bool = True
    session: type[MemorySession] | None = None

    @asynccontextmanager
    async def open(self, flow: FlowName) -> AsyncIterator[DestinationSession]:
        async def work() -> DestinationSession:
            await checkpoint()
            if not self.can_be_made:
                raise ConfigurationError(f"{self.location} cannot be made: its parent is missing.")
            return (self.session or MemorySession)(self, flow)

        yield await self.calls.call("destination.open", work)


@dataclass
class MemorySession:
    """An open MemoryDestination."""

    writer: ClassVar[type[Writer]] = Writer
    at: MemoryDestination
    flow: FlowName

    async def marks(self) -> Mapping[EventFileId, Mark]:
        async def work() -> Mapping[EventFileId, Mark]:
            await checkpoint()
            return dict(self.at.marks[self.flow])

        return await self.at.calls.call("destination.marks", work)

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        await self.at.calls.call(f"destination.begin {file.entry.id}", checkpoint)
        records = await records_of(file)

        async def commit() -> LoadOutcome:
            await checkpoint()
            return self.commit(file, records, after)

        async def half() -> None:
            await checkpoint()
            if not self.at.has_transactions and self.why_not(file, after) is None:
                self.at.apply(self.flow, file.entry.id, records[: (len(records) + 1) // 2], self.writer(self.at))

        return await self.at.calls.call(f"destination.load {file.entry.id}", commit, half)

    def why_not(self, file: FileToLoad, after: Sequence[EventFileId]) -> str | None:
        """Return why the file must not be loaded, if it must not."""
        return self.at.why_not(self.flow, file, after)

    def commit(self, file: FileToLoad, records: Sequence[Record], after: Sequence[EventFileId]) -> LoadOutcome:
        """Commit records, or give way."""
        reason = self.why_not(file, after)
        if reason is not None:
            return GaveWay(reason)
        with file.committing():
            return self.at.commit(self.flow, file, records, self.writer(self.at))

    async def retry_rejected(self) -> Sequence[Rejection]:
        async def work() -> Sequence[Rejection]:
            await checkpoint()
            return self.at.retry_rejected(self.flow)

        return await self.at.calls.call("destination.retry_rejected", work)

    async def fence(self, movement: int) -> None:
        async def work() -> None:
            await checkpoint()
            self.at.fences[self.flow] = max(movement, self.at.fences.get(self.flow, 0))

        await self.at.calls.call("destination.fence", work)

    async def finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        found: Sequence[Violation] = []
        return await self.at.calls.call("destination.finish", value(found))
