"""Help with an import from another process: for a Movement that turns out to be large, on a computer that has the room.

Reading a source and loading into a destination both hold one interpreter most of the time; side by side in one process
they wait for each other. The helper receives the Movement's messages from the same queue as anybody, and tells what it
does; whoever has asked for it need not trust that it lives.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Protocol

import anyio

from pipeline.codec.documents.message import GroupCompleted, MovementExported
from pipeline.domain.ids import ObjectKey
from pipeline.domain.movement import Movement
from pipeline.engine.imports.movement_import import MovementImport
from pipeline.engine.messaging.consumer import Consumer
from pipeline.engine.messaging.message_handler import MessageHandler
from pipeline.engine.movements.context import EngineContext
from pipeline.ports.destination import DestinationSession
from pipeline.ports.reporter import Event

RECEIVE_WAIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class GroupTaken:
    """The helper has begun to work on a group."""

    file_list: ObjectKey


@dataclass(frozen=True, slots=True)
class GroupLeft:
    """The helper works on a group no more; `done` says that it has worked it through."""

    file_list: ObjectKey
    done: bool


HelperEvent = Event | GroupTaken | GroupLeft


class HelperProvider(Protocol):
    """Where help comes from."""

    def open(self, movement: Movement) -> AbstractAsyncContextManager[AsyncIterator[HelperEvent]]:
        """Have somebody take part in the import of `movement` while the context lasts.

        It is entered when the helper is at work. The iterator gives what the helper tells, and ends when the helper does,
        for whatever reason. PipelineError when there is no help to be had.
        """
        ...


class OneMovement:
    """Deals with what is announced of one Movement. What is left of earlier ones is in its own File Lists as well.

    What is announced of a later one is left to others: whoever asked for help here has been replaced.
    """

    def __init__(self, importing: MovementImport) -> None:
        self._importing = importing

    async def import_group(self, announced: GroupCompleted) -> bool:
        """Import the group."""
        own = self._importing.movement
        if self.is_later(announced):
            return False
        if (announced.flow, announced.movement) != (own.flow, own.number):
            return True
        return await self._importing.import_group(announced)

    async def on_movement_exported(self, announced: MovementExported) -> bool:
        """Nothing: the Mover itself settles."""
        return not self.is_later(announced)

    def is_later(self, announced: GroupCompleted | MovementExported) -> bool:
        """Whether it is about a later Movement of the same Flow."""
        own = self._importing.movement
        return announced.flow == own.flow and announced.movement > own.number


def message_loop(context: EngineContext, handler: OneMovement) -> Consumer:
    """Return the loop that has announcements handled, with room for some to wait for others."""
    importer = MessageHandler(context, handler)
    return Consumer(
        context.queue, importer.handle, room=2 * context.limits.importers, wait_seconds=RECEIVE_WAIT_SECONDS
    )


class _Telling(OneMovement):
    """Tells what it does; sets `stop` when its Movement is over."""

    def __init__(self, importing: MovementImport, tell: Callable[[HelperEvent], None], stop: anyio.Event) -> None:
        super().__init__(importing)
        self._done = importing.done
        self._tell = tell
        self._stop = stop

    async def import_group(self, announced: GroupCompleted) -> bool:
        if self.is_later(announced):
            self._stop.set()
            return False
        self._tell(GroupTaken(announced.key))
        try:
            return await super().import_group(announced)
        finally:
            self._tell(GroupLeft(announced.key, announced.key in self._done))


class _TellingReporter:
    def __init__(self, tell: Callable[[HelperEvent], None]) -> None:
        self._tell = tell

    def report(self, event: Event) -> None:
        self._tell(event)


async def run_helper(
    context: EngineContext,
    movement: Movement,
    session: DestinationSession,
    tell: Callable[[HelperEvent], None],
    stop: anyio.Event,
    *,
    task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Take part in the import of `movement` until `stop` is set; then end what is in hand. The reporter is not told.

    It is set here as well, when a later Movement is announced.
    """
    context = replace(context, reporter=_TellingReporter(tell))
    limiter = anyio.CapacityLimiter(context.limits.importers)
    importing = MovementImport(context, movement, session, limiter, stop.is_set)
    await importing.refresh()
    task_status.started()
    await message_loop(context, _Telling(importing, tell, stop)).run(stop)
