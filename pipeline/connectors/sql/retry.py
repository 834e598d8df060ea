"""Retrying rejected records: those of a file at its end, and all of a Flow when asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from pipeline.connectors.sql.rejected_record import RejectedRecord
from pipeline.domain.ids import EventFileId, StreamName
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import Choose, KeptRecord, Rejection

BATCH_RECORDS = 10_000
"""How many rejected records are held in memory, and retried together."""


class RejectedRecords(Protocol):
    """The rejected records of one Flow, stored at the destination. An id is reused only above all stored ids."""

    def rejections(self, file: EventFileId | None = None) -> Sequence[Rejection]:
        """Return the rejections of the Flow, or of one file, by id."""

    def rejected_ids(
        self, stream: StreamName, blocked_of: EventFileId | None = None, unless: Sequence[str] = ()
    ) -> Sequence[int]:
        """Return the ids of a stream's rejected records, ascending; with `blocked_of`, of the blocked ones of that file.

        Without those that depend on one of `unless`.
        """

    def rejected_records(self, ids: Sequence[int]) -> Sequence[RejectedRecord]:
        """Return those of these records that are still stored, by id."""

    def schemas(self) -> Sequence[StreamSchema]:
        """Return the latest schema of each stream of the Flow."""

    def correct_marks(self, accepted: Mapping[EventFileId, int]) -> None:
        """Count records that were accepted after all as upserts of their files."""


class RetryingLoad(Protocol):
    """Loads into one table."""

    def retry(self, records: Sequence[RejectedRecord]) -> None:
        """Remove these records from the rejected ones and apply them; store again those that are rejected again."""


def everything(rejection: Rejection) -> bool:
    """Choose every rejected record."""
    return True


def kept_records(ledger: RejectedRecords) -> Sequence[KeptRecord]:
    """Return the rejected records of the Flow with their contents."""
    streams = sorted({rejection.file.stream for rejection in ledger.rejections()})
    keys = {schema.stream: schema.primary_keys for schema in ledger.schemas()}
    ids = [id_ for stream in streams for id_ in ledger.rejected_ids(stream)]
    return [
        KeptRecord(one.rejection, one.record, keys.get(one.stream, ()))
        for start in range(0, len(ids), BATCH_RECORDS)
        for one in ledger.rejected_records(ids[start : start + BATCH_RECORDS])
    ]


def retry_rejected_records(
    ledger: RejectedRecords, retry_all_of: Callable[[StreamSchema], None], chosen: Choose = everything
) -> Sequence[Rejection]:
    """Retry the chosen rejected records of the Flow, stream by stream; return all that are still rejected.

    A record may depend on one of another stream, through a foreign key, so rounds are repeated while they help.
    `retry_all_of` calls `retry_stream`, in a transaction.
    """
    left = ledger.rejections()
    while streams := {rejection.file.stream for rejection in left if chosen(rejection)}:
        for schema in ledger.schemas():
            if schema.stream in streams:
                retry_all_of(schema)
        before, left = len(left), ledger.rejections()
        if len(left) == before:
            break
    return left


def retry_stream(
    ledger: RejectedRecords,
    load: RetryingLoad,
    stream: StreamName,
    without: Collection[int] = (),
    chosen: Choose = everything,
    unless: Sequence[str] = (),
) -> None:
    """Retry the chosen rejected records of one stream, apart from those ids, and correct the marks of their files.

    Those that depend on one of `unless`, which still holds, would be rejected again and are left as they are.
    """
    ids = [id_ for id_ in ledger.rejected_ids(stream, unless=unless) if id_ not in without]
    if ids:
        before = _count_by_file(ledger)
        _retry(ledger, load, ids, chosen)
        ledger.correct_marks(before - _count_by_file(ledger))


def retry_records(ledger: RejectedRecords, load: RetryingLoad, records: Sequence[RejectedRecord]) -> None:
    """Retry these rejected records of one stream, and correct the marks of their files."""
    before = _count_by_file(ledger)
    load.retry(records)
    ledger.correct_marks(before - _count_by_file(ledger))


def retry_blocked(ledger: RejectedRecords, load: RetryingLoad, file: EventFileId) -> None:
    """Retry the records of a file that another row blocked: by the end of the file that row may have changed."""
    _retry(ledger, load, ledger.rejected_ids(file.stream, file))


def _retry(ledger: RejectedRecords, load: RetryingLoad, ids: Sequence[int], chosen: Choose = everything) -> None:
    for start in range(0, len(ids), BATCH_RECORDS):
        records = ledger.rejected_records(ids[start : start + BATCH_RECORDS])
        load.retry([record for record in records if chosen(record.rejection)])


def _count_by_file(ledger: RejectedRecords) -> Counter[EventFileId]:
    return Counter(rejection.file for rejection in ledger.rejections())
