"""Records that were set aside by earlier loads, tried once more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipeline.connectors.postgres.ddl.ensure_table import ensure_table
from pipeline.connectors.postgres.loading.file_load import FileLoad
from pipeline.connectors.postgres.loading.import_ledger import ImportLedger
from pipeline.connectors.postgres.loading.target import target_of
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import Rejection


def retry_rejected_records(connection: Connection, bookkeeping: ImportLedger, as_replica: bool) -> Sequence[Rejection]:
    """Try again all records that are set aside, stream by stream, for as long as that helps; return those that still are.

    The marks of their files count what went in. Each stream is a transaction of its own. A row may have waited for another
    one, which its foreign key names: hence the rounds.
    """
    left = bookkeeping.rejections()
    while left:
        before = len(left)
        streams = bookkeeping.streams_with_rejected()
        for schema in bookkeeping.schemas():
            if schema.stream in streams:
                _retry_stream(connection, bookkeeping, schema, as_replica=as_replica)
        left = bookkeeping.rejections()
        if len(left) == before:
            break
    return left


def _retry_stream(connection: Connection, bookkeeping: ImportLedger, schema: StreamSchema, *, as_replica: bool) -> None:
    with connection.transaction():
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        table, _ = ensure_table(connection, schema)
        target = target_of(table, schema)
        load = FileLoad(
            connection, bookkeeping, target, schema.stream, may_replace=as_replica or not target.table.referenced
        )
        before = Counter(rejection.file for rejection in bookkeeping.rejections())
        newest = bookkeeping.newest()
        while items := bookkeeping.rejected_batch(schema.stream, newest):
            load.retry(items)
        after = Counter(rejection.file for rejection in bookkeeping.rejections())
        bookkeeping.correct_marks(before - after)
