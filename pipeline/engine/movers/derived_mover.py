"""A whole Movement of a derived Flow in one process: import what the origin has stored, then settle."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

import anyio

from pipeline.codec.documents.message import GroupCompleted
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.flows.declaration import GroupRule
from pipeline.domain.flows.groups import dependency_levels
from pipeline.domain.ids import FlowName, Label
from pipeline.domain.movement import Flow, Movement
from pipeline.engine.control.early_end import deadlines_of
from pipeline.engine.control.interruptions import Interruptions
from pipeline.engine.control.watch import LOOK_SECONDS, Watch
from pipeline.engine.imports.existing_records import GuardExisting, nothing_guarded
from pipeline.engine.imports.movement_import import MovementImport, Work
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.derived_flows import begin_derived
from pipeline.engine.movements.lifecycle import UnwantedError
from pipeline.engine.movements.progress import ProgressKeeper, begin_progress
from pipeline.engine.movements.settlement import Settlement
from pipeline.ports.destination import Destination, DestinationSession


class DerivedMover:
    """Brings the destination of a derived Flow up to date. Run it again after any interruption: it resumes.

    `guard` looks for records that the destination has already; with `overwrite` they may be overwritten.
    """

    def __init__(
        self,
        context: EngineContext,
        flow: FlowName,
        destination: Destination,
        worker: str,
        guard: GuardExisting = nothing_guarded,
        *,
        overwrite: bool = False,
    ) -> None:
        self._context = context
        self._guard, self._overwrite = guard, overwrite
        self._flow = flow
        self._destination = destination
        self._worker = worker
        self._interruptions = Interruptions(context, destination)

    async def run(self) -> Movement:
        """Import, and return the Movement settled. While it is paused, this waits, and then carries on."""
        begun = anyio.current_time()
        flow = await self._context.flows.read_flow(self._flow)
        while not (movement := await self._run_until_wished(flow, begun)).settled:
            movement = await self._interruptions.wait(movement)
            if movement.settled:
                break
        return movement

    async def _run_until_wished(self, flow: Flow, begun: float) -> Movement:
        with unwrap_exception_group():
            async with self._destination.open(flow.marks_namespace) as session:
                movement, resumed = await self._begin(flow, session)
                progress = await begin_progress(self._context, movement, self._worker, begun, resumed=resumed)
                watch = Watch(self._context.flows, movement, self._context.limits.progress_seconds)
                groups = flow.declared.groups
                importing = MovementImport(
                    progress.context,
                    movement,
                    session,
                    stopping=watch.stops,
                    declared=flow.declared,
                    note=watch.note,
                    existing=None if movement.overwrite else self._guard(flow, session),
                )
                idle_seconds = deadlines_of(movement, self._context.limits).inactivity_seconds
                async with progress.released_at_end(), progress.kept_written(idle_seconds):
                    return await self._import(importing, watch, groups, progress)

    async def _begin(self, flow: Flow, session: DestinationSession) -> tuple[Movement, bool]:
        begin = partial(begin_derived, self._context.flows, self._context.clock, flow, overwrite=self._overwrite)
        try:
            return await begin()
        except UnwantedError as error:
            await self._interruptions.end_unwanted(flow, error.movement, session)
            return await begin()

    async def _import(
        self, importing: MovementImport, watch: Watch, groups: Sequence[GroupRule], progress: ProgressKeeper
    ) -> Movement:
        context, movement, session = progress.context, importing.movement, importing.session
        progress.in_hand, progress.paused_groups = lambda: importing.in_hand, watch.paused_groups
        await watch.note(await progress.claim())
        await importing.refresh()
        async with anyio.create_task_group() as watching:
            watching.start_soon(watch.run, name="watch wishes")
            for labels in dependency_levels(movement.file_lists, groups):
                await _import_groups(importing, watch, labels)
            watching.cancel_scope.cancel()
        if watch.ended.is_set():
            return watch.movement
        now = watch.movement
        movement = replace(movement, group_wishes=now.group_wishes, refused=now.refused)
        lists = tuple(movement.file_lists.values())
        settled = await Settlement(context, session).settle(
            movement, lists, importing.marks, importing.failed, progress.ran
        )
        await progress.write()
        return settled


async def _import_groups(importing: MovementImport, watch: Watch, labels: Collection[Label]) -> None:
    """Import these groups, those that are paused once they are resumed, those that are stopped not at all."""
    movement = importing.movement
    left = {label: movement.file_lists[label] for label in labels}
    while left and not watch.ended.is_set():
        async with anyio.create_task_group() as level:
            for label, key in left.items():
                if not watch.stops(label):
                    announced = GroupCompleted(movement.flow, movement.number, label, key)
                    level.start_soon(_import_group, importing, announced, name=f"import {label}")
        now = watch.movement
        left = {label: key for label, key in left.items() if key not in importing.done and not now.leaves(label)}
        if left:
            await anyio.sleep(LOOK_SECONDS)


async def _import_group(importing: MovementImport, announced: GroupCompleted) -> None:
    """Import a group, also if streams of it wait for others."""
    while await importing.import_group(announced) is Work.WAITING:
        pass
