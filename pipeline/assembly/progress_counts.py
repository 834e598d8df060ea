"""A Reporter that counts what a Movement reports.

One thread may add while another one reads: each figure is right, but two of them may not belong to the same moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.domain.progress.model import ProgressModel, TimeLeft
from pipeline.engine.estimates.noted_events import note_event
from pipeline.ports.reporter import (
    BinaryFileStored,
    Event,
    EventFileFailed,
    EventFileImported,
    EventFileStored,
    GroupComplete,
    ImportPlanned,
    MovementBegun,
    MovementSettled,
    RecordRejected,
    RejectedRetried,
    RowsExpected,
    RowsFetched,
    RowsRead,
    SourceRecordRejected,
    StreamGone,
)

GroupEvent = (
    RowsRead
    | RowsExpected
    | RowsFetched
    | EventFileStored
    | GroupComplete
    | ImportPlanned
    | EventFileImported
    | EventFileFailed
    | RecordRejected
    | RejectedRetried
    | SourceRecordRejected
)


@dataclass(slots=True)
class GroupTally:
    """The counts of one File Group. `bytes_stored` are after compression; `began` and `latest` are times of the clock."""

    label: str
    rows_read: int = 0
    rows_fetched: int = 0
    rows_expected: dict[str, int] = field(default_factory=dict)
    files_stored: int = 0
    bytes_stored: int = 0
    complete: bool = False
    listed: int = 0
    planned: bool = False
    pending: int = 0
    skipped: int = 0
    files_imported: int = 0
    upserts_imported: int = 0
    deletes_imported: int = 0
    rejected: int = 0
    waiting: int = 0
    rejected_at_source: int = 0
    files_failed: int = 0
    began: float | None = None
    latest: float | None = None

    @property
    def records_imported(self) -> int:
        """The upserts and deletes that the destination has taken."""
        return self.upserts_imported + self.deletes_imported

    @property
    def done(self) -> bool:
        """Whether the group is exported, and every file to import was imported or has failed."""
        return self.complete and self.planned and self._files_done >= self.pending

    @property
    def fraction(self) -> float:
        """The progress from 0 to 1: the export is the first half, the import of the pending files the second."""
        if not self.complete:
            return 0.5 * self._exported
        if not self.planned:
            return 0.5
        return min(1.0, 0.5 + 0.5 * self._files_done / self.pending) if self.pending else 1.0

    @property
    def _exported(self) -> float:
        """The progress of the export from 0 to 1. It is 0 while nobody has said how many rows there are.

        Rows that the source fetches before the exporter reads them count half when they are fetched.
        """
        expected = sum(self.rows_expected.values())
        if not expected:
            return 0.0
        read = (self.rows_fetched + self.rows_read) / 2 if self.rows_fetched else self.rows_read
        return min(1.0, read / expected)

    @property
    def seconds(self) -> float:
        """The time from the first to the latest event of the group."""
        return 0.0 if self.began is None or self.latest is None else self.latest - self.began

    @property
    def rows_per_second(self) -> float:
        """Rows read or records imported, whichever are more, divided by `seconds`."""
        rows = max(self.rows_read, self.rows_fetched, self.records_imported)
        return rows / self.seconds if self.seconds > 0.05 else 0.0

    @property
    def _files_done(self) -> int:
        return self.files_imported + self.files_failed

    def count(self, event: GroupEvent) -> None:
        """Count an event of this group."""
        match event:
            case RowsRead():
                self.rows_read += event.rows
            case RowsExpected():
                self.rows_expected[event.stream] = event.rows
            case RowsFetched():
                self.rows_fetched += event.rows
            case EventFileStored():
                self.files_stored += 1
                self.bytes_stored += event.size
            case GroupComplete():
                self.complete, self.listed = True, event.listed
            case ImportPlanned():
                self._count_plan(event)
            case EventFileImported():
                self.files_imported += 1
                self.upserts_imported += event.mark.upserts
                self.deletes_imported += event.mark.deletes
            case EventFileFailed():
                self.files_failed += 1
            case RecordRejected():
                self.rejected += 1
            case SourceRecordRejected():
                self.rejected += 1
                self.rejected_at_source += 1
            case RejectedRetried(accepted=accepted, rejected=rejected, waiting=waiting):
                self.upserts_imported += accepted
                self.rejected, self.waiting = rejected + self.rejected_at_source, waiting

    def _count_plan(self, event: ImportPlanned) -> None:
        """Count a plan. In a later plan, `skipped` includes the files imported since the first."""
        if not self.planned:
            self.planned, self.pending, self.skipped = True, event.pending, event.skipped
        else:
            self.pending = max(self.pending, self._files_done + event.pending)


@dataclass(slots=True)
class Tally:
    """The counts of a Movement: a Reporter. `clock` gives seconds.

    `gone` are streams that the source no longer has, with the numbers of records that are deleted.
    """

    clock: Callable[[], float] = time.monotonic
    flow: str = ""
    movement: int = 0
    resumed: bool = False
    status: str = ""
    groups: dict[str, GroupTally] = field(default_factory=dict)
    bytes_of_binaries: int = 0
    gone: dict[str, int] = field(default_factory=dict)
    began: float = 0.0
    _percent: int = 0
    _model: ProgressModel = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self.began = self.clock()
        self._model = ProgressModel(self.began)

    @property
    def rejected(self) -> int:
        """The rejected records of all groups."""
        return sum(group.rejected for group in list(self.groups.values()))

    @property
    def seconds(self) -> float:
        """The time since the start."""
        return self.clock() - self.began

    @property
    def percent(self) -> int:
        """The progress in percent. It never goes down, and reaches 100 with SUCCESS alone."""
        if self.status == "SUCCESS":
            self._percent = 100
        elif self._model.is_known:
            self._percent = max(self._percent, self._model.percent(self.clock()))
        elif groups := list(self.groups.values()):
            fraction = sum(group.fraction for group in groups) / len(groups)
            self._percent = max(self._percent, min(99, int(100 * fraction)))
        return self._percent

    @property
    def time_left(self) -> TimeLeft | None:
        """The range of seconds that the Movement still takes; None while it cannot be known."""
        return self._model.time_left(self.clock()) if not self.status else None

    @property
    def stalled_seconds(self) -> float:
        """For how long nothing has moved, if that is unusual; else 0."""
        return 0.0 if self.status or not self.groups else self._model.stalled_seconds(self.clock())

    def report(self, event: Event) -> None:
        """Count `event`."""
        note_event(self._model, event, self.clock())
        match event:
            case MovementBegun():
                self.flow, self.movement, self.resumed = event.flow, event.movement, event.resumed
                for label in event.labels:
                    self.groups.setdefault(label, GroupTally(label))
            case BinaryFileStored():
                self.bytes_of_binaries += 0 if event.reused else event.size
            case StreamGone(stream, deletes):
                self.gone[stream] = self.gone.get(stream, 0) + deletes
            case MovementSettled():
                self.status = event.status
            case _ if isinstance(event, GroupEvent):
                group = self.groups.setdefault(event.label, GroupTally(event.label))
                group.latest = self.clock()
                group.began = group.latest if group.began is None else group.began
                group.count(event)
            case _:
                pass
