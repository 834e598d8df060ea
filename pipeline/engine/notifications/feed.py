"""Which events of the outbox an endpoint has not got yet, found with one listing of each Flow."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from pipeline.domain import object_keys
from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.notifications.delivery import Position
from pipeline.domain.notifications.endpoint import Endpoint
from pipeline.domain.outbox.event import EventType, OutboxEvent, parse_event_key
from pipeline.ports.object_store import PAGE_OBJECTS, ObjectStore

_TAKEN_DIGITS = 16
"""Digits of an event's id in the documents of deliveries: enough within one Movement."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An event in a listing: its Flow, its part of the outbox, its type, the beginning of its id, its key."""

    flow: FlowName
    part: str
    type: str
    id: str
    key: ObjectKey


async def list_events(store: ObjectStore, flow: FlowName, movement: int) -> Sequence[Listed]:
    """Return the events of a Flow from a Movement on, and those of no Movement."""
    prefix = object_keys.outbox_prefix(flow)
    after = ObjectKey(f"{prefix}{object_keys.outbox_part(movement)}")
    found: list[Listed] = []
    while True:
        page = await store.list_page(prefix, after=after, limit=PAGE_OBJECTS)
        found += [
            Listed(flow, parsed.part, parsed.type, parsed.id[:_TAKEN_DIGITS], info.key)
            for info in page
            if (parsed := parse_event_key(flow, info.key)) is not None
        ]
        if len(page) < PAGE_OBJECTS:
            return found
        after = page[-1].key


def is_under_way(events: Sequence[Listed]) -> bool:
    """Whether the latest Movement of these has not settled."""
    latest = max((one.part for one in events if one.part.isdecimal()), default="")
    own = {one.type for one in events if one.part == latest}
    return bool(own) and EventType.MOVEMENT_SETTLED not in own


def pending(events: Sequence[Listed], position: Position, endpoint: Endpoint) -> Iterator[Listed]:
    """Yield the events that an endpoint wants and has not got."""
    taken = {part: frozenset(ids) for part, ids in position.taken.items()}
    for one in events:
        is_taken = _is_passed(one.part, position) or one.id in taken.get(one.part, ())
        if not is_taken and endpoint.wants_type(one.type):
            yield one


def _is_passed(part: str, position: Position) -> bool:
    return int(part) < position.movement if part.isdecimal() else part < position.day


def advanced(events: Sequence[Listed], position: Position) -> Position:
    """Return the position when all of these events are taken.

    The latest two Movements and days stay, so that an event that comes late is found: the events of a Movement are
    stored before the Movement after the next one begins.
    """
    movement = max((int(one.part) - 1 for one in events if one.part.isdecimal()), default=position.movement)
    day = max((_day_before(one.part) for one in events if not one.part.isdecimal()), default=position.day)
    movement, day = max(movement, position.movement), max(day, position.day)
    kept = {
        part: ids
        for part, ids in position.taken.items()
        if (int(part) >= movement if part.isdecimal() else part >= day)
    }
    return replace(position, movement=movement, day=day, taken=kept)


def all_taken(events: Sequence[Listed], movement: int) -> Position:
    """Return the position of an endpoint that gets nothing of what there is, only what comes. Movement `movement` is the
    latest."""
    taken: dict[str, tuple[str, ...]] = {}
    for one in events:
        taken[one.part] = (*taken.get(one.part, ()), one.id)
    return advanced(events, Position(max(movement - 1, 1), taken=taken))


def rewound(events: Sequence[OutboxEvent], wanted: Collection[ObjectKey], position: Position) -> Position:
    """Return the position of an endpoint that gets the wanted ones of all `events` again, and what it has not got yet."""
    parts = {key: key.split("/")[-2] for key in wanted}
    begin = Position(
        min((position.movement, *(int(part) for part in parts.values() if part.isdecimal()))),
        min((position.day, *(part for part in parts.values() if not part.isdecimal()))),
    )
    taken: dict[str, tuple[str, ...]] = {}
    for one in events:
        part, id_ = one.key.split("/")[-2], one.id[:_TAKEN_DIGITS]
        is_taken = _is_passed(part, position) or id_ in position.taken.get(part, ())
        if is_taken and one.key not in parts and not _is_passed(part, begin):
            taken[part] = (*taken.get(part, ()), id_)
    return replace(begin, taken=taken)


def _day_before(part: str) -> str:
    return f"{object_keys.DAY}{date.fromisoformat(part.removeprefix(object_keys.DAY)) - timedelta(days=1)}"
