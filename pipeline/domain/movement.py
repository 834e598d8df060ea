"""Flows and Movements: their states, the transitions between them, and their totals."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from pipeline.domain.errors import DefectError
from pipeline.domain.flows.declaration import NOTHING_DECLARED, Declaration, Windows
from pipeline.domain.flows.findings import AcceptedFinding
from pipeline.domain.ids import FlowName, Label, ObjectKey, StreamName
from pipeline.domain.inventory import Inventory
from pipeline.domain.lifecycle.due import DueEvent
from pipeline.domain.lifecycle.status import SETTLED as SETTLED
from pipeline.domain.lifecycle.status import Reason
from pipeline.domain.lifecycle.status import Status as Status
from pipeline.domain.lifecycle.table import NEXT, status_of
from pipeline.domain.lifecycle.wish import NO_WISH, Want, Wish
from pipeline.domain.progress.scores import Shown
from pipeline.domain.rejections import SourceRejections


@dataclass(frozen=True, slots=True)
class Totals:
    """The totals of a Movement: files and records of all of it; binaries, bytes and seconds of its last run.

    `waiting` are those among the `rejected` records that wait for the id of another record.
    """

    files_exported: int = 0
    files_imported: int = 0
    files_skipped: int = 0
    files_failed: int = 0
    upserts: int = 0
    deletes: int = 0
    rejected: int = 0
    waiting: int = 0
    binaries_stored: int = 0
    binaries_reused: int = 0
    binaries_imported: int = 0
    binaries_failed: int = 0
    bytes_read: int = 0
    bytes_stored: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Choices:
    """Patterns of streams to move, to leave out, to delete any number from; `overwrite` what is there before a first load."""

    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow_deletes: tuple[str, ...] = ()
    overwrite: bool = False

    def of_flow(self, declared: Declaration) -> Choices:
        """Return the choices, and those that the Flow itself declares."""
        return replace(self, exclude=tuple(dict.fromkeys((*declared.excluded, *self.exclude))))

    def __str__(self) -> str:
        named = (("--only", self.only), ("--exclude", self.exclude), ("--allow-deletes", self.allow_deletes))
        chosen = (f"{option} {pattern}" for option, patterns in named for pattern in patterns)
        return " ".join([*chosen, *["--overwrite"] * self.overwrite])


NO_CHOICES = Choices()


@dataclass(frozen=True, slots=True)
class QueuedStart:
    """A start that waits until the latest Movement has settled: since when, who wants it, and its choices."""

    when: datetime
    who: str = ""
    choices: Choices = NO_CHOICES

    def __str__(self) -> str:
        by = f", by {self.who}" if self.who else ""
        choices = f", with {self.choices}" if str(self.choices) else ""
        return f"A start is queued since {self.when:%Y-%m-%d %H:%M:%S} UTC{by}{choices}."


@dataclass(frozen=True, slots=True)
class Flow:
    """A long-lived connection from one source to one destination. `movements` is the number of the latest Movement.

    A derived Flow exports nothing: it imports the objects of the Flow `origin`. `pruning` names the process that is
    pruning this Flow; no Movement starts meanwhile. `accepted_missing` holds the kinds of
    objects of the source that need not be at the destination. `rebuilt` is the Movement with which the history begins again
    after objects were taken away, 0 if none were. `declared` is all else that a person has said of the Flow, and
    `accepted_findings` are those of its checks that do not block any more. `derived` names the Flows that were derived from
    this one; some may be removed since. None: not known, since an earlier release made this one. `queued` is a start that
    waits.
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
    accepted_findings: tuple[AcceptedFinding, ...] = ()
    derived: tuple[FlowName, ...] | None = None
    queued: QueuedStart | None = None

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
class HeldDeletes:
    """Deletes of a stream that were held back, and how many rows the stream has in all.

    `gone`: the source no longer has the stream.
    """

    deletes: int
    rows: int
    gone: bool = False

    def problem(self, stream: StreamName) -> str:
        """Return what is held, and what to do, in a sentence."""
        name = shlex.quote(stream)
        held = (
            f"{stream}: {self.deletes:,} of {self.rows:,} records of the destination are not at the source, and none of them "
            "was deleted. "
        )
        if self.gone:
            return (
                f"{held}The source no longer has this stream: check that it is whole; to delete the records, add "
                f"--allow-deletes {name}; to keep them, add --exclude {name}"
            )
        return f"{held}Check that the source is whole; to delete them, add --allow-deletes {name}"


@dataclass(frozen=True, slots=True)
class GroupCounts:
    """How many Event Files of a group a destination needs, how many of them it has, their records and their stored bytes.

    A Movement knows how many were imported; None: the destination does not answer. `records` and `bytes` are None in
    Movements that earlier releases have settled.
    """

    listed: int
    imported: int | None
    records: int | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """What a Movement has added to a group: Event Files of these streams, their records and their stored bytes."""

    files: int
    records: int
    bytes: int
    streams: tuple[StreamName, ...] = ()


@dataclass(frozen=True, slots=True)
class FirstError:
    """The first thing that went wrong with an Event File or a record, where, and the lines of code that it passed."""

    file: str
    reason: str
    line: int | None = None
    key: str | None = None
    column: str | None = None
    exception: str = ""
    trace: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Movement:
    """One explicit act of moving data, numbered in its Flow.

    `attempts` counts the exporters that started on it; `exporter` is the worker of the latest attempt. `file_lists`
    holds the current File List of each complete group. `exported`: no more File Lists follow; `groups` names those of
    this Movement. `states` names, for each stream, the stored snapshot state that the next Movement compares with; it
    is final once `exported`. `unfinished` names streams with listed Event Files that `states` does not include yet,
    because the export of their group has not ended, each with the first Movement that stored such files.

    `origin` is the Flow whose File Lists these are, if not its own; `origin_movement` is the one there that they are
    of, 0 if unknown. A `compaction` only replaces the history of streams by snapshots. `inventory` says what became of
    all that the source has; `omitted` and `rejections` are the parts and the records that it could not give. `scopes`
    are the kinds of data of streams. `held_deletes` names the streams of which nothing was deleted, since no pattern of
    `allow_deletes` fits. `violated` are the streams with violations at the end of this Movement, or until then of the
    one before: they are checked again in any case. `counts` are those of each group when this Movement settled, or one
    before that moved the group, and `marks` is how many marks the destination had then, None if unknown: while it has
    as many, the counts hold. `added` is what this Movement has added to groups since. They spare readers the File
    Lists. `reasons` counts why files failed and records were rejected; `first_error` is one of them.

    `outcome` is the final status, once it has settled, and `because` the reason for it. `wish` and `group_wishes` are
    what people want of it and of its groups. `original` is the Movement that this one runs again, 0 if none; it stays
    the same however often that is done, and `original_settled` is when that one settled. `windows` are those of the
    Flow when it was created; None in earlier releases. `retried`: rejected records of it were accepted after it had
    settled, which changes its counts alone. `shown` are ranges of the time left that were shown, with what came.
    `queued` is since when its start had been queued, None if it was not; `last_queued` is that of the start that has
    begun last in its Flow. `refused` says why the destination refuses everything, since `refused_since`: then nothing
    more is begun. `flow_created` is when its Flow was created; None in earlier releases. `due` are the events of the
    last change of what people want of it: they are stored with the change, so that a process that dies before it stores
    them in the outbox loses none.
    """

    flow: FlowName
    number: int
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
    marks: int | None = None
    added: Mapping[Label, Added] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    first_error: FirstError | None = None
    outcome: Status | None = None
    because: Reason = Reason.UNKNOWN
    wish: Wish = NO_WISH
    group_wishes: Mapping[Label, Wish] = field(default_factory=dict)
    original: int = 0
    original_settled: datetime | None = None
    windows: Windows | None = None
    retried: bool = False
    shown: tuple[Shown, ...] = ()
    flow_created: datetime | None = None
    queued: datetime | None = None
    refused: str = ""
    refused_since: datetime | None = None
    last_queued: datetime | None = None
    due: tuple[DueEvent, ...] = ()
    overwrite: bool = False
    scopes: Mapping[StreamName, tuple[str, ...]] = field(default_factory=dict)

    @property
    def status(self) -> Status:
        """The status that follows from the facts and the wish. A pause that is over counts until it is taken back."""
        return status_of(self.outcome, self.attempts, self.wish.want)

    def status_at(self, now: datetime) -> Status:
        """Return the status at a time; a pause that is over does not count."""
        return status_of(self.outcome, self.attempts, self.wish.at(now))

    def groups_that(self, want: Want) -> tuple[Label, ...]:
        """Return the groups of which people want this, sorted."""
        return tuple(sorted(label for label, wish in self.group_wishes.items() if wish.want is want))

    def leaves(self, label: Label) -> bool:
        """Return whether a group is left as it is: stopped, or not paused while the destination refuses everything."""
        want = self.group_wishes.get(label, NO_WISH).want
        return want is Want.STOP or (bool(self.refused) and want is not Want.PAUSE)

    @property
    def choices(self) -> Choices:
        """The choices of the person who began it."""
        return Choices(self.only, self.exclude, self.allow_deletes, self.overwrite)

    @property
    def stored_in(self) -> FlowName:
        """The Flow under whose prefix the Event Files and Binary Files are stored."""
        return self.origin or self.flow

    @property
    def settled(self) -> bool:
        """Whether the status is final."""
        return self.outcome is not None

    @property
    def rejected_at_destination(self) -> int:
        """How many records the destination has rejected, and has not accepted since."""
        return max(0, self.totals.rejected - self.rejections.count)

    def to(self, outcome: Status, at: datetime, because: Reason = Reason.UNKNOWN) -> Movement:
        """Return this Movement, settled. DefectError when there is no such transition."""
        if outcome not in NEXT[self.status] & SETTLED:
            raise DefectError(
                f"Movement {self.number} of Flow {self.flow!r} cannot change from {self.status} to {outcome}"
            )
        return replace(self, outcome=outcome, because=because, updated=at)
