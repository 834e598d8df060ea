"""What must hold of the outbox: every transition has one event, and no event is there without a transition."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pipeline.codec.documents.outbox_event import decode_outbox_event
from pipeline.domain import object_keys
from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import Movement, Status
from pipeline.domain.outbox.event import EventType, OutboxEvent
from pipeline.domain.planning.compaction import applicable
from tests.simulation.model.arrivals import Arrivals
from tests.simulation.model.stored import Must, Stored

_SETTLED_BY_AN_IMPORTER = frozenset({Status.SUCCESS, Status.INCOMPLETE, Status.FAILED})
Transition = tuple[FlowName, int, EventType, str]


@dataclass
class Happenings:
    """All events of the outbox, by what happened to what."""

    stored: Stored
    arrivals: Mapping[FlowName, Arrivals]
    must: Must
    events: dict[Transition, OutboxEvent] = field(default_factory=dict)

    def changed(self, key: ObjectKey, before: bytes | None, after: bytes | None) -> bool:
        """Take note of an event; return whether the object is one."""
        if "/outbox/" not in key:
            return False
        self.must(before is None and after is not None, f"{key} is created once, and it was changed")
        if after is not None:
            event = decode_outbox_event(after, key)
            transition = event.flow, event.movement, event.type, event.subject
            self.must(transition not in self.events, f"{key} tells a second time of {event.type} {event.subject}")
            self.events[transition] = event
        return True

    def check_settled(self, movement: Movement) -> None:
        """Check that a Movement that settles has the events of its groups."""
        if movement.status not in _SETTLED_BY_AN_IMPORTER or movement.compaction:
            return
        missing = [wanted for wanted in self._due(movement) if wanted not in self.events]
        self.must(not missing, f"Movement {movement.number} settled, and there is no event of {missing}")

    def _due(self, movement: Movement) -> Iterator[Transition]:
        flow, number = movement.flow, movement.number
        marks = {file: mark for kept in self.arrivals[flow].place.marks.values() for file, mark in kept.items()}
        own = object_keys.groups_prefix(flow, number)
        for label in movement.groups:
            key = movement.file_lists[label]
            if key.startswith(own):
                yield flow, number, EventType.GROUP_EXPORTED, label
            entries = applicable(self.stored.lists[key], marks)
            if movement.status is Status.SUCCESS and any(marks[entry.id].movement == number for entry in entries):
                yield flow, number, EventType.GROUP_IMPORTED, label

    def check_all(self, movements: Mapping[tuple[FlowName, int], Movement]) -> None:
        """Check at the end that every Movement has begun once and settled once, and no other one has."""
        begun = {(flow, number) for flow, number, type_, _ in self.events if type_ is EventType.MOVEMENT_STARTED}
        settled = {(flow, number): event for (flow, number, type_, _), event in self.events.items()
                   if type_ is EventType.MOVEMENT_SETTLED}  # fmt: skip
        self.must(begun == movements.keys(), f"events tell of {sorted(begun)}, and there are {sorted(movements)}")
        for which, movement in movements.items():
            told = settled.get(which)
            status = None if told is None else told.data["status"]
            expected = movement.status.value if movement.settled else None
            self.must(status == expected, f"an event says that Movement {which} is {status}, and it is {expected}")
            flow, number = which
            if (flow, number + 1) in movements:  # whose beginning stores what a dead process did not
                missing = [wanted for wanted in _wished(movement) if wanted not in self.events]
                self.must(not missing, f"Movement {number + 1} has begun, and there is no event of {missing}")


def _wished(movement: Movement) -> Iterator[Transition]:
    """Yield what people have wished last of the groups of a Movement."""
    for label, wish in movement.group_wishes.items():
        type_ = EventType.GROUP_STOPPED if wish.want is Want.STOP else EventType.GROUP_PAUSED
        assert wish.said is not None
        yield movement.flow, movement.number, type_, f"{label} {wish.said.isoformat()}"
