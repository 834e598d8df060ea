"""A Reporter that counts what a Movement reports.

One thread may add while another one reads: each figure is right, but two of them may not belong to the same moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

from pipeline.ports.reporter import (
    BinaryFileFailed,
    BinaryFileStored,
    BytesMoved,
    Event,
    EventFileFailed,
    EventFileImported,
    EventFileStored,
    GroupComplete,
    ImportPlanned,
    MovementBegun,
    MovementSettled,
    RecordRejected,
    RowsRead,
    ViolationFound,
)


@dataclass(slots=True)
class GroupTally:
    """The counts of one File Group. `bytes_encoded` are of JSON lines, the other bytes as stored."""

    label: str
    rows_read: int = 0
    bytes_encoded: int = 0
    files_stored: int = 0
    files_adopted: int = 0
    records_stored: int = 0
    bytes_stored: int = 0
    complete: bool = False
    listed: int = 0
    planned: bool = False
    pending: int = 0
    skipped: int = 0
    files_imported: int = 0
    records_imported: int = 0
    upserts_imported: int = 0
    deletes_imported: int = 0
    bytes_imported: int = 0
    rejected: int = 0
    files_failed: int = 0
    began: float | None = None
    latest: float | None = None

    @property
    def done(self) -> bool:
        """Whether the group is exported, and every file to import was imported or has failed."""
        return self.complete and self.planned and self.files_imported + self.files_failed >= self.pending

    @property
    def fraction(self) -> float:
        """The progress from 0 to 1: the export is the first half, the import of the pending files the second."""
        if not self.complete:
            return 0.0
        if not self.planned:
            return 0.5
        if not self.pending:
            return 1.0
        return min(1.0, 0.5 + 0.5 * (self.files_imported + self.files_failed) / self.pending)

    @property
    def seconds(self) -> float:
        """The time from the first to the latest event of the group."""
        return 0.0 if self.began is None or self.latest is None else self.latest - self.began

    @property
    def rows_per_second(self) -> float:
        """Rows read or records imported, whichever are more, divided by `seconds`."""
        rows = max(self.rows_read, self.records_imported)
        return rows / self.seconds if self.seconds > 0.05 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """An estimate from the speed so far; None until the group is complete and a file of it is imported."""
        done = self.files_imported + self.files_failed
        if not self.complete or not self.planned or not done:
            return None
        return self.seconds / done * max(0, self.pending - done)


@dataclass(slots=True)
class Tally:
    """The counts of a Movement: a Reporter. `clock` gives seconds."""

    clock: Callable[[], float] = time.monotonic
    flow: str = ""
    movement: int = 0
    resumed: bool = False
    status: str = ""
    groups: dict[str, GroupTally] = field(default_factory=dict)
    binaries_stored: int = 0
    binaries_reused: int = 0
    binaries_failed: int = 0
    bytes_of_binaries: int = 0
    rejected: int = 0
    violated: int = 0
    began: float = 0.0
    _percent: int = 0

    def __post_init__(self) -> None:
        """Start the clock."""
        self.began = self.clock()

    @property
    def seconds(self) -> float:
        """The time since the start."""
        return self.clock() - self.began

    @property
    def percent(self) -> int:
        """The progress in percent. It never goes down, and reaches 100 with SUCCESS alone."""
        if self.status == "SUCCESS":
            self._percent = 100
        elif groups := list(self.groups.values()):
            fraction = sum(group.fraction for group in groups) / len(groups)
            self._percent = max(self._percent, min(99, int(100 * fraction)))
        return self._percent

    @property
    def seconds_left(self) -> float | None:
        """An estimate from the time so far; None below 5 percent."""
        percent = self.percent
        return None if percent < 5 else self.seconds * (100 - percent) / percent

    def report(self, event: Event) -> None:
        """Count `event`."""
        match event:
            case MovementBegun():
                self.flow, self.movement, self.resumed = event.flow, event.movement, event.resumed
                for label in event.labels:
                    self.groups.setdefault(label, GroupTally(label))
            case BinaryFileStored():
                self._count_binary(event)
            case BinaryFileFailed():
                self.binaries_failed += 1
            case BytesMoved():
                pass
            case ViolationFound():
                self.violated += 1
            case MovementSettled():
                self.status = event.status
            case _:
                self._count_in_group(event)

    def _count_binary(self, event: BinaryFileStored) -> None:
        if event.reused:
            self.binaries_reused += 1
        else:
            self.binaries_stored += 1
            self.bytes_of_binaries += event.size

    def _count_in_group(
        self,
        event: RowsRead
        | EventFileStored
        | GroupComplete
        | ImportPlanned
        | EventFileImported
        | EventFileFailed
        | RecordRejected,
    ) -> None:
        group = self.groups.setdefault(event.label, GroupTally(event.label))
        now = self.clock()
        group.began = now if group.began is None else group.began
        group.latest = now
        match event:
            case RowsRead():
                group.rows_read += event.rows
                group.bytes_encoded += event.encoded_bytes
            case EventFileStored():
                _count_stored(group, event)
            case GroupComplete():
                group.complete, group.listed = True, event.listed
            case ImportPlanned():
                _count_plan(group, event)
            case EventFileImported():
                _count_imported(group, event)
            case EventFileFailed():
                group.files_failed += 1
            case RecordRejected():
                group.rejected += 1
                self.rejected += 1
            case _ as never:
                assert_never(never)


def _count_stored(group: GroupTally, event: EventFileStored) -> None:
    group.files_stored += 1
    group.files_adopted += event.adopted
    group.records_stored += event.upserts + event.deletes
    group.bytes_stored += event.size


def _count_plan(group: GroupTally, event: ImportPlanned) -> None:
    """Count a plan. In a later plan of the same group, `skipped` includes the files imported since the first."""
    done = group.files_imported + group.files_failed
    if not group.planned:
        group.planned, group.pending, group.skipped = True, event.pending, event.skipped
    else:
        group.pending = max(group.pending, done + event.pending)


def _count_imported(group: GroupTally, event: EventFileImported) -> None:
    group.files_imported += 1
    group.upserts_imported += event.mark.upserts
    group.deletes_imported += event.mark.deletes
    group.records_imported += event.mark.upserts + event.mark.deletes
    group.bytes_imported += event.size
