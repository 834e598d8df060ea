"""Stores events of the outbox: each once, however many processes see the transition."""

from __future__ import annotations

from collections.abc import Iterable

import anyio

from pipeline.codec.documents.outbox_event import encode_outbox_event
from pipeline.domain.errors import ConflictError, PipelineError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import ObjectKey
from pipeline.domain.outbox.event import OutboxEvent
from pipeline.log_events import log
from pipeline.ports.object_store import ObjectStore, PutCondition

PUTS_AT_ONCE = 8
MAX_KNOWN = 20_000
"""Keys of stored events that a process remembers, so that it does not store them again: some 10 MB with their contents."""


class Outbox:
    """The events of all Flows in a store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._known: dict[ObjectKey, bytes] = {}

    async def put(self, events: Iterable[OutboxEvent]) -> None:
        """Store those events that are not stored yet. An error of the store is raised; some may be stored by then."""
        new = {event.key: event for event in events if event.key not in self._known}
        if len(new) == 1:
            await self._put(*new.values())
            return
        limit = anyio.CapacityLimiter(PUTS_AT_ONCE)

        async def put(event: OutboxEvent) -> None:
            async with limit:
                await self._put(event)

        with unwrap_exception_group():
            async with anyio.create_task_group() as group:
                for event in new.values():
                    group.start_soon(put, event)

    def is_stored(self, event: OutboxEvent) -> bool:
        """Return whether this process knows that the event is stored."""
        return event.key in self._known

    def content(self, key: ObjectKey) -> bytes | None:
        """Return an event that this process has stored."""
        return self._known.get(key) or None

    async def note(self, events: Iterable[OutboxEvent]) -> None:
        """Store events as `put` does. An error is logged, and does not stop the work: the events are stored later.

        The process that settles the Movement, resumes it or begins the next one stores what is missing.
        """
        try:
            await self.put(events)
        except PipelineError as error:
            log.warning("event_not_stored", reason=str(error))

    async def _put(self, event: OutboxEvent) -> None:
        content = encode_outbox_event(event)
        try:
            await self._store.put(event.key, content, PutCondition.ABSENT)
        except ConflictError:  # another process was first, and its event may have another time
            content = b""
        while len(self._known) >= MAX_KNOWN:
            self._known.pop(next(iter(self._known)), None)
        self._known[event.key] = content
