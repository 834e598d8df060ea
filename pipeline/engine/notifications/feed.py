"""Which events of the outbox an endpoint has not got yet, found with one listing of each Flow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from pipeline.domain import object_keys
from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.notifications.delivery import Position
from pipeline.domain.notifications.endpoint import Endpoint
from pipeline.domain.outbox.event import EventType, OutboxEvent
from pipeline.ports.object_store import PAGE_OBJECTS, ObjectStore

_DAY = "day-"
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
        found += [_listed(flow, prefix, info.key) for info in page]
        if len(page) < PAGE_OBJECTS:
            return found
        after = page[-1].key


def _listed(flow: FlowName, prefix: str, key: ObjectKey) -> Listed:
    part, name = key.removeprefix(prefix).split("/")
    type_, id_, _ = name.rsplit(".", 2)
    return Listed(flow, part, type_, id_[:_TAKEN_DIGITS], key)


def is_under_way(events: Sequence[Listed]) -> bool:
    """Whether the latest Movement of these has not settled."""
    latest = max((one.part for one in events if one.part.isdecimal()), default="")
    own = {one.type for one in events if one.part == latest}
    return bool(own) and EventType.MOVEMENT_SETTLED not in own


def pending(events: Sequence[Listed], position: Position, endpoint: Endpoint) -> Iterator[Listed]:
    """Yield the events that an endpoint wants and has not got."""
    taken = {part: frozenset(ids) for part, ids in position.taken.items()}
    for one in events:
        passed = int(one.part) < position.movement if one.part.isdecimal() else one.part < position.day
        if not passed and one.id not in taken.get(one.part, ()) and endpoint.wants_type(one.type):
            yield one


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


def position_before(events: Sequence[OutboxEvent], wanted: Sequence[OutboxEvent], latest: int) -> Position:
    """Return the position of an endpoint that has got all of these events but the wanted ones."""
    movement = min((one.movement for one in wanted if one.movement), default=latest + 1)
    again = {one.id for one in wanted}
    taken: dict[str, tuple[str, ...]] = {}
    for one in events:
        part = one.key.split("/")[-2]
        if one.id not in again and (one.movement >= movement or not one.movement):
            taken[part] = (*taken.get(part, ()), one.id[:_TAKEN_DIGITS])
    return Position(max(movement, 1), taken=taken)


def _day_before(part: str) -> str:
    return f"{_DAY}{date.fromisoformat(part.removeprefix(_DAY)) - timedelta(days=1)}"
