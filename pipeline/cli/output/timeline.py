"""The timeline of a Flow: an event a line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from pipeline.cli.output.text import moment, printable
from pipeline.domain.outbox.event import OutboxEvent

_MOMENT = re.compile(r"(?:^| )\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?\+00:00$")


def event_object(event: OutboxEvent) -> dict[str, object]:
    """Return an event as JSON."""
    return {
        "id": event.id,
        "type": event.type.value,
        "flow": event.flow,
        "movement": event.movement,
        "time": event.time.isoformat().replace("+00:00", "Z"),
        "subject": event.subject,
        "data": dict(event.data),
        "reasons": list(event.reasons),
    }


def timeline_lines(events: Sequence[OutboxEvent]) -> Iterator[str]:
    """Yield a heading for each Movement, a line for each event, and its reasons below it."""
    heading = -1
    for event in events:
        if event.movement not in (heading, 0):
            heading = event.movement
            yield f"Movement {heading}"
        subject = _MOMENT.sub("", event.subject)  # it only tells one pause from the next
        what = f"{subject} " if subject else ""
        yield f"  {moment(event.time)}  {event.type.value:<22}  {printable(what + _values(event.data))}".rstrip()
        yield from (f"      {printable(reason)}" for reason in event.reasons)


def _values(data: Mapping[str, object]) -> str:
    """Return what the event's data say, on one line; not the subject once more, nor keys of objects."""
    parts = []
    for name, value in data.items():
        if name in ("label", "key", "file", "stream"):
            continue
        if isinstance(value, Mapping):
            parts.append(f"{name}: {_values(value)}")
        elif isinstance(value, list):
            parts.append(f"{name}: {', '.join(map(str, value))}")
        elif isinstance(value, int) and not isinstance(value, bool):
            parts.append(f"{name} {value:,}")
        else:
            text = str(value)
            text = moment(datetime.fromisoformat(text)) if _MOMENT.fullmatch(text) else text
            parts.append(text if name == "status" else f"{name} {text}")
    return ", ".join(parts)
