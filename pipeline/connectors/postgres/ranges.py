"""Cutting a large table into ranges of its key, so that several connections can read it side by side.

The ranges come from what ANALYZE has left in pg_stats, or else from the least and the greatest key. If they are wrong,
because the statistics are old, the ranges are uneven, and the reading is slower but right: they always cover every key.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from pipeline.connectors.postgres.catalog_types import fetch
from pipeline.connectors.postgres.connection import Connection, literal, quoted
from pipeline.connectors.postgres.selects import KeyPart, TableSelect

RANGE_ROWS = 16_000
"""Rows a range should have: what two blocks hold, so that a reader that is ahead need not wait for long."""

_HISTOGRAM = """
SELECT histogram_bounds::text::text[] AS bounds FROM pg_stats
WHERE schemaname = %s AND tablename = %s AND attname = %s AND inherited = %s AND histogram_bounds IS NOT NULL
"""
_INTEGERS = (KeyPart.INT2, KeyPart.INT4, KeyPart.INT8, KeyPart.OID)


def plan_ranges(connection: Connection, select: TableSelect, range_rows: int) -> list[str]:
    """Return conditions, in key order, each of which holds for one range; a single empty one means all rows at once."""
    if not select.is_indexed:
        return [""]
    rows = _estimated_rows(connection, select)
    count = rows // range_rows
    if count < 2:
        return [""]
    column, part = select.table.key_columns[0], select.key_terms[0].part
    bounds = _histogram(connection, select)
    if part in _INTEGERS:
        numbers = sorted({int(bound) for bound in bounds or _extremes(connection, select)})
        bounds = list(map(str, _spread(numbers, count)))
    order = select.key_terms[0].order
    cuts = [f"{literal(bound)}::{column.native_type}" for bound in _thinned(bounds, count)[1:-1]]
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
