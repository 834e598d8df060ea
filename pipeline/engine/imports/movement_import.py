"""The import of one Movement in one process: its groups, as they are announced, into one open destination."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from enum import Enum

import anyio

from pipeline.codec.documents.message import GroupCompleted, encode_message
from pipeline.domain.errors import TAKEN_AWAY, AbsentError, DamagedError, LeaseLostError, RefusedError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.flows.declaration import NOTHING_DECLARED, Declaration
from pipeline.domain.ids import EventFileId, Label, ObjectKey, StreamName
from pipeline.domain.movement import Movement
from pipeline.domain.object_keys import is_growing
from pipeline.domain.planning.compaction import applicable
from pipeline.domain.planning.import_plan import WHOLE, Lane, Plan, Shard, accounted, plan, plan_grown
from pipeline.engine.imports.existing_records import ExistingRecords
from pipeline.engine.imports.group_order import Blocked, GroupOrder, Turn
from pipeline.engine.imports.lane_runner import LaneRunner, Note, Stopping
from pipeline.engine.imports.room import Room
from pipeline.engine.imports.stream_order import StreamOrder
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.outbox.imported import imported_events
from pipeline.ports.destination import DestinationSession, Mark
from pipeline.ports.reporter import ImportPlanned
from pipeline.ports.tracer import SilentTracer

POLL_SECONDS = 0.05
"""A stream that waits for others looks this often whether they are imported."""


class Work(Enum):
    """What became of an announced group: it was worked through, work is to stop, or streams of it wait for others."""

    DONE = "done"
    STOPPED = "stopped"
    WAITING = "waiting"


def never(label: Label) -> bool:
    """Return False: for a run that is stopped by cancellation only."""
    return False


async def nothing_noted(movement: Movement) -> None:
    """Do nothing: for a run that nobody watches."""


class MovementImport:
    """Imports announced groups of one Movement in one process.

    `marks` and `failed` say which Event Files are imported and which could not be; `done` names the File Lists that are
    worked through, `holding` the groups in progress. `settling` is the lock for attempts to settle the Movement.
    """

    def __init__(
        self,
        context: EngineContext,
        movement: Movement,
        session: DestinationSession,
        room: anyio.Semaphore | None = None,
        stopping: Stopping = never,
        *,
        declared: Declaration = NOTHING_DECLARED,
        note: Note = nothing_noted,
        existing: ExistingRecords | None = None,
    ) -> None:
        """`room` bounds the Event Files that this process loads at the same time, of whatever Flow.

        `stopping` is asked before each Event File; once it returns True for its group, no more are begun. `declared` says
        which groups wait for others, and how many Event Files of the Flow are loaded at the same time. `note` gets the
        Movement once its destination refuses everything. `existing` knows the records that must not be overwritten.
        """
        places = Room(context.limits.of_flow(declared.limits).importers, room)
        self._context = context
        self._stopping = stopping
        self._in_progress: dict[tuple[ObjectKey, Shard], anyio.Event] = {}
        self._runner = LaneRunner(context, movement, session, places, stopping, note)
        self._order = StreamOrder(context, movement, session, self._runner.marks, self._runner.failed)
        self._groups = GroupOrder(context, movement, declared.groups)
        self._existing = existing
        self.movement = movement
        self.session = session
        self.marks: dict[EventFileId, Mark] = self._runner.marks
        self.failed: dict[EventFileId, str] = self._runner.failed
        self.done: set[ObjectKey] = set()
        self.holding: list[Label] = []
        self.settling = anyio.Lock()

    @property
    def context(self) -> EngineContext:
        """The context in which it imports: its reporter counts what this process does for the Movement."""
        return self._context

    @property
    def in_hand(self) -> int:
        """How many Event Files this process is importing."""
        return self._runner.in_hand

    async def wait_for_hand(self) -> None:
        """Wait until the transactions that this process has begun have ended."""
        await self._runner.wait_for_hand()

    def note_imported(self, file: EventFileId, mark: Mark) -> None:
        """Note what another process has imported."""
        self.marks[file] = mark
        self.failed.pop(file, None)

    async def refresh(self) -> None:
        """Read the marks from the destination."""
        self.marks.update(await self.session.marks())

    def is_in_progress(self, file_list: ObjectKey) -> bool:
        """Return whether this process is importing from that File List."""
        return any(key == file_list for key, _ in self._in_progress)

    def begin_at_the_end(self) -> None:
        """From now on, begin each step with its last file, and so meet a process that begins with the first."""
        self._runner.backwards = True

    async def skip_imported(self, label: Label, file_list: ObjectKey, entries: Sequence[FileEntry]) -> bool:
        """Be done with a group if all of it is imported, so that it need not be announced; return whether it is.

        Not if groups wait for others: the end of one announces those.
        """
        planned = plan(entries, self.marks)
        if planned.pending or self._groups.are_ordered:
            return False
        self._context.reporter.report(ImportPlanned(label, planned.pending, planned.skipped))
        self.done.add(file_list)
        await self._note_imported_group(label, entries)
        return True

    async def _note_imported_group(self, label: Label, entries: Sequence[FileEntry]) -> None:
        events = imported_events(self.movement, label, entries, self.marks, self._context.clock.now())
        await self._context.flows.note_unsettled(self.movement, events)

    async def take(self, announced: GroupCompleted) -> bool:
        """Import an announced group; return whether its message is done with. If streams wait, it is announced again."""
        work = await self.import_group(announced)
        if work is Work.WAITING:
            await self._context.queue.send([encode_message(announced)])
        elif work is Work.DONE:
            await self._groups.announce_dependants(announced.label)
        return work is not Work.STOPPED

    async def import_group(self, announced: GroupCompleted) -> Work:
        """Import a group, or a shard of it. WAITING: announce it again; other groups may need the place of this one.

        A large group that is not split yet is split into shards, which are announced. Of a group that has grown, only
        the new part of its list is imported: the rest was announced before. A group that waits for another one is done
        with for now: the end of that one announces it again.
        """
        parent = await self._exported_in(announced)
        span = self._context.tracer.span
        with span("import group", parent, flow=announced.flow, movement=announced.movement, group=announced.label):
            return await self._import_group(announced)

    async def _exported_in(self, announced: GroupCompleted) -> str:
        """Return the span of the group's export. A message that was sent again does not have it; the File List does."""
        if announced.traceparent or isinstance(self._context.tracer, SilentTracer):
            return announced.traceparent
        with suppress(AbsentError):  # reading its entries will name what is wrong
            return await self._context.flows.file_lists.traceparent(announced.key)
        return ""

    async def _import_group(self, announced: GroupCompleted) -> Work:
        grown_from = self._grown_from(announced)
        async with self._exclusively(announced):
            entries = await self._read_entries(announced)
            if entries is None:
                return Work.DONE
            match await self._turn(announced.label):
                case Turn.LATER:
                    return Work.DONE
                case Blocked(reason):
                    if grown_from is None:
                        await self._fail(entries, reason)
                        self.done.add(announced.key)
                    return Work.DONE
                case Turn.NOW:
                    pass
            if grown_from is not None:
                lanes = plan_grown(entries, self.marks, grown_from).lanes
                await self._runner.run([lane for lane in lanes if await self._may_begin(lane.stream)])
                return Work.STOPPED if self._stopping(announced.label) else Work.DONE
            planned = plan(entries, self.marks, announced.shard)
            if announced.shard == WHOLE and self._is_large(planned):
                await self._announce_shards(announced, planned.pending)
                return Work.DONE
            self._context.reporter.report(ImportPlanned(announced.label, planned.pending, planned.skipped))
            waiting = await self._run_in_order(announced.label, await self._kept(entries, planned.lanes))
        if self._stopping(announced.label) and not accounted(entries, self.marks, self.failed):
            return Work.STOPPED
        if waiting:
            return Work.WAITING
        if announced.shard == WHOLE:
            self.done.add(announced.key)
        else:
            await self._announce_next_step(announced, entries, planned.lanes)
        await self._note_imported_group(announced.label, entries)
        return Work.DONE

    def _grown_from(self, announced: GroupCompleted) -> int | None:
        """Return from which position on the list of a group that is not complete is to be imported; None if it is complete.

        A message that was sent again, after a resume for example, does not say it. The key of the list does.
        """
        it = self.movement
        if announced.grown_from is None and is_growing(announced.key) and not it.exported and it.origin is None:
            return 0
        return announced.grown_from

    async def _may_begin(self, stream: StreamName) -> bool:
        """Return whether files of a stream may be loaded before all of its group are listed."""
        if self._order.predecessors(stream):
            return False
        return self._existing is None or await self._existing.is_clear(stream)

    async def _kept(self, entries: Sequence[FileEntry], lanes: Sequence[Lane]) -> Sequence[Lane]:
        """Return the lanes that overwrite nothing that the destination has already; the others have failed."""
        if self._existing is None:
            return lanes
        kept = list[Lane]()
        for lane in lanes:
            reason = ""
            if not await self._existing.is_clear(lane.stream):
                files = [entry for entry in applicable(entries, self.marks) if entry.id.stream == lane.stream]
                reason = await self._existing.refusal(lane.stream, files)
            if reason:
                await self._fail_lane(lane, RefusedError(reason))
            else:
                kept.append(lane)
        return kept

    async def _fail_lane(self, lane: Lane, error: RefusedError) -> None:
        for entry in lane.steps[0].pending:
            if self.failed.get(entry.id) != str(error):
                await self._runner.fail(entry, error)

    async def _run_in_order(self, label: Label, lanes: Sequence[Lane]) -> bool:
        """Run lanes, each after the streams that come before it; return whether some still wait for other groups.

        A lane whose streams before it have failed fails with them.
        """
        waiting: Sequence[Lane] = lanes
        until = anyio.current_time() + self._context.limits.progress_seconds
        while waiting and not self._stopping(label):
            ready, left = await self._ready(waiting)
            if len(left) == len(waiting):
                if anyio.current_time() > until:
                    return True
                await anyio.sleep(POLL_SECONDS)
            waiting = left
            await self._runner.run(ready)
        return bool(waiting)

    async def _ready(self, lanes: Sequence[Lane]) -> tuple[Sequence[Lane], Sequence[Lane]]:
        """Return the lanes that wait for nothing more, and those that do. One that can never be loaded has failed."""
        ready, waiting = list[Lane](), list[Lane]()
        for lane in lanes:
            try:
                (ready if await self._order.is_ready(lane.stream) else waiting).append(lane)
            except RefusedError as error:
                await self._fail_lane(lane, error)
        return ready, waiting

    async def _turn(self, label: Label) -> Turn | Blocked:
        if not self._groups.waits(label):
            return Turn.NOW
        await self.refresh()
        return await self._groups.turn(label, self.marks, self.failed)

    async def _fail(self, entries: Sequence[FileEntry], reason: str) -> None:
        """Note that the first file of each lane cannot be imported in this Movement, nor those after it."""
        for lane in plan(entries, self.marks).lanes:
            await self._fail_lane(lane, RefusedError(reason))

    @asynccontextmanager
    async def _exclusively(self, announced: GroupCompleted) -> AsyncIterator[None]:
        """Wait while the same work is in progress here: its message came twice, and this may be the only one left."""
        work = (announced.key, announced.shard)
        while work in self._in_progress:
            await self._in_progress[work].wait()
        self._in_progress[work] = anyio.Event()
        self.holding.append(announced.label)
        try:
            yield
        finally:
            self._in_progress.pop(work).set()
            self.holding.remove(announced.label)

    async def _read_entries(self, announced: GroupCompleted) -> Sequence[FileEntry] | None:
        """Return the entries of an announced File List; None if it is not there, and its Movement does not name it.

        A message may be as old as a Flow of the same name that was removed since. What its Movement names is announced again.
        """
        try:
            return await self._context.flows.read_file_list(announced.key)
        except AbsentError as error:
            movement = await self._context.flows.read_movement(announced.flow, announced.movement)
            if movement.settled:  # since then the File List may have been pruned
                raise LeaseLostError(
                    f"Movement {movement.number} of Flow {movement.flow!r} was settled by another process; this one gives way."
                ) from error
            if movement.file_lists.get(announced.label) != announced.key:
                return None
            raise DamagedError(f"File List {announced.key} is missing from the store. {TAKEN_AWAY}") from error

    def _is_large(self, planned: Plan) -> bool:
        most = self._context.limits.shard_files
        return most > 0 and planned.pending > most

    async def _announce_shards(self, announced: GroupCompleted, pending: int) -> None:
        """Split the group into shards of about `shard_files` Event Files, and announce each."""
        count = min(-(-pending // self._context.limits.shard_files), self._context.limits.max_shards)
        shards = [replace(announced, shard=Shard(index, count)) for index in range(count)]
        await self._context.queue.send([encode_message(shard) for shard in shards])

    async def _announce_next_step(
        self, announced: GroupCompleted, entries: Sequence[FileEntry], lanes: Sequence[Lane]
    ) -> None:
        """Announce the whole group again if this shard completed a step that another one follows.

        The marks are read after the last file of this shard was marked. So the last of several shards announces; two
        that end at the same moment may both do so. A shard without work does not announce because of a step that has
        failed: the next shard would be empty too, without end.
        """
        await self.refresh()
        next_steps = [lane.steps[0] for lane in plan(entries, self.marks).lanes]
        if lanes:
            own = {entry.id for lane in lanes for step in lane.steps for entry in step.pending}
        else:  # an earlier owner of this shard may have died after its last file and before its announcement
            own = {entry.id for ordinal, entry in enumerate(entries) if announced.shard.has(ordinal)}
            failures = await self._context.flows.read_failures(self.movement.flow, self.movement.number)
            failed = {failure.file for failure in failures if failure.line is None}
            next_steps = [step for step in next_steps if not failed.issuperset(entry.id for entry in step.pending)]
        if any(own & set(step.after) for step in next_steps):
            if not lanes:  # bounds the rate at which a failure that cannot be stored repeats this
                await anyio.sleep(self._context.limits.progress_seconds)
            await self._context.queue.send([encode_message(replace(announced, shard=WHOLE))])
