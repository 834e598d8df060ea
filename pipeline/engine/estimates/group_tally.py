"""The counts of one File Group, from what a Movement reports.

One thread may add while another one reads: each figure is right, but two of them may not belong to the same moment.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.domain.progress.work import units_of
from pipeline.ports.reporter import (
    EventFileFailed,
    EventFileImported,
    EventFileStored,
    GroupComplete,
    ImportPlanned,
    RecordRejected,
    RejectedRetried,
    RowsExpected,
    RowsFetched,
    RowsRead,
    SourceRecordRejected,
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
    content_bytes: int = 0
    content_bytes_expected: dict[str, int] = field(default_factory=dict)
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
        """The progress from 0 to 1: the export is the first half, the import of the pending files the second.

        If another Movement has exported the files, the import is all.
        """
        if self.planned and not self.complete:
            return min(1.0, self._files_done / self.pending) if self.pending else 1.0
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
        contents = self.content_bytes if self.content_bytes_expected else 0
        expected = units_of(sum(self.rows_expected.values()), sum(self.content_bytes_expected.values()))
        if not expected:
            return 0.0
        read = (self.rows_fetched + self.rows_read) / 2 if self.rows_fetched else self.rows_read
        return min(1.0, (read + units_of(0, contents)) / expected)

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
                self.content_bytes += event.content_bytes + event.unchanged_bytes
            case RowsExpected():
                self.rows_expected[event.stream] = event.rows
                if event.content_bytes is not None:
                    self.content_bytes_expected[event.stream] = event.content_bytes
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
