"""A helper process that imports while this process exports, for a large Movement on a computer with a free processor.

Export and import both hold one interpreter most of the time; in one process they wait for each other. The helper
receives the Movement's messages from the same queue as any importer, and reports its events to the mover. The mover
does not rely on it: what the helper leaves undone is announced again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Protocol

import anyio

from pipeline.codec.documents.message import GroupCompleted
from pipeline.domain.flows.declaration import NOTHING_DECLARED, Declaration
from pipeline.domain.ids import Label, ObjectKey
from pipeline.domain.movement import Movement
from pipeline.engine.control.watch import Watch
from pipeline.engine.imports.movement_handler import Announcement, MovementHandler, import_consumer
from pipeline.engine.imports.movement_import import MovementImport
from pipeline.engine.movements.context import EngineContext
from pipeline.ports.destination import DestinationSession
from pipeline.ports.reporter import Event


@dataclass(frozen=True, slots=True)
class GroupTaken:
    """The helper has begun to import a group."""

    file_list: ObjectKey


@dataclass(frozen=True, slots=True)
class GroupLeft:
    """The helper no longer imports a group; with `done`, it has worked it through."""

    file_list: ObjectKey
    done: bool


HelperEvent = Event | GroupTaken | GroupLeft
ReportEvent = Callable[[HelperEvent], None]


class HelperProvider(Protocol):
    """Starts helpers."""

    def open(self, movement: Movement) -> AbstractAsyncContextManager[AsyncIterator[HelperEvent]]:
        """Run a helper for the import of `movement` while the context is open; it is ready on entry.

        The iterator gives the helper's events and ends when the helper ends, for whatever reason. PipelineError when no
        helper can be started.
        """
        ...


class _HelperHandler(MovementHandler):
    """Reports the groups that it works on, and sets `stop` when a later Movement is announced."""

    def __init__(self, importing: MovementImport, watch: Watch, report: ReportEvent, stop: anyio.Event) -> None:
        super().__init__(importing, watch)
        self._done = importing.done
        self._report = report
        self._stop = stop

    async def handle(self, announced: Announcement) -> bool:
        if self.is_later(announced):
            self._stop.set()
        if not isinstance(announced, GroupCompleted):
            return await super().handle(announced)
        self._report(GroupTaken(announced.key))
        try:
            return await super().handle(announced)
        finally:
            self._report(GroupLeft(announced.key, announced.key in self._done))


@dataclass(frozen=True, slots=True)
class _FunctionReporter:
    function: ReportEvent

    def report(self, event: Event) -> None:
        self.function(event)


async def run_helper(
    context: EngineContext,
    movement: Movement,
    session: DestinationSession,
    report: ReportEvent,
    stop: anyio.Event,
    *,
    declared: Declaration = NOTHING_DECLARED,
    task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Import groups of `movement` until `stop` is set; then end the transactions in progress and return.

    Events go to `report`, not to the context's reporter. This sets `stop` itself when a later Movement is announced.
    """
    context = replace(context, reporter=_FunctionReporter(report))
    watch = Watch(context.flows, movement, context.limits.progress_seconds)

    def stopping(label: Label) -> bool:
        return stop.is_set() or watch.stops(label)

    importing = MovementImport(context, movement, session, stopping=stopping, declared=declared, note=watch.note)
    await importing.refresh()
    task_status.started()
    async with anyio.create_task_group() as group:
        group.start_soon(watch.run, name="watch wishes")
        await import_consumer(context, _HelperHandler(importing, watch, report, stop).handle).run(stop)
        group.cancel_scope.cancel()
