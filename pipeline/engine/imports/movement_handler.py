"""Handling the announcements of one Movement, for a process that imports only that one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pipeline.codec.documents.message import GroupCompleted, MovementExported
from pipeline.engine.control.watch import Watch
from pipeline.engine.imports.movement_import import MovementImport
from pipeline.engine.messaging.consumer import Consumer
from pipeline.engine.movements.context import EngineContext

Announcement = GroupCompleted | MovementExported


class MovementHandler:
    """Imports the announced groups of one Movement; the mover settles it.

    Announcements of earlier Movements are done with: what they left is in this one's File Lists. Those of later ones are
    given back: this process has been replaced. Those of a group that is to pause or to stop are done with: once it is
    resumed, the mover announces the group again.
    """

    def __init__(self, importing: MovementImport, watch: Watch) -> None:
        self._importing = importing
        self._watch = watch

    async def handle(self, announced: Announcement) -> bool:
        """Import the group if it is of this Movement; return whether the message is done with."""
        own = self._importing.movement
        if self.is_later(announced):
            return False
        if isinstance(announced, MovementExported) or (announced.flow, announced.movement) != (own.flow, own.number):
            return True
        return self._watch.stops(announced.label) or await self._importing.take(announced)

    def is_later(self, announced: Announcement) -> bool:
        """Return whether the announcement is about a later Movement of the same Flow."""
        own = self._importing.movement
        return announced.flow == own.flow and announced.movement > own.number


def import_consumer(
    context: EngineContext, handle: Callable[[Announcement], Awaitable[bool]], *, worker: str = ""
) -> Consumer[Announcement]:
    """Return the Consumer that passes announcements to `handle`, with room for some to wait for others."""
    accepts = (GroupCompleted, MovementExported)
    return Consumer(context, context.queue, accepts, handle, room=2 * context.limits.importers, worker=worker)
