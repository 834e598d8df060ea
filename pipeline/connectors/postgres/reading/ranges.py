"""Dividing a large table into ranges of its key, so that several connections can read it concurrently.

The ranges come from the statistics of ANALYZE, or else from the least and the greatest key. Old statistics make them
uneven and reading slower, but not wrong: together they always cover every key.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipeline.connectors.postgres.reading.selects import TableSelect
from pipeline.connectors.postgres.schema.types import Form
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import literal, quoted

READERS = 2
"""Connections that read one large table: with the second, neither the server nor this process waits for the other."""
RANGE_ROWS = 6_000
"""Rows of a range, about: as many as two blocks hold, so that a reader that is ahead does not wait for long."""

_HISTOGRAM = """
SELECT histogram_bounds::text::text[] FROM pg_stats
WHERE schemaname = %s AND tablename = %s AND attname = %s AND inherited = %s AND histogram_bounds IS NOT NULL
"""
_SIZES = """
SELECT t::oid::int8, (pg_table_size(t) + coalesce(sum(pg_table_size(relid)), 0))::int8
FROM unnest(%s::oid[]::regclass[]) AS given (t) LEFT JOIN pg_partition_tree(t) ON relid <> t GROUP BY t
"""

WIDE_ROW_BYTES = 128 * 1024
"""From this average size on, rows are too large for blocks of several connections to wait in memory."""


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """How to read a table: the conditions of its ranges, in key order, and the number of connections.

    A single empty condition is all rows at once. `blocks_ahead` blocks of a range may wait to be taken.
    """

    conditions: Sequence[str] = ("",)
    readers: int = 1
    blocks_ahead: int = 2


def read_sizes(connection: Connection, oids: Collection[int]) -> Mapping[int, int]:
    """Return the bytes of each of these tables, its partitions included."""
    return dict(connection.execute(_SIZES, (list(oids),)).fetchall())


def is_small(size: int) -> bool:
    """Whether a table of this many bytes has neither rows for two ranges nor rows that are too large to wait."""
    return size <= WIDE_ROW_BYTES


def plan_reading(connection: Connection, select: TableSelect, size: int) -> ReadPlan:
    """Return how to read a table of this many bytes."""
    rows = _estimated_rows(connection, select)
    if size > WIDE_ROW_BYTES * max(rows, 1):
        return ReadPlan(blocks_ahead=0)
    if not select.is_indexed or rows < 2 * RANGE_ROWS:
        return ReadPlan()
    conditions = _conditions(connection, select, rows // RANGE_ROWS)
    return ReadPlan(conditions, min(READERS, len(conditions)))


def _conditions(connection: Connection, select: TableSelect, count: int) -> list[str]:
    """Return the conditions of about `count` ranges."""
    column = select.table.key_columns[0]
    bounds = _histogram(connection, select)
    if column.wire.form is Form.NUMBER:
        numbers = sorted({int(bound) for bound in bounds or _extremes(connection, select)})
        bounds = list(map(str, _spread(numbers, count)))
    order = select.order[0]
    cuts = [f"{literal(bound)}::{quoted(column.base_type)}" for bound in _thinned(bounds, count)[1:-1]]
    if not cuts:
        return [""]
    between = [f"{order} >= {low} AND {order} < {high}" for low, high in pairwise(cuts)]
    return [f"{order} < {cuts[0]}", *between, f"{order} >= {cuts[-1]}"]


def _estimated_rows(connection: Connection, select: TableSelect) -> int:
    """Return the planner's estimate, which knows the present size of a table that was never analyzed."""
    ((plan,),) = connection.execute(f"EXPLAIN (FORMAT JSON) SELECT FROM {select.table.from_item} AS t".encode())
    return int(plan[0]["Plan"]["Plan Rows"])


def _histogram(connection: Connection, select: TableSelect) -> list[str]:
    table = select.table
    found = connection.execute(_HISTOGRAM, (table.schema, table.name, table.key[0], table.partitioned)).fetchone()
    return list(map(str, found[0])) if found else []


def _extremes(connection: Connection, select: TableSelect) -> list[str]:
    column = quoted(select.table.key[0])
    (row,) = connection.execute(f"SELECT min({column}), max({column}) FROM {select.table.from_item} AS t".encode())
    return [] if row[0] is None else list(row)


def _spread(bounds: Sequence[int], count: int) -> list[int]:
    """Return the bounds with more between them, evenly, so that there are about `count` steps."""
    if len(bounds) < 2:
        return list(bounds)
    steps = max(1, round(count / (len(bounds) - 1)))
    inner = [low + (high - low) * step // steps for low, high in pairwise(bounds) for step in range(steps)]
    return sorted({*inner, bounds[-1]})


def _thinned(bounds: Sequence[str], count: int) -> list[str]:
    """Return about `count + 1` of the bounds, the first and the last among them."""
    every = max(1, (len(bounds) - 1) // count)
    return [*bounds[:-1:every], *bounds[-1:]]
