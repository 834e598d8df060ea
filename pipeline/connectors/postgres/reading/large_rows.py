"""Rows that are too large for an Event File, found before they are read: reading one takes many times its size in memory.

PostgreSQL knows the size of a stored text or `bytea` without reading it. Such a row is read without its large values, and
rejected by its key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pipeline.codec.event_files.event_file import MAX_LINE_BYTES
from pipeline.connectors.postgres.reading.blocks import any_key_readers
from pipeline.connectors.postgres.reading.fields import Rows, split
from pipeline.connectors.postgres.reading.keys import RowKeys
from pipeline.connectors.postgres.reading.selects import TableSelect
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.domain.keys import Key

MOST_COMPRESSED = 256
"""PostgreSQL's compressions make a value smaller by less than this factor."""

_STORED_APART = """
SELECT coalesce(sum(pg_relation_size(c.reltoastrelid)), 0)::int8 FROM pg_class AS c
WHERE c.oid = %(table)s OR c.oid IN (SELECT relid FROM pg_partition_tree(%(table)s))
"""


def without_large_rows(connection: Connection, select: TableSelect, size: int) -> tuple[TableSelect, Mapping[Key, int]]:
    """Return how to read a table that takes `size` bytes without large values, and the bytes of the rows that have them, by key.

    The rows of a table without a key are not looked at: what identifies them is computed from their values.
    """
    if not select.large_columns or not select.table.key or size * MOST_COMPRESSED < MAX_LINE_BYTES:
        return select, {}
    ((stored,),) = connection.execute(_STORED_APART, {"table": select.table.oid})
    if stored * MOST_COMPRESSED < MAX_LINE_BYTES:
        return select, {}
    select = replace(select, most_bytes=MAX_LINE_BYTES)
    fields, statement = select.copy_of_sizes()
    with connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        lines = list(map(bytes, copy))
    rows = Rows(b"".join(lines), list(map(len, lines)))
    sizes = split(rows, len(fields)).values[len(fields) - 1 :: len(fields)]
    return select, dict(
        zip(RowKeys(fields, select.key, any_key_readers(select)).of(rows), map(int, sizes), strict=True)
    )
