"""A whole Movement of a derived Flow in one process: import what the origin has stored, then settle."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from pipeline.codec.documents.message import GroupCompleted
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.flows.declaration import GroupRule
from pipeline.domain.flows.groups import dependency_levels
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Movement
from pipeline.engine.imports.movement_import import MovementImport, Work
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.derived_flows import begin_derived
from pipeline.engine.movements.progress import ProgressKeeper
from pipeline.engine.movements.settlement import Settlement
from pipeline.ports.destination import Destination
from pipeline.ports.reporter import MovementBegun


class DerivedMover:
    """Brings the destination of a derived Flow up to date. Run it again after any interruption: it resumes."""

    def __init__(self, context: EngineContext, flow: FlowName, destination: Destination, worker: str) -> None:
        self._context = context
        self._flow = flow
        self._destination = destination
        self._worker = worker

    async def run(self) -> Movement:
        """Import, and return the Movement settled."""
        begun = anyio.current_time()
        flow = await self._context.flows.read_flow(self._flow)
        with unwrap_exception_group():
            async with self._destination.open(flow.marks_namespace) as session:
                movement, resumed = await begin_derived(self._context.flows, self._context.clock, flow)
                progress = ProgressKeeper(self._context, movement, self._worker, begun)
                progress.report(MovementBegun(movement.flow, movement.number, resumed, tuple(movement.file_lists)))
                importing = MovementImport(progress.context, movement, session, groups=flow.declared.groups)
                return await self._import(importing, flow.declared.groups, progress)

    async def _import(
        self, importing: MovementImport, groups: Sequence[GroupRule], progress: ProgressKeeper
    ) -> Movement:
        context, movement, session = progress.context, importing.movement, importing.session
        await importing.refresh()
        async with anyio.create_task_group() as watching:
            watching.start_soon(progress.keep_written, context.limits.idle_timeout_seconds, name="write progress")
            for labels in dependency_levels(movement.file_lists, groups):
                async with anyio.create_task_group() as level:
                    for label in labels:
                        announced = GroupCompleted(movement.flow, movement.number, label, movement.file_lists[label])
                        level.start_soon(_import_group, importing, announced, name=f"import {label}")
            watching.cancel_scope.cancel()
        lists = tuple(movement.file_lists.values())
        settled = await Settlement(context, session).settle(
            movement, lists, importing.marks, importing.failed, progress.totals()
        )
        await progress.write()
        return settled


async def _import_group(importing: MovementImport, announced: GroupCompleted) -> None:
    """Import a group, also if streams of it wait for others."""
    while await importing.import_group(announced) is Work.WAITING:
        pass
