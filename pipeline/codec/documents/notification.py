"""The body of a notification: CloudEvents 1.0, or the public platform's event."""

from __future__ import annotations

from uuid import NAMESPACE_URL, uuid5

import orjson

from pipeline.domain.ids import encode_name
from pipeline.domain.movement import Flow
from pipeline.domain.outbox.event import OutboxEvent

TYPE_PREFIX = "app-data-pipeline."
"""Before the type of an event, as CloudEvents wants types to differ between systems."""
CLOUDEVENTS_TYPE = "application/cloudevents+json"
JSON_TYPE = "application/json"


def cloudevent(event: OutboxEvent, *, include_reasons: bool) -> bytes:
    """Return an event as CloudEvents 1.0 in structured JSON (https://github.com/cloudevents/spec)."""
    data: dict[str, object] = {"flow": event.flow, "movement": event.movement, **event.data}
    if include_reasons and event.reasons:
        data["reasons"] = list(event.reasons)
    document: dict[str, object] = {
        "specversion": "1.0",
        "id": event.id,
        "source": f"/flows/{encode_name(event.flow)}" if event.flow else "/",
        "type": f"{TYPE_PREFIX}{event.type.value}",
        "time": event.time,
        "datacontenttype": JSON_TYPE,
        "data": data,
    }
    if event.subject:
        document["subject"] = event.subject
    return orjson.dumps(document, option=orjson.OPT_UTC_Z)


def sam_event(event: OutboxEvent, flow: Flow) -> bytes:
    """Return `group.exported` as the public platform's event `event-file-list-uploaded`."""
    scope = uuid5(NAMESPACE_URL, f"{flow.source} {flow.destination}")
    return orjson.dumps(
        {
            "eventType": "event-file-list-uploaded",
            "messageId": event.id,
            "key": event.data["key"],
            "label": event.data["label"],
            "transferId": str(uuid5(scope, f"{event.flow} {event.movement}")),
            "migrationDetails": {
                "migrationId": str(uuid5(scope, event.flow)),
                "migrationScopeId": str(scope),
                "name": event.flow,
                "createdAt": int(flow.created.timestamp() * 1000),
                "cloudUrl": flow.destination,
            },
        }
    )
