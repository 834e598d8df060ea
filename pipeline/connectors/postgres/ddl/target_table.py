"""The table that a stream is loaded into, as the destination's catalog describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.connectors.postgres.schema import catalog_queries as queries
from pipeline.connectors.postgres.schema.catalog_types import Row, fetch
from pipeline.connectors.postgres.session.connection import Connection, qualified
from pipeline.domain.errors import ConfigurationError

_SAME_WHEN_EQUAL = frozenset(
    (
        "int2",
        "int4",
        "int8",
        "oid",
        "bool",
        "bytea",
        "text",
        "varchar",
        "uuid",
        "date",
        "timestamp",
        "timestamptz",
        "time",
    )
)
"""Types whose equal values are the same value, text under a deterministic collation; not so numeric: 1.0 equals 1.00."""

_TABLE = """
SELECT c.oid, c.relkind AS kind, c.relkind = 'p' AS partitioned,
       EXISTS (SELECT FROM pg_constraint AS k WHERE k.confrelid = c.oid AND k.contype = 'f') AS referenced
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s
"""
_BASES = """
SELECT a.attname AS name, coalesce(b.typname, t.typname) AS base, coalesce(l.collisdeterministic, true) AS deterministic
FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid LEFT JOIN pg_type AS b ON b.oid = nullif(t.typbasetype, 0)
LEFT JOIN pg_collation AS l ON l.oid = a.attcollation WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
"""


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """A column of the table. `base` is its type's name, of a domain the type below; `same_when_equal`: see above."""

    name: str
    base: str
    identity: str
    generated: bool
    not_null: bool
    same_when_equal: bool


@dataclass(frozen=True, slots=True)
class TargetTable:
    """A table of the destination. `unique_keys` are the sets of columns by which ON CONFLICT can find a row."""

    oid: int
    schema: str
    name: str
    partitioned: bool
    referenced: bool
    columns: Mapping[str, TargetColumn]
    unique_keys: frozenset[frozenset[str]]

    @property
    def sql(self) -> str:
        """Its name as SQL."""
        return qualified(self.schema, self.name)


def read_table(connection: Connection, schema: str, name: str, stream: str) -> TargetTable | None:
    """Return the table, None when there is none. ConfigurationError when something else has its name."""
    found = fetch(connection, _TABLE, (schema, name))
    if not found:
        return None
    (row,) = found
    if row["kind"] not in ("r", "p"):
        raise ConfigurationError(
            f"Stream {stream} cannot be loaded: the destination has something that is no table in its place, "
            f"{qualified(schema, name)}; rename that, or leave the stream out with --exclude"
        )
    oids = ([row["oid"]],)
    indexes = fetch(connection, queries.INDEXES, oids)
    bases = {base["name"]: base for base in fetch(connection, _BASES, (row["oid"],))}
    columns = {
        column["name"]: _column(column, bases[column["name"]]) for column in fetch(connection, queries.COLUMNS, oids)
    }
    unique = frozenset(frozenset(index["columns"]) for index in indexes if index["identifies"])
    return TargetTable(row["oid"], schema, name, row["partitioned"], row["referenced"], columns, unique)


def _column(row: Row, base: Row) -> TargetColumn:
    same = base["base"] in _SAME_WHEN_EQUAL and base["deterministic"]
    return TargetColumn(row["name"], base["base"], row["identity"], bool(row["generated"]), row["not_null"], same)
