"""Flows and Movements: their states, the transitions between them, and their totals."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from pipeline.domain.errors import DefectError
from pipeline.domain.flows.declaration import NOTHING_DECLARED, Declaration
from pipeline.domain.ids import FlowName, Label, ObjectKey, StreamName
from pipeline.domain.inventory import Inventory
from pipeline.domain.rejections import SourceRejections


class Status(StrEnum):
    """The states of a Movement. Those in `SETTLED` are final."""

    READY = "READY"
    IN_PROGRESS = "IN_PROGRESS"
    CANCELLATION_REQUESTED = "CANCELLATION_REQUESTED"
    SUCCESS = "SUCCESS"
    INCOMPLETE = "INCOMPLETE"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    CANCELLED = "CANCELLED"


SETTLED = frozenset({Status.SUCCESS, Status.INCOMPLETE, Status.FAILED, Status.TIMED_OUT, Status.CANCELLED})

_NEXT: Mapping[Status, frozenset[Status]] = {
    Status.READY: frozenset({Status.IN_PROGRESS, Status.CANCELLATION_REQUESTED, Status.FAILED, Status.TIMED_OUT}),
    Status.IN_PROGRESS: SETTLED - {Status.CANCELLED} | {Status.CANCELLATION_REQUESTED},
    Status.CANCELLATION_REQUESTED: frozenset({Status.CANCELLED, Status.TIMED_OUT}),
}


@dataclass(frozen=True, slots=True)
class Flow:
    """A long-lived connection from one source to one destination. `movements` is the number of the latest Movement.

    A derived Flow exports nothing: it imports the objects of the Flow `origin`. `pruning` names the process that is
    pruning this Flow; no Movement starts meanwhile. `accepted_missing` holds the kinds of
    objects of the source that need not be at the destination. `rebuilt` is the Movement with which the history begins again
    after objects were taken away, 0 if none were. `declared` is all else that a person has said of the Flow.
    """

    name: FlowName
    source: str
    destination: str
    created: datetime
    movements: int = 0
    origin: FlowName | None = None
    pruning: str | None = None
    accepted_missing: tuple[str, ...] = ()
    rebuilt: int = 0
    declared: Declaration = NOTHING_DECLARED

    @property
    def marks_namespace(self) -> FlowName:
        """The name of the Flow in the marks of its destination: its name and the time of its creation.

        A Flow of the same name in another store, or created again after its store was lost, has other Event Files with
        the same ids, so their marks must differ.
        """
        return marks_namespace(self.name, self.created)


def marks_namespace(name: FlowName, created: datetime) -> FlowName:
    """Return `Flow.marks_namespace` of a Flow that does not exist yet."""
    return FlowName(f"{name} {created.isoformat()}")


@dataclass(frozen=True, slots=True)
class Totals:
    """The totals of a Movement: files and records of all of it; binaries, bytes and seconds of its last run."""

    files_exported: int = 0
    files_imported: int = 0
    files_skipped: int = 0
    files_failed: int = 0
    upserts: int = 0
    deletes: int = 0
    rejected: int = 0
    binaries_stored: int = 0
    binaries_reused: int = 0
    binaries_imported: int = 0
    binaries_failed: int = 0
    bytes_read: int = 0
    bytes_stored: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Choices:
    """What a person chose for one Movement: patterns of the streams to move, to leave out, and to delete any number from."""

    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow_deletes: tuple[str, ...] = ()

    def of_flow(self, declared: Declaration) -> Choices:
        """Return the choices, and those that the Flow itself declares."""
        return replace(self, exclude=tuple(dict.fromkeys((*declared.excluded, *self.exclude))))

    def __str__(self) -> str:
        named = (("--only", self.only), ("--exclude", self.exclude), ("--allow-deletes", self.allow_deletes))
        return " ".join(f"{option} {pattern}" for option, patterns in named for pattern in patterns)


NO_CHOICES = Choices()


@dataclass(frozen=True, slots=True)
class HeldDeletes:
    """Deletes of a stream that were held back because they are many, and how many rows the stream has in all."""

    deletes: int
    rows: int

    def problem(self, stream: StreamName) -> str:
        """Return what is held, and what to do, in a sentence."""
        return (
            f"{stream}: {self.deletes:,} of {self.rows:,} records of the destination are not at the source, and none of them "
            f"was deleted. Check that the source is whole; to delete them, add --allow-deletes {shlex.quote(stream)}"
        )


@dataclass(frozen=True, slots=True)
class GroupCounts:
    """How many Event Files of a group the File List named when the Movement settled, and how many of them were imported."""

    listed: int
    imported: int


@dataclass(frozen=True, slots=True)
class Movement:
    """One explicit act of moving data, numbered in its Flow.

    `attempts` counts the exporters that started on it; `exporter` is the worker of the latest attempt. `file_lists`
    holds the current File List of each complete group. `exported`: no more File Lists follow; `groups` names those of
    this Movement. `states` names, for each stream, the stored snapshot state that the next Movement compares with; it
    is final once `exported`. `unfinished` names streams with listed Event Files that `states` does not include yet,
    because the export of their group has not ended, each with the first Movement that stored such files.

    `origin` is the Flow whose File Lists these are, if not its own; `origin_movement` is the Movement there that they
    were taken from, 0 if unknown. A `compaction` moves nothing: it replaces the history of streams by snapshots. `inventory`
    says what became of everything that the source has; `omitted` is the part that the source could not give, and
    `rejections` are the records that it could not give. `held_deletes` names
    the streams of which nothing was deleted because the deletes were many, and no pattern of `allow_deletes` fits.
    `violated` are the streams with violations at the end of this Movement, or until then of the one before: they are checked
    again even if nothing of them is imported. `counts` are those of each group when this Movement settled, or one before
    that moved the group: they spare readers the File Lists.
    """

    flow: FlowName
    number: int
    status: Status
    created: datetime
    updated: datetime
    attempts: int = 0
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    file_lists: Mapping[Label, ObjectKey] = field(default_factory=dict)
    states: Mapping[StreamName, ObjectKey] = field(default_factory=dict)
    exported: bool = False
    totals: Totals = Totals()
    problems: tuple[str, ...] = ()
    origin: FlowName | None = None
    origin_movement: int = 0
    compaction: bool = False
    groups: tuple[Label, ...] = ()
    exporter: str = ""
    unfinished: Mapping[StreamName, int] = field(default_factory=dict)
    inventory: Inventory = field(default_factory=Inventory)
    omitted: Inventory = field(default_factory=Inventory)
    rejections: SourceRejections = field(default_factory=SourceRejections)
    allow_deletes: tuple[str, ...] = ()
    held_deletes: Mapping[StreamName, HeldDeletes] = field(default_factory=dict)
    violated: tuple[StreamName, ...] = ()
    counts: Mapping[Label, GroupCounts] = field(default_factory=dict)

    @property
    def choices(self) -> Choices:
        """The choices of the person who began it."""
        return Choices(self.only, self.exclude, self.allow_deletes)

    @property
    def stored_in(self) -> FlowName:
        """The Flow under whose prefix the Event Files and Binary Files are stored."""
        return self.origin or self.flow

    @property
    def settled(self) -> bool:
        """Whether the status is final."""
        return self.status in SETTLED

    def to(self, status: Status, at: datetime) -> Movement:
        """Return this Movement in `status`. DefectError when there is no such transition."""
        if status is self.status:
            return replace(self, updated=at)
        if status not in _NEXT.get(self.status, frozenset()):
            raise DefectError(
                f"Movement {self.number} of Flow {self.flow!r} cannot change from {self.status} to {status}"
            )
        return replace(self, status=status, updated=at)


def final_status(*, imported: int, skipped: int, failed: int, rejected: int, violations: int, gaps: int = 0) -> Status:
    """Return the final status of a Movement that is exported and whose listed files are all imported or failed.

    SUCCESS: every file is imported or was imported before, no record is rejected, no constraint is violated, and
    nothing of the source is missing at the destination, or kept there, without being accepted (`gaps`).
    FAILED: files failed and none is imported. INCOMPLETE: everything in between.
    """
    if not failed and not rejected and not violations and not gaps:
        return Status.SUCCESS
    if failed and not imported and not skipped:
        return Status.FAILED
    return Status.INCOMPLETE
