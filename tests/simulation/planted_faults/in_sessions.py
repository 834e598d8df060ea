"""Faults planted in destinations: rows and marks that do not belong together, and answers that are not true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from anyio.lowlevel import checkpoint

from pipeline.domain.errors import PipelineError, RefusedError
from pipeline.domain.ids import EventFileId
from pipeline.ports.destination import FileToLoad, Loaded, LoadOutcome, Mark
from tests.fakes.destination import MemorySession
from tests.fakes.place import Record
from tests.simulation.planted_faults.worlds import REFUSING, small_files
from tests.simulation.scenarios.planting import in_sessions


@in_sessions(range(50))
class MarksBeforeTheRows(MemorySession):
    def commit(self, file: FileToLoad, records: Sequence[Record], after: Sequence[EventFileId]) -> LoadOutcome:
        empty = super().commit(file, [], after)
        if isinstance(empty, Loaded):
            self.at.apply(self.flow, file.entry.id, records)
        return empty


@in_sessions(range(200))
class CommitsRowsWithoutTheMark(MemorySession):
    """Two transactions: a kill between them leaves the rows, and another file may come in between."""

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        outcome = await super().load(file, after=after)
        if isinstance(outcome, Loaded):
            mark = self.at.marks[self.flow].pop(file.entry.id)
            await self.at.calls.call("destination.mark", checkpoint)
            self.at.marks[self.flow][file.entry.id] = mark
        return outcome


@in_sessions(range(50))
class LoadsWhatIsMarkedAlready(MemorySession):
    def why_not(self, file: FileToLoad, after: Sequence[EventFileId]) -> str | None:
        missing = [before for before in after if before not in self.at.marks[self.flow]]
        return super().why_not(file, after) if missing else None


@in_sessions(range(50))
class ForgetsDeletes(MemorySession):
    def commit(self, file: FileToLoad, records: Sequence[Record], after: Sequence[EventFileId]) -> LoadOutcome:
        return super().commit(file, [record for record in records if record[0] != "delete"], after)


@in_sessions(range(200), world=small_files, kinds=REFUSING)
class GoesOnBehindAFileThatFailed(MemorySession):
    """A lane does not learn of a failure, and the destination does not check the files before."""

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        try:
            return await super().load(file, after=())
        except PipelineError:
            return Loaded(Mark(0, 0, movement=file.movement))


@in_sessions(range(50))
class CountsWhatItDidNotCommit(MemorySession):
    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        if file.entry.id.stream == "a" and file.entry.id.chunk % 2:
            return Loaded(Mark(file.entry.upserts, file.entry.deletes, movement=file.movement))
        return await super().load(file, after=after)


@in_sessions(range(50))
class RefusesWhatItCouldTake(MemorySession):
    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        if file.entry.id.chunk:
            raise RefusedError(f"{file.entry.id} was refused")
        return await super().load(file, after=after)


@in_sessions(range(100))
@dataclass
class AsksForMarksOnce(MemorySession):
    """It does not know what other processes, such as the helper before it, have imported since."""

    first: Mapping[EventFileId, Mark] | None = None

    async def marks(self) -> Mapping[EventFileId, Mark]:
        if self.first is None:
            self.first = await super().marks()
        return self.first
