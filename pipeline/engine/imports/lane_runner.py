"""Running lanes: the Event Files of a plan are loaded in order within a stream, side by side across streams."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager

import anyio
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from pipeline.codec.documents.failures import Failure
from pipeline.domain.errors import DefectError, PipelineError, TransientError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import EventFileId
from pipeline.domain.movement import Movement
from pipeline.domain.planning.import_plan import Lane, Step
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.storage.binaries import BinaryFiles
from pipeline.engine.storage.event_files import find_damage, open_event_file
from pipeline.ports.destination import DestinationSession, FileToLoad, GaveWay, Loaded, LoadOutcome, Mark
from pipeline.ports.reporter import EventFileFailed, EventFileImported, RecordRejected

READ_AHEAD_BLOCKS = 4
"""Blocks of one or two megabytes that are fetched and decompressed while the one before them is loaded."""
LOAD_TRIES = 5
FIRST_RETRY_SECONDS = 0.2

log = structlog.get_logger()


@asynccontextmanager
async def _read_ahead(blocks: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    """Give the blocks of `blocks`, read by a task of its own. An error of reading is raised where it is read from."""
    send, receive = anyio.create_memory_object_stream[bytes | PipelineError](READ_AHEAD_BLOCKS)

    async def pump(sink: MemoryObjectSendStream[bytes | PipelineError]) -> None:
        async with sink:
            try:
                await _pass_on(blocks, sink)
            except anyio.BrokenResourceError:
                return  # the loader has stopped reading

    with unwrap_exception_group():
        async with anyio.create_task_group() as group, receive:
            group.start_soon(pump, send, name="read ahead")
            async with aclosing(_unpacked(receive)) as unpacked:
                yield unpacked
            group.cancel_scope.cancel()


async def _pass_on(blocks: AsyncIterator[bytes], sink: MemoryObjectSendStream[bytes | PipelineError]) -> None:
    try:
        async for block in blocks:
            await sink.send(block)
    except PipelineError as error:
        await sink.send(error)


async def _unpacked(received: MemoryObjectReceiveStream[bytes | PipelineError]) -> AsyncGenerator[bytes, None]:
    async for block in received:
        if isinstance(block, PipelineError):
            raise block
        yield block


class LaneRunner:
    """Loads what is pending for one Movement into one destination."""

    def __init__(
        self,
        context: EngineContext,
        movement: Movement,
        session: DestinationSession,
        marks: dict[EventFileId, Mark],
        limiter: anyio.CapacityLimiter,
        stopping: Callable[[], bool],
    ) -> None:
        self._context = context
        self._movement = movement
        self._session = session
        self.marks = marks
        self._limiter = limiter
        self._stopping = stopping
        self._binaries = BinaryFiles(context.store, movement.stored_in, context.reporter)
        self.failed: dict[EventFileId, str] = {}
        self._in_hand: dict[EventFileId, anyio.Event] = {}
        self.backwards = False
        """Whether to begin with the last file of a step: then two that do the same step meet in the middle."""

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
                    self._in_hand[entry.id] = anyio.Event()
                    borrower = (
                        object()
                    )  # not the id: a lane of another Movement may name the same file at the same time
                    try:
                        await self._limiter.acquire_on_behalf_of(borrower)
                    except BaseException:
                        self._in_hand.pop(entry.id).set()
                        raise
                    if self._stopping():
                        self._let_go(entry, borrower)
                        results.append(False)
                        break
                    group.start_soon(self._run_file, entry, step, results, borrower, name=f"load {entry.id}")
            if not all(results):
                return

    def _let_go(self, entry: FileEntry, borrower: object) -> None:
        self._in_hand.pop(entry.id).set()
        self._limiter.release_on_behalf_of(borrower)

    async def _is_marked_meanwhile(self, entry: FileEntry) -> bool:
        """Whether the file was imported since the lane was planned: another list of its group may name it too."""
        while (other := self._in_hand.get(entry.id)) is not None:
            await other.wait()
        return entry.id in self.marks

    async def _run_file(self, entry: FileEntry, step: Step, results: list[bool], borrower: object) -> None:
        try:
            with structlog.contextvars.bound_contextvars(event_file=str(entry.id)):
                results.append(await self._load_or_fail(entry, step))
        finally:
            self._let_go(entry, borrower)

    async def _load_or_fail(self, entry: FileEntry, step: Step) -> bool:
        """Load one file; return whether the lane may go on behind it."""
        begun = anyio.current_time()
        try:
            outcome = await self._load_with_retries(entry, step)
        except (TransientError, DefectError):
            raise
        except PipelineError as error:
            # What an altered header led to is not the reason: the alteration is.
            await self._note_failure(entry, await find_damage(self._context.store, entry) or error)
            return False
        if isinstance(outcome, GaveWay):
            self.marks.update(await self._session.marks())
            if entry.id in self.marks:
                self.failed.pop(entry.id, None)
                return True
            await self._note_failure(entry, TransientError(outcome.reason))
            return False
        await self._note_loaded(entry, outcome, anyio.current_time() - begun)
        return True

    async def _load_with_retries(self, entry: FileEntry, step: Step) -> LoadOutcome:
        for attempt in range(LOAD_TRIES):
            try:
                return await self._load(entry, step)
            except TransientError as error:
                if attempt == LOAD_TRIES - 1:
                    raise
                log.warning("event_file_load_retried", reason=str(error))
                await anyio.sleep(FIRST_RETRY_SECONDS * 2**attempt)
        raise DefectError("a loop over the tries of a load ended without a result")

    async def _load(self, entry: FileEntry, step: Step) -> LoadOutcome:
        async with open_event_file(self._context.store, entry) as opened, _read_ahead(aiter(opened.blocks)) as blocks:
            file = FileToLoad(entry, opened.header, blocks, self._binaries.open, self._movement.number)
            return await self._session.load(file, after=step.after)

    async def _note_failure(self, entry: FileEntry, error: PipelineError) -> None:
        self.failed[entry.id] = str(error)
        failure = Failure(entry.id, None, None, None, str(error))
        await self._context.flows.write_failures(self._movement.flow, self._movement.number, entry.id, [failure])
        self._context.reporter.report(EventFileFailed(entry.label, entry.id, str(error)))

    async def _note_loaded(self, entry: FileEntry, loaded: Loaded, seconds: float) -> None:
        self.marks[entry.id] = loaded.mark
        self.failed.pop(entry.id, None)
        flow, number = self._movement.flow, self._movement.number
        if loaded.rejections:
            failures = [Failure(r.file, r.line, r.key, r.column, r.reason) for r in loaded.rejections]
            await self._context.flows.write_failures(flow, number, entry.id, failures)
        else:
            await self._context.flows.clear_failures(flow, number, entry.id)
        self._context.reporter.report(EventFileImported(entry.label, entry.id, entry.size, loaded.mark, seconds))
        for rejection in loaded.rejections:
            self._context.reporter.report(RecordRejected(entry.label, rejection))
        if loaded.skipped_columns:
            log.info("columns_skipped", columns=loaded.skipped_columns)
