"""A destination in the hands of one process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

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
from tests.fakes.place import Place, Record, Refuse, records_of
from tests.simulation.faults import Kind
from tests.simulation.process import Process
from tests.simulation.store import READING, WRITING

REFUSED_PREFIX = "bad"


def refuse_bad(number: int, text: str) -> str | None:
    """Refuse the texts that begin with `REFUSED_PREFIX`."""
    return "CHECK constraint failed" if text.startswith(REFUSED_PREFIX) else None


@dataclass
class SimulatedPlace(Place):
    """A Place. Without transactions a kill may leave rows without their mark, never the reverse."""

    refuses: Refuse = refuse_bad
    has_transactions: bool = True
    location: str = "simulated:destination"


@dataclass
class SimulatedDestination:
    """A Destination in the hands of one process. `session` is what it opens."""

    place: SimulatedPlace
    process: Process
    session: type[SimulatedSession] | None = None

    @property
    def location(self) -> str:
        return self.place.location

    @asynccontextmanager
    async def open(self, flow: FlowName) -> AsyncIterator[DestinationSession]:
        async def work() -> DestinationSession:
            await checkpoint()
            if not self.place.can_be_made:
                raise ConfigurationError(f"{self.location} cannot be made: its parent is missing.")
            return (self.session or SimulatedSession)(self.place, self.process, flow)

        yield await self.process.call("destination.open", work, READING)


@dataclass
class SimulatedSession:
    """An open destination."""

    place: SimulatedPlace
    process: Process
    flow: FlowName

    async def marks(self) -> Mapping[EventFileId, Mark]:
        async def work() -> Mapping[EventFileId, Mark]:
            await checkpoint()
            return dict(self.place.marks[self.flow])

        return await self.process.call("destination.marks", work, READING)

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        await self.process.call(f"destination.begin {file.entry.id}", checkpoint, READING)
        records = await records_of(file)

        async def commit() -> LoadOutcome:
            await checkpoint()
            self.process.disks.check_room(f"destination.load {file.entry.id}")
            return self.commit(file, records, after)

        async def half() -> None:
            await checkpoint()
            if not self.place.has_transactions and self.why_not(file, after) is None:
                self.place.apply(self.flow, file.entry.id, records[: (len(records) + 1) // 2])

        return await self.process.call(
            f"destination.load {file.entry.id}", commit, (*WRITING, Kind.REFUSE), halfway=half
        )

    def why_not(self, file: FileToLoad, after: Sequence[EventFileId]) -> str | None:
        return self.place.why_not(self.flow, file, after)

    def commit(self, file: FileToLoad, records: Sequence[Record], after: Sequence[EventFileId]) -> LoadOutcome:
        reason = self.why_not(file, after)
        return self.place.commit(self.flow, file, records) if reason is None else GaveWay(reason)

    async def retry_rejected(self) -> Sequence[Rejection]:
        async def work() -> Sequence[Rejection]:
            await checkpoint()
            return self.place.retry_rejected(self.flow)

        return await self.process.call("destination.retry_rejected", work, (*READING, Kind.FAIL_AFTER))

    async def finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        async def work() -> Sequence[Violation]:
            await checkpoint()
            return []

        return await self.process.call("destination.finish", work, (*READING, Kind.FAIL_AFTER))
