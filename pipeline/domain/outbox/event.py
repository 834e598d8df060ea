"""An event of the outbox: what happened, to what, and when. docs/reference/events.md describes every type."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from pipeline.domain import object_keys
from pipeline.domain.ids import FlowName, ObjectKey

_ID_DIGITS = 32


class EventType(StrEnum):
    """What happened."""

    MOVEMENT_STARTED = "movement.started"
    GROUP_EXPORTED = "group.exported"
    GROUP_IMPORTED = "group.imported"
    FILE_FAILED = "file.failed"
    RECORDS_REJECTED = "records.rejected"
    MOVEMENT_PAUSING = "movement.pausing"
    MOVEMENT_PAUSED = "movement.paused"
    MOVEMENT_RESUMED = "movement.resumed"
    CANCELLATION_REQUESTED = "cancellation.requested"
    MOVEMENT_SETTLED = "movement.settled"
    CHECK_FINISHED = "check.finished"
    ENDPOINT_DISABLED = "endpoint.disabled"


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """One transition. Two processes that see the same transition make events with the same `id`; the first one is stored.

    `movement` is 0 for what belongs to none; then the subject must differ each time. `flow` is empty for what belongs to
    the whole bucket. `subject` is what it happened to: a label, an Event File, a moment. `data` holds ids, counts and
    statuses as JSON; `reasons` are texts, which may quote values of the app, so notifications leave them out by default.
    """

    type: EventType
    flow: FlowName
    movement: int
    time: datetime
    subject: str = ""
    data: Mapping[str, object] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The id, made from Flow, Movement, type and subject."""
        parts = "\0".join((self.flow, str(self.movement), self.type.value, self.subject))
        return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()[:_ID_DIGITS]

    @property
    def key(self) -> ObjectKey:
        """The key of its object. Keys of later Movements sort after those of earlier ones; those of none come last."""
        day = f"day-{self.time.astimezone(UTC):%Y-%m-%d}"
        part = object_keys.outbox_part(self.movement) if self.movement else day
        return ObjectKey(f"{object_keys.outbox_prefix(self.flow)}{part}/{self.type.value}.{self.id}.json")
