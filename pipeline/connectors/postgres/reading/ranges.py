"""Cutting a large table into ranges of its key, so that several connections can read it side by side.

The ranges come from what ANALYZE has left in pg_stats, or else from the least and the greatest key. If they are wrong,
because the statistics are old, the ranges are uneven, and the reading is slower but right: they always cover every key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pipeline.connectors.postgres.reading.selects import TableSelect
from pipeline.connectors.postgres.schema.catalog_types import fetch
from pipeline.connectors.postgres.schema.types import Form
from pipeline.connectors.postgres.session.connection import Connection, literal, quoted

RANGE_ROWS = 6_000
"""Rows a range should have: what two blocks hold, so that a reader that is ahead need not wait for long."""

_HISTOGRAM = """
SELECT histogram_bounds::text::text[] AS bounds FROM pg_stats
WHERE schemaname = %s AND tablename = %s AND attname = %s AND inherited = %s AND histogram_bounds IS NOT NULL
"""
_SIZE = """
SELECT (pg_table_size(t) + coalesce(sum(pg_table_size(relid)), 0))::int8 AS bytes
FROM (SELECT %s::oid::regclass AS t) AS given LEFT JOIN pg_partition_tree(t) ON relid <> t GROUP BY t
"""

WIDE_ROW_BYTES = 128 * 1024
"""From this average on, rows are too large for blocks of several connections to wait in memory."""


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """How a table is read: conditions, in key order, each of which holds for one range, by so many connections.

    A single empty condition means all rows at once. `blocks_ahead` blocks of a range may wait to be taken.
    """

    conditions: Sequence[str] = ("",)
    readers: int = 1
    blocks_ahead: int = 2


def plan_reading(connection: Connection, select: TableSelect, *, range_rows: int, readers: int) -> ReadPlan:
    """Return how to read a table by up to `readers` connections, in ranges of about `range_rows` rows."""
    rows = _estimated_rows(connection, select)
    (size,) = fetch(connection, _SIZE, (select.table.oid,))
    if size["bytes"] > WIDE_ROW_BYTES * max(rows, 1):
        return ReadPlan(blocks_ahead=0)
    if not select.is_indexed or rows < 2 * range_rows:
        return ReadPlan()
    conditions = _conditions(connection, select, rows // range_rows)
    return ReadPlan(conditions, min(readers, len(conditions)))


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
    """Return the planner's estimate, which knows the present size of the table even if it was never analyzed."""
    (row,) = fetch(connection, f"EXPLAIN (FORMAT JSON) SELECT FROM {select.table.from_item} AS t")
    plan: Any = row["QUERY PLAN"]
    return int(plan[0]["Plan"]["Plan Rows"])


def _histogram(connection: Connection, select: TableSelect) -> list[str]:
    table = select.table
    found = fetch(connection, _HISTOGRAM, (table.schema, table.name, table.key[0], table.partitioned))
    return [str(bound) for bound in found[0]["bounds"]] if found else []


def _extremes(connection: Connection, select: TableSelect) -> list[str]:
    column = quoted(select.table.key[0])
    query = f"SELECT min({column}) AS least, max({column}) AS greatest FROM {select.table.from_item} AS t"
    (row,) = fetch(connection, query)
    return [] if row["least"] is None else [row["least"], row["greatest"]]


def _spread(bounds: Sequence[int], count: int) -> list[int]:
    """Return the bounds with as many more between them, evenly, as make about `count` steps."""
    if len(bounds) < 2:
        return list(bounds)
    steps = max(1, round(count / (len(bounds) - 1)))
    inner = [low + (high - low) * step // steps for low, high in pairwise(bounds) for step in range(steps)]
    return sorted({*inner, bounds[-1]})


def _thinned(bounds: Sequence[str], count: int) -> list[str]:
    """Return about `count + 1` of the bounds, the first and the last among them."""
    every = max(1, (len(bounds) - 1) // count)
    return [*bounds[:-1:every], *bounds[-1:]]
