"""An event of the outbox: what happened, to what, and when. docs/reference/events.md describes every type."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum

from pipeline.domain import object_keys
from pipeline.domain.ids import FlowName, ObjectKey

_ID_DIGITS = 32
_KEY = re.compile(
    rf"(\d{{10}}|{object_keys.DAY}\d{{4}}-\d\d-\d\d)/([a-z.]+)\.([0-9a-f]{{{_ID_DIGITS}}})\.json", re.ASCII
)


class EventType(StrEnum):
    """What happened."""

    START_QUEUED = "start.queued"
    START_WITHDRAWN = "start.withdrawn"
    MOVEMENT_STARTED = "movement.started"
    GROUP_EXPORTED = "group.exported"
    GROUP_IMPORTED = "group.imported"
    FILE_FAILED = "file.failed"
    RECORDS_REJECTED = "records.rejected"
    DESTINATION_REFUSES = "destination.refuses"
    MOVEMENT_PAUSING = "movement.pausing"
    MOVEMENT_PAUSED = "movement.paused"
    MOVEMENT_RESUMED = "movement.resumed"
    GROUP_PAUSED = "group.paused"
    GROUP_RESUMED = "group.resumed"
    GROUP_STOPPED = "group.stopped"
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
    `flow_created` is when the Flow was created, so that a new Flow with the name of a removed one has other ids; None for
    Movements of earlier releases, and for what belongs to none.
    """

    type: EventType
    flow: FlowName
    movement: int
    time: datetime
    subject: str = ""
    data: Mapping[str, object] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    flow_created: datetime | None = None

    @property
    def id(self) -> str:
        """The id, made from Flow, the time of its creation, Movement, type and subject."""
        created = () if self.flow_created is None else (self.flow_created.astimezone(UTC).isoformat(),)
        parts = "\0".join((self.flow, str(self.movement), self.type.value, self.subject, *created))
        return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()[:_ID_DIGITS]

    @property
    def key(self) -> ObjectKey:
        """The key of its object. Keys of later Movements sort after those of earlier ones; those of none come last."""
        day = f"{object_keys.DAY}{self.time.astimezone(UTC):%Y-%m-%d}"
        part = object_keys.outbox_part(self.movement) if self.movement else day
        return ObjectKey(f"{object_keys.outbox_prefix(self.flow)}{part}/{self.type.value}.{self.id}.json")


@dataclass(frozen=True, slots=True)
class EventKey:
    """What the key of an event says: its part of the outbox, a Movement or a day, its type, and its id."""

    part: str
    type: str
    id: str


def parse_event_key(flow: FlowName, key: ObjectKey) -> EventKey | None:
    """Return what the key of an object in the outbox of a Flow says; None when it is no key of an event."""
    match = _KEY.fullmatch(key.removeprefix(object_keys.outbox_prefix(flow)))
    if match is None:
        return None
    part, type_, id_ = match.groups()
    try:
        if part.startswith(object_keys.DAY):
            date.fromisoformat(part.removeprefix(object_keys.DAY))
    except ValueError:  # there is no such day
        return None
    return EventKey(part, type_, id_)
