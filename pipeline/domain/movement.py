"""Movements: their states, the ways between them, and what one comes to in the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from pipeline.domain.errors import DefectError
from pipeline.domain.ids import FlowName, Label, ObjectKey, StreamName


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

    `shares` is the Flow whose stored objects this one imports, if it exports none of its own. `pruning` says who deletes
    what is needed no more, while somebody does: no Movement begins meanwhile.
    """

    name: FlowName
    source: str
    destination: str
    created: datetime
    movements: int = 0
    origin: FlowName | None = None
    pruning: str | None = None

    @property
    def marks_namespace(self) -> FlowName:
        """What the Flow is called in the marks of its destination: by its name and when it was made.

        A Flow of the same name in another store, or made anew after its store was lost, has other Event Files under
        the same ids: marks of the one must not count for the other.
        """
        return marks_namespace(self.name, self.created)


def marks_namespace(name: FlowName, created: datetime) -> FlowName:
    """Return `Flow.marked_as` of a Flow that is about to be made."""
    return FlowName(f"{name} {created.isoformat()}")


@dataclass(frozen=True, slots=True)
class Totals:
    """What a Movement came to. Files and records count the whole Movement; binaries, bytes and seconds this run of it."""

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
class Movement:
    """One explicit act of moving data, numbered in its Flow.

    `attempts` counts the exporters that began on it. `file_lists` holds the current File List of each group, once it
    is complete; `exported` says that there will be no more, and `groups` which of them this Movement was about.
    `exporter` is the worker that began the latest attempt. `states` names, for each stream, the stored snapshot
    state that the next Movement compares with; it is final together with `exported`.
    `unfinished` names the streams of which Event Files are listed that `states` does not know of yet, because the export of
    the group has not ended, each with the first Movement that stored such.
    `shares` is the Flow whose File Lists these are, if not its own, and `shares_movement` the number of the Movement
    there from which they were taken, 0 if not known. A `compaction` moves nothing: it folds what is stored.
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

    @property
    def stored_in(self) -> FlowName:
        """The Flow below whose prefix the Event Files and Binary Files lie."""
        return self.origin or self.flow

    @property
    def settled(self) -> bool:
        """Whether the status is final."""
        return self.status in SETTLED

    def to(self, status: Status, at: datetime) -> Movement:
        """Return this Movement in `status`; DefectError when no way leads there."""
        if status is self.status:
            return replace(self, updated=at)
        if status not in _NEXT.get(self.status, frozenset()):
            raise DefectError(f"Movement {self.number} of Flow {self.flow!r} cannot go from {self.status} to {status}")
        return replace(self, status=status, updated=at)


def final_status(*, imported: int, skipped: int, failed: int, rejected: int, violations: int) -> Status:
    """Return how a Movement settles whose exporter has ended and whose every listed file is accounted for.

    SUCCESS: every file imported, or skipped as imported before, and nothing set aside. FAILED: files failed and
    nothing is usable. INCOMPLETE: all between.
    """
    if not failed and not rejected and not violations:
        return Status.SUCCESS
    if failed and not imported and not skipped:
        return Status.FAILED
    return Status.INCOMPLETE
