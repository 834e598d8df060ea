"""Records that were set aside by earlier loads, tried once more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipeline.connectors.postgres.bookkeeping import Bookkeeping, SetAside
from pipeline.connectors.postgres.connection import Connection
from pipeline.connectors.postgres.load import FileLoad
from pipeline.connectors.postgres.preparing import prepare_target
from pipeline.domain.ids import EventFileId, StreamName
from pipeline.domain.schema import StreamSchema


def retry_set_aside(connection: Connection, bookkeeping: Bookkeeping, as_replica: bool) -> Sequence[SetAside]:
    """Try again all records that are set aside, stream by stream, for as long as that helps; return those that still are.

    The marks of their files count what went in. Each stream is a transaction of its own. A row may have waited for one of
    another stream, which its foreign key names: hence the rounds.
    """
    while before := bookkeeping.all_set_aside():
        streams = {item.stream for item in before}
        for schema in bookkeeping.schemas():
            if schema.stream in streams:
                _retry_stream(connection, bookkeeping, schema, as_replica=as_replica)
        left = bookkeeping.all_set_aside()
        if len(left) == len(before) or len(streams) == 1:
            return left
    return []


def _retry_stream(connection: Connection, bookkeeping: Bookkeeping, schema: StreamSchema, *, as_replica: bool) -> None:
    with connection.transaction():
        connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        target, _ = prepare_target(connection, schema)
        load = FileLoad(
            connection, bookkeeping, target, schema.stream, may_replace=as_replica or not target.table.referenced
        )
        before = _of(bookkeeping.all_set_aside(), schema.stream)
        load.retry(before)
        left = _of(bookkeeping.all_set_aside(), schema.stream)
        bookkeeping.correct_marks(_by_file(before) - _by_file(left))


def _of(items: Sequence[SetAside], stream: StreamName) -> list[SetAside]:
    return [item for item in items if item.stream == stream]


def _by_file(items: Sequence[SetAside]) -> Counter[EventFileId]:
    return Counter(item.rejection.file for item in items)
