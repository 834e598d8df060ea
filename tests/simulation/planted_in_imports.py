"""Faults planted in importers and destinations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from anyio.lowlevel import checkpoint

from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId
from pipeline.domain.planning.import_plan import Lane, Step
from pipeline.engine.imports.lane_runner import LaneRunner
from pipeline.engine.messaging.message_handler import MessageHandler
from pipeline.ports.destination import FileToLoad, Loaded, LoadOutcome
from pipeline.ports.event_queue import Message
from tests.simulation.destination import Record, SimulatedSession
from tests.simulation.mutations import Patch, found_within
from tests.simulation.store import DEADLY


@found_within(50)
def acknowledges_first(patch: Patch) -> None:
    handle = MessageHandler.handle

    async def acknowledge_and_handle(self: MessageHandler, message: Message) -> None:
        await self._context.queue.acknowledge([message.receipt])
        await handle(self, message)

    patch.setattr(MessageHandler, "handle", acknowledge_and_handle)


@found_within(50)
def marks_before_the_rows(patch: Patch) -> None:
    commit = SimulatedSession._commit

    def mark_first(
        self: SimulatedSession, file: FileToLoad, records: Sequence[Record], after: Sequence[EventFileId]
    ) -> LoadOutcome:
        empty = commit(self, file, [], after)
        if isinstance(empty, Loaded):
            self.place.apply(self.flow, file.entry.id, records)
        return empty

    patch.setattr(SimulatedSession, "_commit", mark_first)


@found_within(500)
def commits_rows_without_the_mark(patch: Patch) -> None:
    """Two transactions: a kill between them leaves the rows, and another file may come in between."""
    load = SimulatedSession.load

    async def load_twice(self: SimulatedSession, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        outcome = await load(self, file, after=after)
        if isinstance(outcome, Loaded):
            mark = self.place.marks[self.flow].pop(file.entry.id)
            await self.process.call("destination.mark", checkpoint, DEADLY)
            self.place.marks[self.flow][file.entry.id] = mark
        return outcome

    patch.setattr(SimulatedSession, "load", load_twice)


@found_within(500)
def loads_what_is_marked_already(patch: Patch) -> None:
    why_not = SimulatedSession._why_not

    def only_the_order(self: SimulatedSession, file: FileToLoad, after: Sequence[EventFileId]) -> str | None:
        missing = [before for before in after if before not in self.place.marks[self.flow]]
        return why_not(self, file, after) if missing else None

    patch.setattr(SimulatedSession, "_why_not", only_the_order)


@found_within(50)
def forgets_the_order_of_steps(patch: Patch) -> None:
    """All steps of a lane at once, and none says what must come before it."""
    run_lane = LaneRunner._run_lane

    async def run_steps(self: LaneRunner, lane: Lane) -> None:
        pending = tuple(entry for step in reversed(lane.steps) for entry in step.pending)
        await run_lane(self, replace(lane, steps=(replace(lane.steps[0], pending=pending, after=()),)))

    patch.setattr(LaneRunner, "_run_lane", run_steps)


@found_within(1000, first=220)
def goes_on_behind_a_file_that_failed(patch: Patch) -> None:
    """Neither does a lane stop at a file that failed, nor does the destination ask for what comes before."""
    load_or_fail, why_not = LaneRunner._load_or_fail, SimulatedSession._why_not

    async def never_fails(self: LaneRunner, entry: FileEntry, step: Step) -> bool:
        await load_or_fail(self, entry, step)
        return True

    def only_the_mark(self: SimulatedSession, file: FileToLoad, after: Sequence[EventFileId]) -> str | None:
        return why_not(self, file, ())

    patch.setattr(LaneRunner, "_load_or_fail", never_fails)
    patch.setattr(SimulatedSession, "_why_not", only_the_mark)
