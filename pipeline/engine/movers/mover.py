"""A whole Movement in one process: export and import at the same time, then settle."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime

import anyio

from pipeline.codec.documents.message import GroupCompleted, encode_message
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import FlowName, Label, ObjectKey, StreamName
from pipeline.domain.movement import NO_CHOICES, Choices, Movement, Status, marks_namespace
from pipeline.domain.planning.selection import selected
from pipeline.domain.schema import SPECIAL_STREAMS, StreamSchema
from pipeline.engine.export.exporter import Exporter
from pipeline.engine.export.source_checks import read_streams
from pipeline.engine.imports.assisted_import import AssistedImport
from pipeline.engine.imports.import_helper import HelperProvider
from pipeline.engine.imports.movement_import import MovementImport
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.lifecycle import begin_movement, end_movement
from pipeline.engine.movements.progress import ProgressKeeper
from pipeline.engine.movements.settlement import Settlement
from pipeline.ports.destination import Destination, DestinationSession, StreamPlanner
from pipeline.ports.reporter import MovementBegun
from pipeline.ports.source import ReferenceChecker, Snapshot, Source

POLL_SECONDS = 0.01

CheckDestination = Callable[[Snapshot, Sequence[StreamSchema], DestinationSession], Awaitable[None]]
"""Raises an error when the selected streams of the snapshot must not be moved to the destination."""


class Mover:
    """Moves one Flow's data once. Run it again after any interruption: it resumes the same Movement.

    `helper` provides a process that imports while this one exports, for a Movement that turns out to be large. `check`
    is called before anything is written.
    """

    def __init__(
        self,
        context: EngineContext,
        flow: FlowName,
        source: Source,
        destination: Destination,
        worker: str,
        helper: HelperProvider | None = None,
        check: CheckDestination | None = None,
    ) -> None:
        self._context = context
        self._flow = flow
        self._source = source
        self._destination = destination
        self._worker = worker
        self._helper = helper
        self._check = check

    async def run(self, choices: Choices = NO_CHOICES) -> Movement:
        """Move, and return the Movement settled. After an error it has not settled."""
        begun = anyio.current_time()
        with unwrap_exception_group():
            async with AsyncExitStack() as reading:
                snapshot = await reading.enter_async_context(self._source.open_snapshot())
                flow = await self._context.flows.find_or_new(
                    self._flow, self._source.location, self._destination.location
                )
                choices = choices.of_flow(flow.declared)
                schemas = await read_streams(snapshot, self._source.location, choices, flow)
                created = flow.created
                async with self._destination.open(marks_namespace(self._flow, created)) as session:
                    chosen = [one for one in schemas if selected(one.stream, choices.only, choices.exclude)]
                    await _plan_streams(session, schemas, chosen)
                    if self._check is not None:
                        await self._check(snapshot, chosen, session)
                    movement, resumed = await self._begin(created, choices)
                    context = replace(self._context, limits=self._context.limits.of_flow(flow.declared.limits))
                    progress = ProgressKeeper(context, movement, self._worker, begun)
                    progress.report(MovementBegun(movement.flow, movement.number, resumed, tuple(movement.file_lists)))
                    exporter = Exporter(progress.context, snapshot, schemas, movement, flow.declared.groups)
                    importing = MovementImport(progress.context, movement, session, groups=flow.declared.groups)
                    return await self._move(importing, exporter, reading, progress)

    async def _begin(self, created: datetime, choices: Choices) -> tuple[Movement, bool]:
        """Return the Movement to work on and whether it is resumed. One that is too old is settled TIMED_OUT first."""
        flows, clock = self._context.flows, self._context.clock
        flow = await flows.connect(self._flow, self._source.location, self._destination.location, created=created)
        movement, resumed = await begin_movement(flows, flow, choices)
        age = clock.now() - movement.created
        if not resumed or age.total_seconds() <= self._context.limits.lifetime_seconds:
            return movement, resumed
        await end_movement(flows, movement, Status.TIMED_OUT)
        return await begin_movement(flows, flow, choices)

    async def _move(
        self,
        importing: MovementImport,
        exporter: Exporter,
        reading: AsyncExitStack,
        progress: ProgressKeeper,
    ) -> Movement:
        context, session = progress.context, importing.session
        await importing.refresh()
        assisted = AssistedImport(context, importing, self._helper)
        async with anyio.create_task_group() as group:
            group.start_soon(assisted.run, exporter.large, name="import")
            group.start_soon(progress.keep_written, context.limits.idle_timeout_seconds, name="write progress")
            movement = await exporter.run()
            await reading.aclose()  # an open snapshot may hinder the app
            assisted.end_export(exporter.announced)
            await self._wait_imported(movement, exporter.announced, assisted)
            group.cancel_scope.cancel()
        await assisted.refresh()
        settled = await Settlement(context, session, self._broken_at_source).settle(
            movement, tuple(exporter.announced.values()), importing.marks, importing.failed, progress.totals()
        )
        await progress.write()
        return settled

    async def _broken_at_source(self, streams: Sequence[StreamName]) -> Container[tuple[StreamName, tuple[str, ...]]]:
        async with self._source.open_snapshot() as snapshot:
            return await snapshot.broken_references(streams) if isinstance(snapshot, ReferenceChecker) else ()

    async def _wait_imported(
        self, movement: Movement, announced: dict[Label, ObjectKey], assisted: AssistedImport
    ) -> None:
        """Wait until every announced group is imported; announce a group again when its message seems lost."""
        last_sent = anyio.current_time()
        while pending := {label: key for label, key in announced.items() if not assisted.is_done(key)}:
            await anyio.sleep(POLL_SECONDS)
            if anyio.current_time() - last_sent < self._context.limits.sweep_seconds:
                continue
            last_sent = anyio.current_time()
            lost = [
                encode_message(GroupCompleted(movement.flow, movement.number, label, key))
                for label, key in pending.items()
                if not assisted.is_in_progress(key)
            ]
            if lost:
                await self._context.queue.send(lost)


async def _plan_streams(
    session: DestinationSession, present: Sequence[StreamSchema], chosen: Sequence[StreamSchema]
) -> None:
    """Let a destination that does not take every stream say so."""
    if isinstance(session, StreamPlanner):
        names = [[one.stream for one in some if one.stream not in SPECIAL_STREAMS] for some in (present, chosen)]
        await session.plan_streams(*names)
