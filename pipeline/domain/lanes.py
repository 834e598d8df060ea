"""In which order the Event Files of a group are applied, and what may run side by side.

The files of one stream are a lane. A lane is a row of steps, each after the one before: consecutive `full` files of one
Movement cover disjoint keys and make up one step; an `incremental` file is a step of its own. Lanes know nothing of
each other.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, StreamName


@dataclass(frozen=True, slots=True)
class Step:
    """Files that may be applied side by side, once every file of `after` is marked."""

    pending: tuple[FileEntry, ...]
    after: tuple[EventFileId, ...]


@dataclass(frozen=True, slots=True)
class Lane:
    """What is still to be applied of one stream, in order."""

    stream: StreamName
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done about a File List, and how many of its files are marked already."""

    lanes: tuple[Lane, ...]
    skipped: int

    @property
    def pending(self) -> int:
        """How many files are to be applied."""
        return sum(len(step.pending) for lane in self.lanes for step in lane.steps)


def plan(entries: Sequence[FileEntry], marked: Container[EventFileId]) -> Plan:
    """Return the lanes of a File List, given what the destination has marked. Only lanes with work in them."""
    streams: dict[StreamName, list[list[FileEntry]]] = {}
    for entry in entries:
        steps = streams.setdefault(entry.id.stream, [])
        if steps and _side_by_side(steps[-1][-1], entry):
            steps[-1].append(entry)
        else:
            steps.append([entry])
    lanes = [Lane(stream, _pending_steps(steps, marked)) for stream, steps in streams.items()]
    busy = tuple(lane for lane in lanes if lane.steps)
    pending = sum(len(step.pending) for lane in busy for step in lane.steps)
    return Plan(lanes=busy, skipped=len(entries) - pending)


def _side_by_side(before: FileEntry, entry: FileEntry) -> bool:
    return before.is_snapshot and entry.is_snapshot and before.id.movement == entry.id.movement


def _pending_steps(steps: Sequence[Sequence[FileEntry]], marked: Container[EventFileId]) -> tuple[Step, ...]:
    found: list[Step] = []
    after: tuple[EventFileId, ...] = ()
    for files in steps:
        pending = tuple(entry for entry in files if entry.id not in marked)
        if pending:
            found.append(Step(pending, after))
        after = tuple(entry.id for entry in files)
    return tuple(found)


def in_lane_order(entries: Sequence[FileEntry]) -> list[FileEntry]:
    """Return new Event Files of one Movement as a File List names them: a stream's `full` files first, then by chunk."""
    return sorted(entries, key=lambda entry: (entry.id.stream, not entry.is_snapshot, entry.id.chunk))
