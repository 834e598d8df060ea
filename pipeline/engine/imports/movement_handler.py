"""Handling the announcements of one Movement, for a process that imports only that one."""

from __future__ import annotations

from pipeline.codec.documents.message import GroupCompleted, MovementExported
from pipeline.engine.imports.movement_import import MovementImport
from pipeline.engine.messaging.consumer import Consumer
from pipeline.engine.messaging.message_handler import MessageHandler
from pipeline.engine.movements.context import EngineContext

RECEIVE_WAIT_SECONDS = 1.0


class MovementHandler:
    """Imports the announced groups of one Movement.

    Announcements of earlier Movements are done with: what they left is in this one's File Lists. Those of later ones are
    given back: this process has been replaced.
    """

    def __init__(self, importing: MovementImport) -> None:
        self._importing = importing

    async def on_group_completed(self, announced: GroupCompleted) -> bool:
        """Import the group if it is of this Movement."""
        own = self._importing.movement
        if self.is_later(announced):
            return False
        if (announced.flow, announced.movement) != (own.flow, own.number):
            return True
        return await self._importing.import_group(announced)

    async def on_movement_exported(self, announced: MovementExported) -> bool:
        """Do nothing: the mover settles."""
        return not self.is_later(announced)

    def is_later(self, announced: GroupCompleted | MovementExported) -> bool:
        """Return whether the announcement is about a later Movement of the same Flow."""
        own = self._importing.movement
        return announced.flow == own.flow and announced.movement > own.number


def movement_consumer(context: EngineContext, handler: MovementHandler) -> Consumer:
    """Return the Consumer that passes announcements to `handler`, with room for some to wait for others."""
    handle = MessageHandler(context, handler).handle
    return Consumer(context.queue, handle, room=2 * context.limits.importers, wait_seconds=RECEIVE_WAIT_SECONDS)
