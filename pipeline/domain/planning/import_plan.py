"""In which order the Event Files of a group are applied, and what may run side by side.

The files of one stream are a lane. A lane is a row of steps, each after the one before: consecutive `full` files of one
Movement cover disjoint keys and make up one step; an `incremental` file is a step of its own. Lanes know nothing of
each other.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, StreamName
from pipeline.domain.planning.compaction import applicable


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `of` parts of the work of a group, so that several workers take part; `index` counts from 0.

    Shares are dealt by the File List alone: whoever holds one knows what is his, whatever others have done meanwhile.
    """

    index: int
    of: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.of:
            raise ValueError(f"there is no share {self.index} of {self.of}")

    def has(self, ordinal: int) -> bool:
        """Whether what stands at `ordinal` is of this share."""
        return ordinal % self.of == self.index


WHOLE = Shard(0, 1)


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


_Stage = list[FileEntry]


def plan_grown(entries: Sequence[FileEntry], marked: Container[EventFileId], grown_from: int) -> Plan:
    """Return what can be done at once of the files of a File List from the position `grown_from` on.

    What waits for other files waits for the list of the complete group.
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
    """Return the lanes of a File List, given what the destination has marked. Only lanes with work in them.

    A share of a lane ends before a step whose files are shared out: whoever ends what comes before rings again.
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
    """Of a lane's pending steps: the share of the first if many files may run side by side in it, else those up to such.

    Steps of one file each all belong to one share, told by the name of the stream.
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
    """Whether nothing of a File List is to come: every file is marked, or failed, or stands behind one that failed."""
    awaited = [entry for lane in plan(entries, marked).lanes for entry in lane.steps[0].pending]
    return all(entry.id in failed for entry in awaited)


def in_lane_order(entries: Sequence[FileEntry]) -> list[FileEntry]:
    """Return new Event Files of one Movement as a File List names them: a stream's `full` files first, then by chunk."""
    return sorted(entries, key=lambda entry: (entry.id.stream, not entry.is_snapshot, entry.id.chunk))
