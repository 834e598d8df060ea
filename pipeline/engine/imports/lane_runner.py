"""Running lanes: the Event Files of a plan are loaded in order within a stream, side by side across streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import anyio

from pipeline.codec.documents.failures import Failure
from pipeline.domain.errors import DefectError, PipelineError, TransientError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, Label
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import Movement
from pipeline.domain.outbox.transitions import file_failed
from pipeline.domain.planning.import_guard import fenced_reason
from pipeline.domain.planning.import_plan import Lane, Step
from pipeline.domain.planning.refusals import Refusals
from pipeline.engine.imports.read_ahead import read_ahead
from pipeline.engine.imports.room import Room
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.retries import retry
from pipeline.engine.outbox.safe_trace import exception_type, safe_trace
from pipeline.engine.storage.binaries import BinaryFiles
from pipeline.engine.storage.event_files import find_damage, open_event_file
from pipeline.log_events import bound, log
from pipeline.ports.destination import (
    DestinationSession,
    FileToLoad,
    GaveWay,
    Loaded,
    LoadOutcome,
    Mark,
    Reopen,
    takes_arrays,
)
from pipeline.ports.reporter import Busy, EventFileFailed, EventFileImported, RecordRejected

Stopping = Callable[[Label], bool]
"""Returns whether no more Event Files of a group may be begun."""
Note = Callable[[Movement], Awaitable[None]]
"""Takes note of a change of the Movement."""

LOAD_TRIES = 5
FIRST_RETRY_SECONDS = 0.2
END_LOOKS, END_LOOK_SECONDS = 5, 0.5
"""How often a fenced process looks for the end of its Movement, which is stored right after the fence."""


@dataclass(slots=True)
class _Times:
    """Where the time of one load went, in seconds, and when the file was exported."""

    exported: datetime | None = None
    fetch: float = 0.0
    commit: float = 0.0

    async def fetched(self, blocks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """Give the blocks, and count the time that their consumer waits for them."""
        begun = anyio.current_time()
        async for block in blocks:
            self.fetch += anyio.current_time() - begun
            yield block
            begun = anyio.current_time()


def _log_retry(error: BaseException | None, pause_seconds: float) -> None:
    log.warning("event_file_load_retried", reason=str(error), pause_seconds=pause_seconds)


class LaneRunner:
    """Loads the pending Event Files of one Movement into one destination.

    `marks` and `failed` say what is imported and what could not be. `room` bounds the files loaded at the same time;
    once `stopping` returns True for its group, no more are begun. When the destination refuses everything, the Movement says
    so, and `note` gets it: then it is to stop. With `backwards`, a step begins with its last file: two processes
    that run the same step then meet in the middle.
    """

    def __init__(
        self,
        context: EngineContext,
        movement: Movement,
        session: DestinationSession,
        room: Room,
        stopping: Stopping,
        note: Note,
    ) -> None:
        self._context = context
        self._movement = movement
        self._session = session
        self._room = room
        self._stopping = stopping
        self._note = note
        self._refusals = Refusals()
        self._binaries = BinaryFiles(context.store, movement.stored_in, context.reporter)
        self._in_progress: dict[EventFileId, anyio.Event] = {}
        self._loading: set[EventFileId] = set()
        self._is_carried_on = False
        """Whether a process has fenced the Movement, and died before it stored the end."""
        self.marks: dict[EventFileId, Mark] = {}
        self.failed: dict[EventFileId, str] = {}
        self.backwards = False

    @property
    def in_hand(self) -> int:
        """How many Event Files are being loaded, or wait for room."""
        return len(self._in_progress)

    async def wait_for_hand(self) -> None:
        """Wait until none is."""
        while self._in_progress:
            await next(iter(self._in_progress.values())).wait()

    async def run(self, lanes: Sequence[Lane]) -> None:
        """Run all lanes to their ends, or to where each fails, or until work is to stop. TransientError ends the run."""
        async with anyio.create_task_group() as group:
            for lane in lanes:
                group.start_soon(self._run_lane, lane, name=f"lane {lane.stream}")

    async def _run_lane(self, lane: Lane) -> None:
        for step in lane.steps:
            results: list[bool] = []
            async with anyio.create_task_group() as group:
                for entry in reversed(step.pending) if self.backwards else step.pending:
                    if await self._is_marked_meanwhile(entry):
                        continue
                    await self._begin_file(entry)
                    if self._stopping(entry.label):
                        self._end_file(entry)
                        results.append(False)
                        break
                    group.start_soon(self._run_file, entry, step, results, name=f"load {entry.id}")
            if not all(results):
                return

    async def _is_marked_meanwhile(self, entry: FileEntry) -> bool:
        """Return whether the file was imported since the lane was planned: two lists of a group may name it."""
        while (other := self._in_progress.get(entry.id)) is not None:
            await other.wait()
        return entry.id in self.marks

    async def _begin_file(self, entry: FileEntry) -> None:
        self._in_progress[entry.id] = anyio.Event()
        try:
            await self._room.acquire()
        except BaseException:
            self._in_progress.pop(entry.id).set()
            raise
        self._loading.add(entry.id)

    def _end_file(self, entry: FileEntry) -> None:
        self._loading.discard(entry.id)
        self._in_progress.pop(entry.id).set()
        self._room.release()

    async def _run_file(self, entry: FileEntry, step: Step, results: list[bool]) -> None:
        try:
            name = str(entry.id)
            with bound(event_file=name), self._context.tracer.span("import file", file=name):
                results.append(await self._load_or_fail(entry, step))
        finally:
            self._end_file(entry)

    async def _load_or_fail(self, entry: FileEntry, step: Step) -> bool:
        """Load one file; return whether its lane may go on."""
        begun, times = anyio.current_time(), _Times()
        try:
            outcome = await retry(
                partial(self._load, entry, step, times),
                on=TransientError,
                note=_log_retry,
                first_seconds=FIRST_RETRY_SECONDS,
                tries=LOAD_TRIES,
            )
        except (TransientError, DefectError):
            raise
        except PipelineError as error:
            # An altered file may cause any error: then report the damage, not its consequence.
            damage = await find_damage(self._context.store, entry)
            await self.fail(entry, damage or error)
            if damage is None and self._refusals.note_failed(entry.id.stream, str(error)):
                await self._wait_for_others(entry.id)
                if self._refusals.refuses_everything(entry.id.stream, str(error)):
                    await self._give_up(str(error))
            return False
        if isinstance(outcome, GaveWay):
            is_fenced = outcome.reason == fenced_reason(self._movement.number)
            log.info("event_file_gave_way", reason=outcome.reason, is_fenced=is_fenced)
            self.marks.update(await self._session.marks())
            if entry.id in self.marks:
                self.failed.pop(entry.id, None)
                return True
            if not (is_fenced and await self._is_ending()):
                await self.fail(entry, TransientError(outcome.reason))
            return False
        await self._note_loaded(entry, outcome, anyio.current_time() - begun, times)
        return True

    async def _wait_for_others(self, file: EventFileId) -> None:
        """Wait until the other files in hand have ended, or wait as well: an import shows that the destination takes some."""
        self._loading.discard(file)
        while self._loading:
            await self._in_progress[next(iter(self._loading))].wait()

    async def _give_up(self, reason: str) -> None:
        """Store that the destination refuses everything: no process begins more of the Movement."""
        self._refusals.forget()
        flow, number, since = self._movement.flow, self._movement.number, self._context.clock.now()

        def refuse(now: Movement) -> Movement:
            return now if now.settled or now.refused else replace(now, refused=reason, refused_since=since)

        log.warning("destination_refuses", flow=flow, movement=number, reason=reason)
        await self._note(await self._context.flows.update(flow, number, refuse))

    async def _load(self, entry: FileEntry, step: Step, times: _Times) -> Loaded | GaveWay:
        while isinstance(outcome := await self._load_once(entry, step, times), Reopen):
            log.info("event_file_load_repeated")
        return outcome

    async def _load_once(self, entry: FileEntry, step: Step, times: _Times) -> LoadOutcome:
        begun = anyio.current_time()
        arrays = takes_arrays(self._session, entry.id.stream)
        async with (
            open_event_file(self._context.store, entry, arrays=arrays) as opened,
            read_ahead(aiter(opened.blocks)) as blocks,
            aclosing(times.fetched(blocks)) as fetched,
        ):
            times.fetch += anyio.current_time() - begun
            times.exported = opened.header.export_time
            file = FileToLoad(
                entry,
                opened.header,
                fetched,
                self._binaries.open,
                self._movement.number,
                self._movement.original,
                partial(self._stopping, entry.label),
                self._note_busy,
                partial(self._note_commit, times),
                self._binaries.read_packed,
            )
            return await self._session.load(file, after=step.after)

    def _note_commit(self, times: _Times, seconds: float) -> None:
        times.commit += seconds
        self._context.tracer.note("commit", seconds)

    def _note_busy(self, text: str, is_over: bool) -> None:
        self._context.reporter.report(Busy(text, is_over))

    async def _is_ending(self) -> bool:
        """Return whether the fenced Movement has settled, or is to stop; its end may be on its way to the store.

        That is waited for once: then the process that has fenced it is dead.
        """
        for look in range(1 if self._is_carried_on else END_LOOKS):
            if look:
                await anyio.sleep(END_LOOK_SECONDS)
            now = await self._look()
            if now.settled or now.wish.want is Want.STOP:
                return True
        self._is_carried_on = True
        return False

    async def _look(self) -> Movement:
        """Return the Movement as it is stored now, and take note of it: another process may have settled it."""
        now = await self._context.flows.read_movement(self._movement.flow, self._movement.number)
        await self._note(now)
        return now

    async def fail(self, entry: FileEntry, error: PipelineError) -> None:
        """Note that an Event File could not be loaded. Nothing of it was applied. Of a settled Movement nothing is noted."""
        if (await self._look()).settled:
            return
        self.failed[entry.id] = str(error)
        failure = Failure(entry.id, None, None, None, str(error), exception_type(error), safe_trace(error))
        await self._context.flows.write_failures(self._movement.flow, self._movement.number, entry.id, [failure])
        failed = file_failed(self._movement, entry.id, str(error), self._context.clock.now())
        await self._context.flows.outbox.note([failed])
        self._context.reporter.report(EventFileFailed(entry.label, entry.id, str(error)))

    async def _note_loaded(self, entry: FileEntry, loaded: Loaded, seconds: float, times: _Times) -> None:
        self.marks[entry.id] = loaded.mark
        self._refusals.forget()
        self.failed.pop(entry.id, None)
        flow, number = self._movement.flow, self._movement.number
        if loaded.rejections:
            failures = [Failure(r.file, r.line, r.key, r.column, r.reason) for r in loaded.rejections]
            await self._context.flows.write_failures(flow, number, entry.id, failures)
        else:
            await self._context.flows.clear_failures(flow, number, entry.id)
        now = self._context.clock.now()
        lag = max((now - (times.exported or now)).total_seconds(), 0.0)
        self._context.reporter.report(
            EventFileImported(
                entry.label, entry.id, entry.size, loaded.mark, seconds, times.fetch, times.commit, lag_seconds=lag
            )
        )
        for rejection in loaded.rejections:
            self._context.reporter.report(RecordRejected(entry.label, rejection))
        if loaded.skipped_columns:
            log.info("columns_skipped", columns=loaded.skipped_columns)
