"""About how many rows the tables of a database have, without reading large ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import apsw

from pipeline.connectors.sql.identifiers import quoted
from pipeline.domain.ids import StreamName

COUNTED_ROWS = 20_000
"""A table of at most this many rows is counted, which takes a millisecond or two."""
LEAST_ROW_BYTES = 8
"""Of a row in a database file with its overhead. A range of row numbers that would not fit the file has gaps."""


def row_estimates(connection: apsw.Connection, streams: Sequence[StreamName]) -> Mapping[StreamName, int]:
    """Return the rows of small tables, and the range of the row numbers of large ones, if it can be about right."""
    pages = connection.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").get
    most = int(str(pages)) // LEAST_ROW_BYTES
    found = {}
    for stream in streams:
        try:
            rows = _rows(connection, f"main.{quoted(stream)}", most)
        except (apsw.SQLError, apsw.CorruptError):  # a module that is missing, damaged pages: the export says so
            continue
        if rows is not None:
            found[stream] = rows
    return found


def _rows(connection: apsw.Connection, table: str, most: int) -> int | None:
    counted = connection.execute(f"SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT {COUNTED_ROWS + 1})").get
    if isinstance(counted, int) and counted <= COUNTED_ROWS:
        return counted
    try:  # two statements: SQLite answers each from one end of the table
        first, last = (connection.execute(f"SELECT {end}(_rowid_) FROM {table}").get for end in ("min", "max"))
    except apsw.SQLError:  # it has no row numbers
        return None
    if not isinstance(first, int) or not isinstance(last, int) or last - first >= most:
        return None
    return last - first + 1
