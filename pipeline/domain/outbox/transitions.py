"""The events of transitions that Movements, File Lists and marks show. All processes that see one make the same event."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime

from pipeline.domain import object_keys
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey
from pipeline.domain.lifecycle.due import DueEvent
from pipeline.domain.lifecycle.wish import NO_WISH, Want, Wish
from pipeline.domain.movement import Choices, Movement, QueuedStart, Status
from pipeline.domain.outbox.event import EventType, OutboxEvent

REJECTIONS_SECONDS = 60.0
"""In this time, at most one event tells of rejected records."""
REASONS_KEPT = 20
"""The most reasons in one event."""


def _event(
    type_: EventType,
    movement: Movement,
    at: datetime,
    subject: str = "",
    data: Mapping[str, object] | None = None,
    reasons: tuple[str, ...] = (),
) -> OutboxEvent:
    created = movement.flow_created
    return OutboxEvent(type_, movement.flow, movement.number, at, subject, data or {}, reasons, created)


def start_queued(flow: FlowName, queued: QueuedStart) -> OutboxEvent:
    """A start waits until the latest Movement has settled."""
    data = _chosen(queued.choices) | ({"who": queued.who} if queued.who else {})
    return OutboxEvent(EventType.START_QUEUED, flow, 0, queued.when, queued.when.isoformat(), data)


def start_withdrawn(flow: FlowName, queued: QueuedStart, who: str, at: datetime) -> OutboxEvent:
    """A person takes a queued start back. It may begin at this very moment."""
    data = {"queued": queued.when.isoformat(), "who": who}
    return OutboxEvent(EventType.START_WITHDRAWN, flow, 0, at, at.isoformat(), data)


def _chosen(choices: Choices) -> dict[str, object]:
    return {name: value if value is True else list(value) for name, value in asdict(choices).items() if value}


def started(movement: Movement) -> OutboxEvent:
    """The Movement exists."""
    data = _chosen(movement.choices)
    if movement.queued is not None:
        data["queued"] = movement.queued.isoformat()
    if movement.compaction:
        data["compaction"] = True
    if movement.original:
        data["original_movement"] = movement.original
    if movement.origin is not None:
        data["origin"] = {"flow": movement.origin, "movement": movement.origin_movement}
    return _event(EventType.MOVEMENT_STARTED, movement, movement.created, data=data)


def settled(movement: Movement) -> OutboxEvent:
    """The Movement has its final status."""
    totals = movement.totals
    data = {
        "status": movement.status.value,
        "reason": movement.because.value,
        "files": {
            "exported": totals.files_exported,
            "imported": totals.files_imported,
            "skipped": totals.files_skipped,
            "failed": totals.files_failed,
        },
        "records": {"upserts": totals.upserts, "deletes": totals.deletes, "rejected": totals.rejected},
        "seconds": totals.seconds,
    }
    reasons = movement.problems[:REASONS_KEPT]
    return _event(EventType.MOVEMENT_SETTLED, movement, movement.updated, data=data, reasons=reasons)


def due_of(before: Movement, movement: Movement) -> tuple[DueEvent, ...]:
    """Return what is `due` after a change that is to be stored: the Movement shows it no more once it has changed again."""
    found = _changed(before, movement)
    return tuple(DueEvent(one.type.value, one.time, one.subject, one.data, one.reasons) for one in found)


def told(movement: Movement) -> Sequence[OutboxEvent]:
    """Return the events that are `due`."""
    return [_event(EventType(one.type), movement, one.time, one.subject, one.data, one.reasons) for one in movement.due]


def _changed(before: Movement, movement: Movement) -> Sequence[OutboxEvent]:
    events: list[OutboxEvent] = []
    stops = movement.wish.want is Want.STOP or movement.outcome is Status.CANCELLED
    if stops and not before.settled and before.wish.want is not Want.STOP:
        events.append(_stopping(movement, movement.updated))
    if movement.wish.want is Want.PAUSE and before.wish.said != movement.wish.said:
        events.append(_pausing(movement, movement.updated))
    if movement.wish.want is Want.RUN and before.wish.want is Want.PAUSE:
        events.append(_wished(EventType.MOVEMENT_RESUMED, movement, before.wish, movement.updated))
    events += _groups_changed(before, movement)
    if movement.refused and not before.refused:
        events.append(_refuses(movement))
    if before.refused and not movement.refused:
        events.append(_event(EventType.MOVEMENT_RESUMED, movement, movement.updated, _refused_since(before)))
    return events


def _refuses(movement: Movement) -> OutboxEvent:
    """The destination refuses everything, so nothing more of the Movement is begun."""
    subject, reasons = _refused_since(movement), (movement.refused,)
    at = movement.refused_since or movement.updated
    return _event(EventType.DESTINATION_REFUSES, movement, at, subject, reasons=reasons)


def _refused_since(movement: Movement) -> str:
    return "" if movement.refused_since is None else movement.refused_since.isoformat()


def paused(movement: Movement, at: datetime) -> OutboxEvent:
    """Nothing is in hand any more, since `at`, of a Movement that is to pause."""
    return _wished(EventType.MOVEMENT_PAUSED, movement, movement.wish, at)


def _pausing(movement: Movement, at: datetime) -> OutboxEvent:
    """A pause was asked for, or given another end or reason."""
    return _wished(EventType.MOVEMENT_PAUSING, movement, movement.wish, at, since=movement.wish.said)


def _stopping(movement: Movement, at: datetime) -> OutboxEvent:
    return replace(_wished(EventType.CANCELLATION_REQUESTED, movement, movement.wish, at), subject="")


def _groups_changed(before: Movement, movement: Movement) -> Iterator[OutboxEvent]:
    """Yield the events of what people want of the groups, and did not want before."""
    for label in sorted({*before.group_wishes, *movement.group_wishes}):
        was, now = before.group_wishes.get(label, NO_WISH), movement.group_wishes.get(label, NO_WISH)
        if now.want is Want.RUN:
            yield _wished(EventType.GROUP_RESUMED, movement, was, movement.updated, label)
        elif (now.said, now.want) != (was.said, was.want):  # two people may say two things at one time
            yield _group_wished(movement, label, now, movement.updated)


def _group_wished(movement: Movement, label: Label, wish: Wish, at: datetime) -> OutboxEvent:
    type_ = EventType.GROUP_STOPPED if wish.want is Want.STOP else EventType.GROUP_PAUSED
    return _wished(type_, movement, wish, at, label, since=wish.said)


def _wished(
    type_: EventType,
    movement: Movement,
    wish: Wish,
    at: datetime,
    label: Label | None = None,
    since: datetime | None = None,
) -> OutboxEvent:
    """Return an event of a wish. A pause may come often, so its moment, or `since`, tells one from the other."""
    since = since or wish.when
    subject = [label or "", "" if since is None else since.isoformat()]
    data = {"label": label, "who": wish.who, "until": None if wish.until is None else wish.until.isoformat()}
    reasons = (wish.why,) if wish.why else ()
    told = {name: value for name, value in data.items() if value}
    return _event(type_, movement, at, " ".join(filter(None, subject)), told, reasons)


def group_exported(
    movement: Movement, label: Label, key: ObjectKey, entries: Sequence[FileEntry], at: datetime
) -> Sequence[OutboxEvent]:
    """All Event Files of a group are stored and listed: one event, none if this Movement has stored no list of it."""
    if not key.startswith(object_keys.groups_prefix(movement.flow, movement.number)):
        return ()
    new = [entry for entry in entries if entry.id.movement == movement.number]
    data = {
        "label": label,
        "key": key,
        "files": len(entries),
        "new": {
            "files": len(new),
            "upserts": sum(entry.upserts for entry in new),
            "deletes": sum(entry.deletes for entry in new),
            "bytes": sum(entry.size for entry in new),
        },
    }
    return [_event(EventType.GROUP_EXPORTED, movement, at, label, data)]


def group_imported(
    movement: Movement,
    label: Label,
    imported_in: Sequence[int | None],
    at: datetime,
    *,
    completed: bool = False,
) -> Sequence[OutboxEvent]:
    """All Event Files of a group are imported: one event, none while one is missing or if this Movement imported none.

    `imported_in` has the number of the Movement that imported each file of the group, as its mark says. `completed`: the
    Movement has completed the group, whose files an earlier one has stored and imported.
    """
    if None in imported_in or not (completed or movement.number in imported_in):
        return ()
    here = imported_in.count(movement.number)
    data = {"label": label, "files": {"imported": here, "skipped": len(imported_in) - here}}
    return [_event(EventType.GROUP_IMPORTED, movement, at, label, data)]


def file_failed(movement: Movement, file: EventFileId, reason: str, at: datetime) -> OutboxEvent:
    """An Event File could not be loaded."""
    data = {"file": str(file), "stream": file.stream}
    return _event(EventType.FILE_FAILED, movement, at, str(file), data, (reason,))


def records_rejected(movement: Movement, count: int, reasons: Collection[str], at: datetime) -> OutboxEvent:
    """This number of records was rejected so far in the Movement. There is one event of this kind a minute."""
    minute = int(max((at - movement.created).total_seconds(), 0.0) // REJECTIONS_SECONDS)
    shown = tuple(dict.fromkeys(reasons))[:REASONS_KEPT]
    return _event(EventType.RECORDS_REJECTED, movement, at, f"minute {minute}", {"records": count}, shown)


def last_due(movement: Movement | None) -> Sequence[OutboxEvent]:
    """Return the latest events that movement.json shows: the process that stored it may have died before them."""
    if movement is None:
        return []
    return [*told(movement), settled(movement) if movement.settled else started(movement)]
