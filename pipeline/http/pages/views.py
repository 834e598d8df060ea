"""What the pages show of Flows and Movements, in words: a status, one sentence, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pipeline.assembly.progress_counts import progress_words
from pipeline.codec.documents.progress import Progress
from pipeline.codec.documents.work_error import WorkError
from pipeline.domain.lifecycle.table import State
from pipeline.domain.movement import Flow, Movement
from pipeline.domain.outbox.event import EventType, OutboxEvent
from pipeline.domain.progress.shown import ShownProgress

GRID_MOVEMENTS = 50
"""How many Movements the grid of a Flow shows."""
_TONES = {
    "SUCCESS": "good",
    "FAILED": "bad",
    "TIMED_OUT": "bad",
    "INCOMPLETE": "warn",
    "CANCELLED": "warn",
    "PAUSED": "warn",
    "CANCELLATION_REQUESTED": "warn",
}
_WORST_FIRST = ["FAILED", "TIMED_OUT", "INCOMPLETE", "CANCELLATION_REQUESTED", "PAUSED", "READY", "IN_PROGRESS"]


def tone(status: str) -> str:
    """Return how a status looks: good, bad, warn or going."""
    return _TONES.get(status, "going")


def severity(status: str) -> int:
    """Return the rank of a status in a list with the worst first."""
    return _WORST_FIRST.index(status) if status in _WORST_FIRST else len(_WORST_FIRST)


@dataclass(frozen=True, slots=True)
class FlowRow:
    """A Flow in the list of all."""

    name: str
    status: str
    sentence: str
    number: int
    records: int
    updated: datetime

    @classmethod
    def of(cls, flow: Flow, latest: Movement | None, state: State | None) -> FlowRow:
        """Return the row of a Flow with its latest Movement and the state of it."""
        if latest is None or state is None:
            return cls(flow.name, "NEW", "Nothing has been moved yet.", 0, 0, flow.created)
        records = latest.totals.upserts + latest.totals.deletes
        sentence = latest.problems[0] if latest.problems else state.sentence
        return cls(flow.name, state.status.value, sentence[:300], latest.number, records, latest.updated)


@dataclass(frozen=True, slots=True)
class MovementView:
    """A Movement in words."""

    number: int
    status: str
    sentence: str
    settled: bool
    exported: bool
    created: datetime
    updated: datetime
    seconds: float
    upserts: int
    deletes: int
    rejected: int
    waiting: int
    files_imported: int
    files_skipped: int
    files_failed: int
    problems: Sequence[str]

    @classmethod
    def of(cls, movement: Movement, state: State) -> MovementView:
        """Return a Movement in its state, in words."""
        totals = movement.totals
        return cls(
            movement.number,
            state.status.value,
            state.sentence,
            movement.settled,
            movement.exported,
            movement.created,
            movement.updated,
            totals.seconds,
            totals.upserts,
            totals.deletes,
            totals.rejected,
            totals.waiting,
            totals.files_imported,
            totals.files_skipped,
            totals.files_failed,
            movement.problems,
        )


@dataclass(frozen=True, slots=True)
class UnderWay:
    """What workers have done so far in a Movement under way, and the time left in words, if that can be known."""

    records_read: int
    records_imported: int
    files_stored: int
    files_imported: int
    percent: int
    time_left: str

    @classmethod
    def of(cls, workers: Sequence[Progress], shown: ShownProgress | None) -> UnderWay:
        """Return what these workers have done, and how far the Movement is, if that is known."""
        groups = [group for worker in workers for group in worker.groups.values()]
        return cls(
            sum(group.rows_read for group in groups),
            sum(group.records_imported for group in groups),
            sum(group.files_stored for group in groups),
            sum(group.files_imported for group in groups),
            0 if shown is None else shown.percent,
            "" if shown is None else progress_words(shown),
        )


@dataclass(frozen=True, slots=True)
class Cell:
    """One group in one Movement: a letter, its colour, and what it means in words."""

    letter: str
    tone: str
    words: str


_NOTHING = Cell("·", "", "nothing to do")


@dataclass(frozen=True, slots=True)
class GridRow:
    """A group, with a cell for each Movement."""

    label: str
    cells: Sequence[Cell]


@dataclass(frozen=True, slots=True)
class Grid:
    """The latest Movements of a Flow by their groups, the newest first."""

    numbers: Sequence[int]
    rows: Sequence[GridRow]

    @classmethod
    def of(cls, events: Sequence[OutboxEvent]) -> Grid:
        """Return the grid that events tell of."""
        numbers = sorted({event.movement for event in events if event.movement}, reverse=True)[:GRID_MOVEMENTS]
        cells: dict[tuple[str, int], Cell] = {}
        for event in events:
            if (label := _label(event)) is not None and event.movement in numbers:
                cells[label, event.movement] = _cell(event)
        labels = sorted({label for label, _ in cells})
        rows = [GridRow(label, [cells.get((label, number), _NOTHING) for number in numbers]) for label in labels]
        return cls(numbers, rows)


def _label(event: OutboxEvent) -> str | None:
    if event.type in (EventType.GROUP_EXPORTED, EventType.GROUP_IMPORTED):
        return event.subject
    return None


def _cell(event: OutboxEvent) -> Cell:
    if event.type is EventType.GROUP_IMPORTED:
        return Cell("I", "good", "imported")
    new = event.data.get("new")
    if isinstance(new, Mapping) and not new.get("files"):
        return _NOTHING
    return Cell("E", "going", "exported, not imported yet")


def timeline(events: Sequence[OutboxEvent]) -> Sequence[str]:
    """Return a line for each event."""
    return [_line(event) for event in events]


def _line(event: OutboxEvent) -> str:
    values = ", ".join(
        _value(name, value) for name, value in event.data.items() if name not in ("label", "key", "file")
    )
    reasons = f": {'; '.join(event.reasons)}" if event.reasons else ""
    subject = f" {event.subject}" if event.subject else ""
    return f"{event.time:%Y-%m-%d %H:%M:%S} UTC  {event.type.value}{subject} {values}{reasons}".rstrip()


def _value(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{name}: {', '.join(_value(inner, one) for inner, one in value.items())}"
    return f"{name} {value:,}" if isinstance(value, int) and not isinstance(value, bool) else f"{name} {value}"


def advice(errors: Sequence[WorkError]) -> str:
    """Return what keeps a Movement from going on, by what workers have met; empty when nothing does."""
    if errors:
        error = errors[-1]
        return f"{error.work} has failed {error.count:,} times, the last time because: {error.reason}"
    return ""
