"""Records that were set aside by earlier loads, tried once more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import apsw

from pipeline.connectors.sql.rejected_record import RejectedRecord
from pipeline.connectors.sqlite.loading.file_load import FileLoad
from pipeline.connectors.sqlite.loading.import_ledger import ImportLedger
from pipeline.connectors.sqlite.loading.target import prepare_target
from pipeline.domain.ids import EventFileId


def retry_rejected_records(
    connection: apsw.Connection, bookkeeping: ImportLedger, place: str
) -> Sequence[RejectedRecord]:
    """Try again all records that are set aside, stream by stream; return those that still are.

    The marks of their files count what went in. Those of one stream are tried together, so that rows which stood in
    each other's way may change places.
    """
    before = bookkeeping.rejected_records()
    for schema in bookkeeping.schemas(sorted({item.stream for item in before})):
        target = prepare_target(connection, schema)
        load = FileLoad(connection, bookkeeping, target, schema.stream, f"{place}, table {schema.stream}")
        load.retry([item for item in before if item.stream == schema.stream])
    left = bookkeeping.rejected_records()
    bookkeeping.correct_marks(_by_file(before) - _by_file(left))
    return left


def _by_file(items: Sequence[RejectedRecord]) -> Counter[EventFileId]:
    return Counter(item.rejection.file for item in items)
