"""The order in which the Event Files of a group are applied, and what may run concurrently.

The files of one stream form a lane: a sequence of steps. Consecutive `full` files of one Movement have disjoint keys
and form one step; an `incremental` file is a step of its own. Lanes are independent of each other.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, StreamName
from pipeline.domain.planning.compaction import applicable


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` (from 0) of `of` parts of the work of a group, so that several workers can take part.

    Shards depend only on the File List, so no coordination is needed.
    """

    index: int
    of: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.of:
            raise ValueError(f"there is no shard {self.index} of {self.of}")

    def has(self, ordinal: int) -> bool:
        """Whether the file at this position belongs to the shard."""
        return ordinal % self.of == self.index


WHOLE = Shard(0, 1)


@dataclass(frozen=True, slots=True)
class Step:
    """Files that may be loaded concurrently once every file of `after` is marked."""

    pending: tuple[FileEntry, ...]
    after: tuple[EventFileId, ...]


@dataclass(frozen=True, slots=True)
class Lane:
    """The files of one stream that are still to be loaded, in order."""

    stream: StreamName
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """The files of a File List that are to be loaded, and the number of files that are marked already."""

    lanes: tuple[Lane, ...]
    skipped: int

    @property
    def pending(self) -> int:
        """The number of files to load."""
        return sum(len(step.pending) for lane in self.lanes for step in lane.steps)


_Stage = list[FileEntry]


def plan_grown(entries: Sequence[FileEntry], marked: Container[EventFileId], grown_from: int) -> Plan:
    """Return the files from position `grown_from` on that can be loaded at once.

    Files that depend on others wait for the File List of the complete group.
    """
    grown = {entry.id for entry in entries[grown_from:]}
    lanes: list[Lane] = []
    for lane in plan(entries, marked).lanes:
        step = lane.steps[0]
        pending = tuple(entry for entry in step.pending if entry.id in grown)
        if pending:
            lanes.append(Lane(lane.stream, (Step(pending, step.after),)))
    return Plan(lanes=tuple(lanes), skipped=sum(file in marked for file in grown))


def plan(entries: Sequence[FileEntry], marked: Container[EventFileId], shard: Shard = WHOLE) -> Plan:
    """Return the lanes of a File List that have files to load, given the marks of the destination.

    A shard of a lane ends before a step that is distributed over shards: the worker that completes the steps before it
    announces the group again.
    """
    ordinals = {entry.id: ordinal for ordinal, entry in enumerate(entries)}
    entries = applicable(entries, marked)
    lanes: list[Lane] = []
    for stream, stages in _stages(entries).items():
        steps = tuple(_pending(stages, marked) if shard == WHOLE else _own(stages, marked, ordinals, shard))
        if steps:
            lanes.append(Lane(stream, steps))
    return Plan(lanes=tuple(lanes), skipped=sum(entry.id in marked for entry in entries))


def _stages(entries: Sequence[FileEntry]) -> dict[StreamName, list[_Stage]]:
    streams: dict[StreamName, list[_Stage]] = {}
    for entry in entries:
        stages = streams.setdefault(entry.id.stream, [])
        if stages and _side_by_side(stages[-1][-1], entry):
            stages[-1].append(entry)
        else:
            stages.append([entry])
    return streams


def _side_by_side(before: FileEntry, entry: FileEntry) -> bool:
    return before.is_snapshot and entry.is_snapshot and before.id.movement == entry.id.movement


def _pending(stages: Sequence[_Stage], marked: Container[EventFileId]) -> Iterator[Step]:
    after: tuple[EventFileId, ...] = ()
    for stage in stages:
        pending = tuple(entry for entry in stage if entry.id not in marked)
        if pending:
            yield Step(pending, after)
        after = tuple(entry.id for entry in stage)


def _own(
    stages: Sequence[_Stage], marked: Container[EventFileId], ordinals: Mapping[EventFileId, int], shard: Shard
) -> Iterator[Step]:
    """Yield the shard's part of a lane: of a first step with several files, else the steps before such a step.

    Steps of one file each all belong to one shard, which the name of the stream determines.
    """
    wide = {entry.id for stage in stages if len(stage) > 1 for entry in stage}
    for position, step in enumerate(_pending(stages, marked)):
        if step.pending[0].id in wide:
            own = tuple(entry for entry in step.pending if shard.has(ordinals[entry.id]))
            if own and position == 0:
                yield Step(own, step.after)
            return
        if not shard.has(sum(step.pending[0].id.stream.encode())):
            return
        yield step


def accounted(entries: Sequence[FileEntry], marked: Container[EventFileId], failed: Container[EventFileId]) -> bool:
    """Whether a File List is done: every file is marked, has failed, or comes after one that failed."""
    awaited = [entry for lane in plan(entries, marked).lanes for entry in lane.steps[0].pending]
    return all(entry.id in failed for entry in awaited)


def in_lane_order(entries: Sequence[FileEntry]) -> list[FileEntry]:
    """Return new Event Files of one Movement in File List order: by stream, `full` files first, then by chunk."""
    return sorted(entries, key=lambda entry: (entry.id.stream, not entry.is_snapshot, entry.id.chunk))
