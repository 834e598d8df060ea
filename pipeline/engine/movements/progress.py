"""The progress of one worker in one Movement: counted from its events, and written to the store now and then."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from math import inf

import anyio

from pipeline.codec.documents.progress import GroupProgress, Progress, encode_progress
from pipeline.domain import object_keys
from pipeline.domain.errors import AbsentError, DamagedError, PipelineError, TransientError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import BinaryId, Label, ObjectKey
from pipeline.domain.movement import Movement, Totals
from pipeline.domain.outbox.transitions import REASONS_KEPT, REJECTIONS_SECONDS, records_rejected
from pipeline.domain.progress.scores import ScoreKeeper, Shown
from pipeline.domain.progress.shown import ShownProgress
from pipeline.engine.estimates.estimate import Estimate
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.log_events import log
from pipeline.ports.object_store import PutCondition
from pipeline.ports.reporter import (
    BinaryFileFailed,
    BinaryFileStored,
    Busy,
    Event,
    EventFileFailed,
    EventFileImported,
    EventFileStored,
    FinishPlanned,
    GroupComplete,
    ImportPlanned,
    MovementBegun,
    ProgressStored,
    RecordRejected,
    RowsExpected,
    RowsFetched,
    RowsRead,
    SourceRecordRejected,
)

MISSED_UPDATES = 3
"""A worker is presumed dead after this many missed progress updates."""


RELEASE_SECONDS = 2.0
"""How long the end of a process may be delayed to say that nothing is in hand."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What only the workers of a Movement know of it: their totals, and the time left that they have shown, if any."""

    totals: Totals
    shown: tuple[Shown, ...] = ()


def _nothing() -> int:
    return 0


def _no_groups() -> Sequence[Label]:
    return ()


class ProgressKeeper:
    """A Reporter that counts each event and passes it on. `context` is the given one, with this as its reporter;
    `document` holds the counts.

    `begun` is when the run began, by anyio's clock; by default it is now. `before` is what this process has counted in the
    Movement before. `estimate`: all events of the Movement come here, so that it can be said how far it is.
    `paused_groups` are those that people have paused.
    """

    def __init__(
        self,
        context: EngineContext,
        movement: Movement,
        worker: str,
        begun: float | None = None,
        estimate: Estimate | None = None,
        before: Progress | None = None,
    ) -> None:
        self.context = replace(context, reporter=self)
        self.document = before or Progress(worker, context.clock.now(), context.clock.now())
        self.document.alone = estimate is not None
        self._reporter = context.reporter
        self._movement = movement
        self._failed_binaries: set[BinaryId] = set()
        self._rejected, self._rejected_told = 0, 0
        self._rejected_because: dict[str, None] = {}
        self._last_event = anyio.current_time()
        self._begun = self._last_event if begun is None else begun
        self._busy = 0
        self._estimate = estimate
        self._shown = ShownProgress(0 if estimate is None else estimate.percent(self._last_event))
        self._scores = ScoreKeeper()
        self._writing = anyio.Lock()  # of two writes at once, the older counts could come last
        self.in_hand: Callable[[], int] = _nothing
        self.paused_groups: Callable[[], Sequence[Label]] = _no_groups

    def report(self, event: Event) -> None:
        """Count the event and pass it on."""
        self._count(event)
        self._last_event = anyio.current_time()
        if self._estimate is not None:
            self._estimate.pause(self.paused_groups(), self._last_event)
            self._estimate.note(event, self._last_event)
        self._reporter.report(event)

    def note_left(self, entries: Sequence[FileEntry]) -> None:
        """Note Event Files of earlier Movements that are to be imported in this one: the time left is with them."""
        if self._estimate is not None:
            self._estimate.note_left(entries, anyio.current_time())

    def _group(self, label: Label) -> GroupProgress:
        return self.document.groups.setdefault(label, GroupProgress())

    def _count(self, event: Event) -> None:
        document = self.document
        match event:
            case RowsRead(label, rows, encoded_bytes):
                group = self._group(label)
                group.rows_read += rows
                group.encoded_bytes += encoded_bytes
            case RowsExpected(label, stream, rows):
                self._group(label).rows_expected[stream] = rows
            case RowsFetched(label, rows):
                self._group(label).rows_fetched += rows
            case EventFileStored(label=label):
                self._group(label).files_stored += 1
                document.bytes_stored += 0 if event.adopted else event.size
            case GroupComplete(label, listed):
                group = self._group(label)
                group.complete, group.files_listed = True, listed
            case ImportPlanned(label, _, skipped):
                group = self._group(label)
                group.files_skipped = max(skipped - group.files_imported, 0)
            case EventFileImported(label=label, mark=mark):
                group = self._group(label)
                group.files_imported += 1
                group.import_seconds += event.seconds
                group.records_imported += mark.upserts + mark.deletes
                group.deletes_imported += mark.deletes
            case EventFileFailed(label=label):
                self._group(label).files_failed += 1
            case BinaryFileStored(size, reused, count):
                document.binary_bytes += size
                document.binaries_reused += count if reused else 0
                document.binaries_stored += 0 if reused else count
                document.bytes_stored += 0 if reused else size
            case RecordRejected(rejection=rejection) | SourceRecordRejected(rejection=rejection):
                self._rejected += 1
                if len(self._rejected_because) < REASONS_KEPT:
                    self._rejected_because[rejection.reason] = None
            case Busy(is_over=is_over):
                self._busy += -1 if is_over else 1
            case FinishPlanned(passes):
                document.passes = {stream: count for stream, count in passes.items() if count}
            case BinaryFileFailed(binary):
                self._failed_binaries.add(binary)
                document.binaries_failed = len(self._failed_binaries)
            case _:
                pass

    def _idle_seconds(self) -> float:
        return 0.0 if self._busy else anyio.current_time() - self._last_event

    def ran(self) -> Ran:
        """Return what this run has read and stored, its duration, and the time left that it has shown with what came."""
        now = anyio.current_time()
        shown = () if self._estimate is None else self._scores.ended(self._estimate.worked(now))
        return Ran(totals_of([self.document], now - self._begun), shown)

    async def write(self) -> None:
        """Store the present counts for `pipeline status`. A failure is logged; it must not stop the Movement."""
        try:
            await self._put()
        except PipelineError as error:
            log.warning("progress_write_failed", key=self._key, reason=str(error))
            self._show(self._shown.percent)
        await self._tell_rejected()

    async def _tell_rejected(self) -> None:
        """Store an event of the records that were rejected meanwhile, once a minute. The settlement stores the last one."""
        now, count = self.context.clock.now(), self._rejected
        if count == self._rejected_told or (now - self._movement.created).total_seconds() < REJECTIONS_SECONDS:
            return
        event = records_rejected(self._movement, count, self._rejected_because, now)
        if not self.context.flows.outbox.is_stored(event):
            await self.context.flows.note_unsettled(self._movement, [event])
            self._rejected_told = count

    @property
    def _key(self) -> ObjectKey:
        return object_keys.progress_key(self._movement.flow, self._movement.number, self.document.worker)

    async def _put(self) -> None:
        async with self._writing:
            self.document.updated = self.context.clock.now()
            self.document.idle_seconds = round(self._idle_seconds(), 3)
            self.document.in_hand = self.in_hand()
            self._note_estimate()
            self.document.writes += 1
            await self.context.store.put(self._key, encode_progress(self.document), PutCondition.NONE)
            self._show(self.document.percent)

    def _note_estimate(self) -> None:
        if self._estimate is not None:
            document, now = self.document, anyio.current_time()
            self._estimate.pause(self.paused_groups(), now)
            shown = self._estimate.shown(now)
            self._shown = replace(shown, percent=self._shown.percent)
            document.percent = shown.percent
            document.left, document.stalled_seconds = (
                (shown.left, shown.stalled_seconds) if document.working else (None, 0)
            )
            self._scores.note(document.percent, document.left, self._estimate.worked(now))

    def _show(self, percent: int) -> None:
        """Report how far the Movement is. A percent is shown once it is stored, so that no other process begins below it."""
        if self._estimate is not None:
            self._shown = replace(self._shown, percent=percent)
            self._reporter.report(ProgressStored(self._shown))

    async def claim(self) -> Movement:
        """Say that this process begins to work, then read the Movement again and return it.

        A process that stops a Movement stores the wish first and looks for claims afterwards. So one of the two sees the other:
        the wish is in what this returns, or the claim is seen.
        """
        self.document.working = True
        await self._put()
        return await self.context.flows.read_movement(self._movement.flow, self._movement.number)

    async def release(self) -> None:
        """Say that this process has nothing in hand any more."""
        self.document.working = False
        self.document.holding = []
        await self.write()

    @asynccontextmanager
    async def released_at_end(self) -> AsyncIterator[None]:
        """Release the claim when the context ends, however it does. A process that is killed keeps it, and is silent."""
        try:
            yield
        finally:
            if self.document.working:
                with anyio.move_on_after(RELEASE_SECONDS, shield=True):
                    await self.release()

    @asynccontextmanager
    async def kept_written(self, idle_timeout_seconds: float = inf) -> AsyncIterator[None]:
        """Write the progress every `progress_seconds` while the context is open.

        TransientError after `idle_timeout_seconds` without an event, in which no group was paused.
        """
        async with anyio.create_task_group() as group:
            group.start_soon(self._keep_written, idle_timeout_seconds, name="write progress")
            yield
            group.cancel_scope.cancel()

    async def _keep_written(self, idle_timeout_seconds: float) -> None:
        while True:
            await anyio.sleep(self.context.limits.progress_seconds)
            if self.paused_groups():
                self._last_event = anyio.current_time()
            await self.write()
            if self._idle_seconds() > idle_timeout_seconds:
                raise TransientError(
                    f"Nothing has moved for {idle_timeout_seconds:,.0f} seconds. "
                    "Run the command again; it resumes where it stopped."
                )


async def begin_progress(
    context: EngineContext, movement: Movement, worker: str, begun: float, *, resumed: bool
) -> ProgressKeeper:
    """Report that a process does a whole Movement, alone, or goes on with it from the percent that it had."""
    percent = await _stored_percent(context.flows, movement) if resumed else 0
    estimate = Estimate(anyio.current_time() if resumed else begun, percent)
    progress = ProgressKeeper(context, movement, worker, begun, estimate)
    progress.report(MovementBegun(movement.flow, movement.number, resumed, tuple(movement.file_lists), percent))
    return progress


async def _stored_percent(flows: FlowStore, movement: Movement) -> int:
    """Return how far a Movement was, as its processes have stored; 0 if that cannot be read."""
    try:
        workers = await flows.read_progress(movement.flow, movement.number)
    except (AbsentError, DamagedError) as error:
        log.warning("progress_read_failed", flow=movement.flow, movement=movement.number, reason=str(error))
        return 0
    return max((worker.percent for worker in workers), default=0)


def totals_of(workers: Sequence[Progress], seconds: float) -> Totals:
    """Return those totals of a Movement that only its workers know: what they have read and stored, and how long it took."""
    return Totals(
        binaries_stored=sum(worker.binaries_stored for worker in workers),
        binaries_reused=sum(worker.binaries_reused for worker in workers),
        binaries_failed=sum(worker.binaries_failed for worker in workers),
        bytes_read=sum(
            worker.binary_bytes + sum(group.encoded_bytes for group in worker.groups.values()) for worker in workers
        ),
        bytes_stored=sum(worker.bytes_stored for worker in workers),
        seconds=round(seconds, 3),
    )
