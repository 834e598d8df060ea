"""A destination that pulls: the app fetches Event Files over HTTP, and reports what became of them.

The HTTP API writes each report into the object store, as the mark of the file or as the reason why it has failed. The load
of a file waits for that report. So order, time-outs, settlement and `verify` are the same as for any other destination.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio

from pipeline.domain.errors import DefectError, RefusedError
from pipeline.domain.ids import EventFileId, FlowName, StreamName
from pipeline.domain.planning.import_guard import fenced_reason, reason_to_give_way
from pipeline.kit.ledger.kept import Kept, as_mark
from pipeline.kit.loading.rejected import opened_rejections
from pipeline.ports.destination import FileToLoad, GaveWay, Loaded, LoadOutcome, Mark, Rejection, Violation
from pipeline.ports.object_store import ObjectStore
from pipeline.remote.marks import Marks, PortMarks
from pipeline.remote.reports import Reports

FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS = 0.05, 2.0
"""How often a file that is offered is looked at: soon at first, for an app that is quick."""


class PulledDestination:
    """The place of an app that pulls. `location` is `app://NAME`."""

    def __init__(self, location: str, store: ObjectStore | None = None) -> None:
        self.location = location
        self._store = store

    def in_store(self, store: ObjectStore) -> PulledDestination:
        """Return the same destination with the store that has its reports."""
        return PulledDestination(self.location, store)

    async def read_marks(self, flow: FlowName, *, wait_seconds: float) -> Mapping[EventFileId, Mark]:
        """Return the marks of the Flow. The app is not asked."""
        return PortMarks(await Marks.of(self._opened_store(), flow).read())

    @asynccontextmanager
    async def open(self, flow: FlowName) -> AsyncIterator[PulledSession]:
        """Open the reports of one Flow."""
        store = self._opened_store()
        yield PulledSession(Kept(store, flow), Marks.of(store, flow), Reports(store, flow))

    def _opened_store(self) -> ObjectStore:
        if self._store is None:
            raise DefectError("an app was opened without the store that has its reports")
        return self._store


class PulledSession:
    """A DestinationSession whose records another program applies."""

    def __init__(self, kept: Kept, marks: Marks, reports: Reports) -> None:
        self._kept, self._marks, self._reports = kept, marks, reports

    async def marks(self) -> Mapping[EventFileId, Mark]:
        return {file: as_mark(mark) for file, mark in (await self._marks.read()).items()}

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        """Wait until the app has reported the file. RefusedError when it reports that the file has failed for good."""
        async for _ in file.blocks:
            pass  # it is verified before the app is asked to wait for it
        if (reason := await self._reason_to_give_way(file, after)) is not None:
            return GaveWay(reason)
        id_, pause, shown = file.entry.id, FIRST_POLL_SECONDS, await self._reports.progress(file.movement)
        while True:
            if (mark := (await self._marks.read()).get(id_)) is not None:
                return Loaded(as_mark(mark), await self._rejections(id_) if mark.rejected else ())
            if (failure := await self._reports.failure(id_, file.movement)) is not None:
                raise RefusedError(f"the app reports: {failure}")
            if await self._kept.fenced() >= file.movement:
                return GaveWay(fenced_reason(file.movement))
            if (now := await self._reports.progress(file.movement)) != shown:  # the app is at work
                shown = now
                for is_over in (False, True):
                    file.note_busy(now.message or f"{now.percent:.0f} %", is_over)
            await anyio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_POLL_SECONDS)

    async def _reason_to_give_way(self, file: FileToLoad, after: Sequence[EventFileId]) -> str | None:
        marks = await self._marks.read()
        id_ = file.entry.id
        if (mark := marks.get(id_)) is not None and mark.movement == file.movement:
            return None  # the app was quicker than this process
        latest = max((mark.movement for it, mark in marks.items() if it.stream == id_.stream), default=0)
        fenced = await self._kept.fenced()
        return reason_to_give_way(id_, file.movement, after, marked=marks, latest_movement=latest, fenced=fenced)

    async def fence(self, movement: int) -> None:
        await self._kept.fence(movement)

    async def _rejections(self, file: EventFileId) -> tuple[Rejection, ...]:
        return tuple(rejection for rejection in await self.retry_rejected() if rejection.file == file)

    async def retry_rejected(self) -> Sequence[Rejection]:
        """Return the rejected records. The app tries them again by itself, when it wants to."""
        async with opened_rejections(self._kept) as rejected:
            return rejected.rejections()

    async def finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        return []
