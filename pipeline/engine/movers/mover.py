"""A whole Movement in one process: export and import at the same time, then settle."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

import anyio

from pipeline.codec.documents.message import GroupCompleted, encode_message
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.flows.declaration import NOTHING_DECLARED, Declaration
from pipeline.domain.ids import FlowName, Label, ObjectKey, StreamName
from pipeline.domain.movement import NO_CHOICES, Choices, Flow, Movement, marks_namespace
from pipeline.domain.planning.compaction import applicable
from pipeline.domain.planning.selection import selected
from pipeline.domain.schema import SPECIAL_STREAMS, StreamSchema
from pipeline.engine.control.early_end import deadlines_of
from pipeline.engine.control.interruptions import Interruptions
from pipeline.engine.control.watch import LOOK_SECONDS, Watch
from pipeline.engine.estimates.finish_passes import finish_passes
from pipeline.engine.export.exporter import Exporter
from pipeline.engine.export.source_checks import read_streams
from pipeline.engine.imports.assisted_import import AssistedImport
from pipeline.engine.imports.import_helper import HelperProvider
from pipeline.engine.imports.movement_import import MovementImport
from pipeline.engine.messaging.stopping import run_until_set
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.lifecycle import UnwantedError, begin_movement
from pipeline.engine.movements.progress import ProgressKeeper, begin_progress
from pipeline.engine.movements.settlement import Settlement
from pipeline.ports.checks import SchemaJudge
from pipeline.ports.destination import Destination, DestinationSession, SchemaKeeper, StreamPlanner, takes_arrays
from pipeline.ports.reporter import FinishPlanned
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
        self._interruptions = Interruptions(context, destination)

    async def run(self, choices: Choices = NO_CHOICES, declared: Declaration = NOTHING_DECLARED) -> Movement:
        """Move, and return the Movement settled. After an error it has not settled. A Flow that is new is so `declared`.

        While it is paused, this waits with source and destination closed, and then carries on.
        """
        begun = anyio.current_time()
        while not (movement := await self._run_until_wished(choices, declared, begun)).settled:
            movement = await self._interruptions.wait(movement)
            if movement.settled:
                break
        return movement

    async def _run_until_wished(self, choices: Choices, declared: Declaration, begun: float) -> Movement:
        """Work on the Movement until it has settled, or is to pause or to stop; return it."""
        with unwrap_exception_group():
            async with AsyncExitStack() as reading:
                snapshot = await reading.enter_async_context(self._source.open_snapshot())
                flow = await self._context.flows.find_or_new(
                    self._flow, self._source.location, self._destination.location, declared
                )
                choices = choices.of_flow(flow.declared)
                schemas = await read_streams(snapshot, self._source.location, choices, flow, self._context.flows)
                chosen = [one for one in schemas if selected(one.stream, choices.only, choices.exclude)]
                _ensure_importable(self._destination, chosen)
                if flow.declared.approvals.required:
                    from pipeline.engine.control.approvals import ensure_approved  # few Flows require any

                    await ensure_approved(self._context.store, flow, snapshot, chosen)
                async with self._destination.open(marks_namespace(self._flow, flow.created)) as session:
                    await _plan_streams(session, schemas, chosen)
                    if self._check is not None:
                        await self._check(snapshot, chosen, session)
                    movement, resumed = await self._begin(flow, choices, session)
                    context = replace(self._context, limits=self._context.limits.of_flow(flow.declared.limits))
                    progress = await begin_progress(context, movement, self._worker, begun, resumed=resumed)
                    watch = Watch(self._context.flows, movement, self._context.limits.progress_seconds)
                    importing = MovementImport(
                        progress.context,
                        movement,
                        session,
                        stopping=watch.stops,
                        declared=flow.declared,
                        note=watch.note,
                    )
                    order, arrays = flow.declared.groups, partial(takes_arrays, session)
                    exporter = Exporter(
                        progress.context, snapshot, schemas, movement, order, arrays, importing.skip_imported
                    )
                    idle_seconds = deadlines_of(movement, context.limits).inactivity_seconds
                    async with progress.released_at_end(), progress.kept_written(idle_seconds):
                        return await self._move(importing, watch, exporter, reading, progress)

    async def _begin(self, found: Flow, choices: Choices, session: DestinationSession) -> tuple[Movement, bool]:
        """Return the Movement to work on and whether it is resumed. One that is too old, or to stop, is settled first."""
        flows = self._context.flows
        ends = self._source.location, self._destination.location
        flow = await flows.connect(self._flow, *ends, created=found.created, declared=found.declared)
        try:
            movement, resumed = await begin_movement(flows, flow, choices)
        except UnwantedError as error:
            await self._interruptions.end_unwanted(flow, error.movement, session)
            return await begin_movement(flows, flow, choices)
        if resumed and await self._interruptions.is_too_old(movement, session):
            return await begin_movement(flows, flow, choices)
        return movement, resumed

    async def _left_before(self, importing: MovementImport, labels: Container[Label]) -> Sequence[FileEntry]:
        """Return the Event Files of these groups that earlier Movements have stored, and the destination does not have.

        Of a group that was imported to its end, no list is read.
        """
        movement, marks, found = importing.movement, importing.marks, list[FileEntry]()
        for label, key in movement.file_lists.items():
            counts = movement.counts.get(label)
            if label in labels and (counts is None or counts.imported != counts.listed):
                entries = applicable(await self._context.flows.read_file_list(key), marks)
                found += [one for one in entries if one.id not in marks and one.id.movement != movement.number]
        return found

    async def _move(
        self,
        importing: MovementImport,
        watch: Watch,
        exporter: Exporter,
        reading: AsyncExitStack,
        progress: ProgressKeeper,
    ) -> Movement:
        context, session, movement = progress.context, importing.session, importing.movement
        progress.in_hand, progress.paused_groups = lambda: importing.in_hand, watch.paused_groups
        await importing.refresh()
        progress.note_left(await self._left_before(importing, {schema.label for schema in exporter.chosen}))
        if isinstance(session, SchemaKeeper):
            loaded = {file.stream for file, mark in importing.marks.items() if mark.movement != movement.number}
            context.reporter.report(FinishPlanned(finish_passes(exporter.chosen, loaded)))
        assisted = AssistedImport(context, importing, watch, self._helper)

        async def import_claimed() -> None:
            await watch.note(await progress.claim())
            if not watch.ended.is_set():
                await assisted.run(exporter.large)

        async def export_and_wait() -> None:
            nonlocal movement
            movement = await exporter.run()
            await reading.aclose()  # an open snapshot may hinder the app
            assisted.end_export(exporter.announced)
            await self._wait_imported(movement, exporter.announced, assisted, watch)

        async with anyio.create_task_group() as group:
            group.start_soon(import_claimed, name="import")
            group.start_soon(watch.run, name="watch wishes")
            all_done = await run_until_set(watch.ended, export_and_wait)
            await importing.wait_for_hand()
            group.cancel_scope.cancel()
        if not all_done:
            return watch.movement
        await assisted.refresh()
        now = watch.movement
        movement = replace(movement, group_wishes=now.group_wishes, refused=now.refused)
        settled = await Settlement(context, session, self._broken_at_source).settle(
            movement, tuple(exporter.announced.values()), importing.marks, importing.failed, progress.ran
        )
        await progress.write()
        return settled

    async def _broken_at_source(self, streams: Sequence[StreamName]) -> Container[tuple[StreamName, tuple[str, ...]]]:
        async with self._source.open_snapshot() as snapshot:
            return await snapshot.broken_references(streams) if isinstance(snapshot, ReferenceChecker) else ()

    async def _wait_imported(
        self, movement: Movement, announced: dict[Label, ObjectKey], assisted: AssistedImport, watch: Watch
    ) -> None:
        """Wait until every announced group is imported or stopped, or the destination refuses everything.

        A group whose message seems lost is announced again.
        """
        last_sent = anyio.current_time()
        while pending := {
            label: key
            for label, key in announced.items()
            if not assisted.is_done(key) and not watch.movement.leaves(label)
        }:
            await anyio.sleep(LOOK_SECONDS if all(map(watch.stops, pending)) else POLL_SECONDS)
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


def _ensure_importable(destination: Destination, chosen: Sequence[StreamSchema]) -> None:
    """ConfigurationError when a destination cannot import the streams to be moved, before anything is."""
    if isinstance(destination, SchemaJudge) and (problems := destination.schema_problems(chosen)):
        raise ConfigurationError("\n".join(problems))


async def _plan_streams(
    session: DestinationSession, present: Sequence[StreamSchema], chosen: Sequence[StreamSchema]
) -> None:
    """Let a destination that does not take every stream say so."""
    if isinstance(session, StreamPlanner):
        names = [[one.stream for one in some if one.stream not in SPECIAL_STREAMS] for some in (present, chosen)]
        await session.plan_streams(*names)
