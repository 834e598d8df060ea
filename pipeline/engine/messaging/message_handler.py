"""What an importer does with a message.

The order of commits: receive, read the File List, skip what is marked, fetch, verify, rows and mark in one transaction,
…, acknowledge. The sweep sends a lost message again; a message that comes twice finds everything marked.
"""

from __future__ import annotations

from typing import Protocol

import structlog

from pipeline.codec.documents.message import GroupCompleted, MovementExported, MovementStarted, decode_message
from pipeline.domain.errors import DamagedError
from pipeline.engine.messaging.leases import give_back, held
from pipeline.engine.movements.context import EngineContext
from pipeline.ports.event_queue import Message

log = structlog.get_logger()


class AnnouncementHandler(Protocol):
    """Handles announcements. Each method returns whether the message is done with; otherwise it is given back."""

    async def on_group_completed(self, announced: GroupCompleted) -> bool:
        """Import the group, or the shard of it."""
        ...

    async def on_movement_exported(self, announced: MovementExported) -> bool:
        """Settle the Movement if all of it is accounted for."""
        ...


class MessageHandler:
    """Decodes messages for importers, holds their leases while they are handled, and acknowledges them last."""

    def __init__(self, context: EngineContext, handler: AnnouncementHandler) -> None:
        self._context = context
        self._handler = handler

    async def handle(self, message: Message) -> None:
        """Handle one message to the end. After an error, which is raised, it is not acknowledged."""
        try:
            announced = decode_message(message.body)
        except DamagedError as error:
            await self._reject(message, str(error))
            return
        if isinstance(announced, MovementStarted):
            await self._reject(message, "it is for exporters, and this is the queue of importers")
            return
        if not self._context.serves(announced.flow):
            await self._reject(message, f"it is about Flow {announced.flow!r}, which this worker does not serve")
            return
        with structlog.contextvars.bound_contextvars(flow=announced.flow, movement=announced.movement):
            async with held(self._context.queue, message, self._context.limits.visibility_seconds):
                if isinstance(announced, GroupCompleted):
                    done = await self._handler.on_group_completed(announced)
                else:
                    done = await self._handler.on_movement_exported(announced)
            if done:
                await self._context.queue.acknowledge([message.receipt])
            else:
                await give_back(self._context.queue, message)

    async def _reject(self, message: Message, reason: str) -> None:
        log.warning("message_rejected", reason=reason)
        await self._context.queue.reject(message, reason)
