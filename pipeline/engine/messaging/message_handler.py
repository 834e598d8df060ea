"""The importer: what is done about an announcement of a complete group.

The order of commits: receive, read the File List, skip what is marked, fetch, verify, rows and mark in one transaction,
…, acknowledge. A message that is lost is rung again by the sweep; one that comes twice finds everything marked.
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


class GroupHandler(Protocol):
    """What is done about an announcement. Each returns whether the message is dealt with; if not, it is given back."""

    async def import_group(self, announced: GroupCompleted) -> bool:
        """Import the group, or the share of it."""
        ...

    async def on_movement_exported(self, announced: MovementExported) -> bool:
        """Settle the Movement if all of it is accounted for."""
        ...


class MessageHandler:
    """Reads messages for importers, keeps their leases while they are handled, and acknowledges them last."""

    def __init__(self, context: EngineContext, handler: GroupHandler) -> None:
        self._context = context
        self._handler = handler

    async def handle(self, message: Message) -> None:
        """Deal with one message to the end. Errors pass through, and the message is not acknowledged then."""
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
                    dealt_with = await self._handler.import_group(announced)
                else:
                    dealt_with = await self._handler.on_movement_exported(announced)
            if dealt_with:
                await self._context.queue.acknowledge([message.receipt])
            else:
                await give_back(self._context.queue, message)

    async def _reject(self, message: Message, reason: str) -> None:
        log.warning("message_rejected", reason=reason)
        await self._context.queue.reject(message, reason)
