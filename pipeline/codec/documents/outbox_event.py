"""An event of the outbox as a document in the bucket."""

from __future__ import annotations

import msgspec
import orjson
from msgspec import field

from pipeline.codec.wire import Count, Document, Time, decode_document, to_document
from pipeline.domain.ids import FlowName
from pipeline.domain.outbox.event import EventType, OutboxEvent


class _OutboxEvent(Document):
    id: str
    type: EventType
    flow: FlowName
    movement: Count
    time: Time
    subject: str = ""
    data: dict[str, object] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()
    flow_created: Time | None = None


def encode_outbox_event(event: OutboxEvent) -> bytes:
    """Return the document, on one line."""
    return orjson.dumps(to_document(msgspec.convert(event, _OutboxEvent, from_attributes=True)))


def decode_outbox_event(data: bytes, what: str) -> OutboxEvent:
    """Read the document. DamagedError names `what`."""
    return msgspec.convert(decode_document(data, _OutboxEvent, what), OutboxEvent, from_attributes=True)
