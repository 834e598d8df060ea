"""The import of one Movement in one process: its groups, as they are announced, into one open destination."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import anyio

from pipeline.codec.documents.message import GroupCompleted, encode_message
from pipeline.domain.errors import AbsentError, DamagedError, LeaseLostError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, Label, ObjectKey
from pipeline.domain.movement import Movement
from pipeline.domain.planning.import_plan import WHOLE, Lane, Shard, accounted, plan, plan_grown
from pipeline.engine.imports.lane_runner import LaneRunner
from pipeline.engine.movements.context import EngineContext
from pipeline.ports.destination import DestinationSession, Mark
from pipeline.ports.reporter import ImportPlanned


def never() -> bool:
    """The answer to "should work stop?" of a run that is stopped by cancelling it."""
    return False


class MovementImport:
    """What one process does for the import of one Movement. `marks` and `failed` are what it knows of Event Files.

    `stopping` is asked before each Event File: once it says yes, no more is begun. `holding` names the groups in hand;
    `settling` is held by whoever tries to settle the Movement.
    """

    def __init__(
        self,
        context: EngineContext,
        movement: Movement,
        session: DestinationSession,
        limiter: anyio.CapacityLimiter,
        stopping: Callable[[], bool] = never,
    ) -> None:
        self._context = context
        self._stopping = stopping
        self._in_hand: dict[tuple[ObjectKey, Shard], anyio.Event] = {}
        self.movement = movement
        self.session = session
        self.runner = LaneRunner(context, movement, session, {}, limiter, stopping)
        self.marks: dict[EventFileId, Mark] = self.runner.marks
        self.done: set[ObjectKey] = set()
        self.holding: list[Label] = []
        self.settling = anyio.Lock()

    @property
    def failed(self) -> dict[EventFileId, str]:
        """The Event Files that could not be applied, and why."""
        return self.runner.failed

    def note_imported(self, file: EventFileId, mark: Mark) -> None:
        """Take note of what another process has imported."""
        self.marks[file] = mark
        self.failed.pop(file, None)

    async def refresh(self) -> None:
        """Ask the destination what it has imported."""
        self.marks.update(await self.session.marks())

    def is_in_hand(self, file_list: ObjectKey) -> bool:
        """Whether this process is working on that File List now."""
        return any(key == file_list for key, _ in self._in_hand)

    async def import_group(self, announced: GroupCompleted) -> bool:
        """Import a group, or a share of it; return whether it was worked through, which is not so when stopping.

        A large group of which no share was made yet is shared out: each share is announced, and that is all. A message
        that came twice waits for the first to be dealt with: it may be the only one that is still in the queue.
        Of a group that has grown, only what is new in its list is imported: the rest was announced before.
        """
        work = (announced.key, announced.shard)
        while work in self._in_hand:
            await self._in_hand[work].wait()
        self._in_hand[work] = anyio.Event()
        self.holding.append(announced.label)
        try:
            entries = await self._entries(announced)
            if announced.grown_from is not None:
                await self.runner.run(plan_grown(entries, self.marks, announced.grown_from).lanes)
                return not self._stopping()
            planned = plan(entries, self.marks, announced.shard)
            most = self._context.limits.shard_files
            if announced.shard == WHOLE and most and planned.pending > most:
                await self._announce_shards(announced, planned.pending)
                return True
            self._context.reporter.report(ImportPlanned(announced.label, planned.pending, planned.skipped))
            await self.runner.run(planned.lanes)
        finally:
            self._in_hand.pop(work).set()
            self.holding.remove(announced.label)
        if self._stopping() and not accounted(entries, self.marks, self.failed):
            return False
        if announced.shard == WHOLE:
            self.done.add(announced.key)
        else:
            await self._ring_for_what_follows(announced, entries, planned.lanes)
        return True

    async def _entries(self, announced: GroupCompleted) -> Sequence[FileEntry]:
        try:
            return await self._context.flows.read_file_list(announced.key)
        except AbsentError as error:
            movement = await self._context.flows.read_movement(announced.flow, announced.movement)
            if movement.settled:  # since then the File List may have been pruned
                raise LeaseLostError(
                    f"Movement {movement.number} of Flow {movement.flow!r} was settled by another process; this one gives way."
                ) from error
            raise DamagedError(f"File List {announced.key} is missing from the store. Restore it.") from error

    async def _announce_shards(self, announced: GroupCompleted, pending: int) -> None:
        """Split the group into shards of about `shard_files` Event Files each, and announce every shard."""
        count = min(-(-pending // self._context.limits.shard_files), self._context.limits.max_shards)
        shards = [replace(announced, shard=Shard(index, count)) for index in range(count)]
        await self._context.queue.send([encode_message(shard) for shard in shards])

    async def _ring_for_what_follows(
        self, announced: GroupCompleted, entries: Sequence[FileEntry], lanes: Sequence[Lane]
    ) -> None:
        """Announce the group anew if the step that this share was of is complete, and another follows it.

        The marks are read after the last file of this share was marked, so of several shares the last one rings; two
        that end at the same moment may both do so. Who had nothing to do does not ring for a step that has failed: the
        share that comes of it would be empty, too, and so on without an end.
        """
        await self.refresh()
        following = [lane.steps[0] for lane in plan(entries, self.marks).lanes]
        if lanes:
            own = {entry.id for lane in lanes for step in lane.steps for entry in step.pending}
        else:  # whoever had this share before died when it was done, perhaps before ringing
            own = {entry.id for ordinal, entry in enumerate(entries) if announced.shard.has(ordinal)}
            failures = await self._context.flows.read_failures(self.movement.flow, self.movement.number)
            failed = {failure.file for failure in failures if failure.line is None}
            following = [step for step in following if not failed.issuperset(entry.id for entry in step.pending)]
        if any(own & set(step.after) for step in following):
            if not lanes:  # a failure that could not be written down would have this go round and round
                await anyio.sleep(self._context.limits.progress_seconds)
            await self._context.queue.send([encode_message(replace(announced, shard=WHOLE))])
