"""Staged rows whose values in a unique index other rows of the table have."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.connectors.postgres.loading.target import PLACE, Target, numbered
from pipeline.connectors.postgres.session.connection import Connection

_VALUES = """
SELECT pg_get_indexdef(i.indexrelid, number, true), coalesce(pg_get_expr(i.indpred, i.indrelid), 'true')
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid, generate_series(1, i.indnkeyatts) AS number
WHERE c.relnamespace = %s::regnamespace AND c.relname = %s AND i.indisunique AND NOT i.indisexclusion ORDER BY number
"""
"""The columns or expressions of a unique index, each with its condition."""
_COLUMNS = """
SELECT a.attname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND (a.attnum = ANY (i.indkey) OR EXISTS (
     SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
     AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum))
WHERE c.relnamespace = %s::regnamespace AND c.relname = %s AND a.attnum > 0 ORDER BY a.attnotnull, a.attnum
"""


def index_columns(connection: Connection, schema: str, index: str) -> list[str]:
    """Return the columns of an index, also those of its expressions and its condition; those that may be NULL first."""
    return [name for (name,) in connection.execute(_COLUMNS, (schema, index))]


def rows_with_kept_values(
    connection: Connection, target: Target, stage: str, columns: Iterable[str], index: tuple[str, str]
) -> list[int]:
    """Return the rows of a stage, from 0, whose values in an index (schema, name) another row of the table has and keeps.

    `columns` are those of the stage. A row keeps its values if the stage has none of its key, or has one that is among those
    returned.
    """
    parts = connection.execute(_VALUES, index).fetchall()
    if not parts or not {*index_columns(connection, *index)} <= {*columns}:
        return []
    values = "".join(f', ({value}) AS "$value {number}"' for number, (value, _) in enumerate(parts))
    same = " AND ".join(f't."$value {number}" = s."$value {number}"' for number in range(len(parts)))
    condition = parts[0][1]
    rows = f"(SELECT *{values} FROM {numbered(stage)} AS s WHERE {condition}) AS s"
    others = f"(SELECT *{values} FROM {target.only} AS t WHERE {condition}) AS t"
    if target.row_key is not None:
        missing = target.row_key.where_missing(target.only)
        query = f"SELECT s.{PLACE} FROM {rows}{missing} AND EXISTS (SELECT FROM {others} WHERE {same})"
    else:
        query = (
            f"WITH RECURSIVE pairs AS MATERIALIZED (SELECT s.{PLACE} AS place, o.{PLACE} AS other FROM {rows} "
            f"JOIN {others} ON {same} LEFT JOIN {numbered(stage)} AS o ON {target.same_key('t', 'o')} "
            f"WHERE o.{PLACE} IS DISTINCT FROM s.{PLACE}), kept AS (SELECT place FROM pairs WHERE other IS NULL "
            "UNION SELECT p.place FROM pairs AS p JOIN kept AS k ON p.other = k.place) SELECT place FROM kept"
        )
    return sorted(place for (place,) in connection.execute(query.encode()))
