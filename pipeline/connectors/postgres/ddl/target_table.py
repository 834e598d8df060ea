"""The table that a stream is loaded into, as the destination's catalog describes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.connectors.postgres.schema import catalog_queries as queries
from pipeline.connectors.postgres.schema.catalog_queries import Row, fetch
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import qualified
from pipeline.domain.errors import ConfigurationError

_SAME_WHEN_EQUAL = frozenset(
    [
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
    ]
)
"""Types whose equal values are identical, text under a deterministic collation; not numeric, where 1.0 equals 1.00."""

_TABLE = """
SELECT c.oid, c.relkind::text, c.relkind = 'p'
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(name)s
UNION ALL
SELECT t.oid, 'type', false
FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace
WHERE n.nspname = %(schema)s AND t.typname = %(name)s AND t.typtype IN ('d', 'e', 'r')
"""


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """A column. `plain_type` is its type, or its domain's; `base` is the name of that, without limits; `identity` and
    `generated` the catalog's letters or empty.

    `same_when_equal`: equal values are identical. `inherited`: it changes with its parent's. `exact_type` are the numbers of
    its type and of its limits, which no search path changes.
    """

    name: str
    type: str
    plain_type: str
    base: str
    identity: str
    generated: str
    not_null: bool
    inherited: bool
    same_when_equal: bool
    exact_type: tuple[int, int]


@dataclass(frozen=True, slots=True)
class TargetTable:
    """A table of the destination. `unique_keys` are the sets of columns that identify a row.

    ON CONFLICT cannot find a row by those in `period_keys`, which have WITHOUT OVERLAPS.
    """

    oid: int
    schema: str
    name: str
    partitioned: bool
    columns: Mapping[str, TargetColumn]
    unique_keys: frozenset[frozenset[str]]
    period_keys: frozenset[frozenset[str]]

    @property
    def sql(self) -> str:
        """Its name as SQL."""
        return qualified(self.schema, self.name)


def read_table(connection: Connection, schema: str, name: str, stream: str) -> TargetTable | None:
    """Return the table, None when there is none. ConfigurationError when something else has its name."""
    row = connection.execute(_TABLE, {"schema": schema, "name": name}).fetchone()
    if row is None:
        return None
    oid, kind, partitioned = row
    if kind not in ("r", "p"):
        raise ConfigurationError(
            f"Stream {stream} cannot be loaded: {qualified(schema, name)} of the destination is not a table; rename it, "
            "or leave the stream out with --exclude"
        )
    columns = {column["name"]: _column(column) for column in fetch(connection, queries.COLUMNS, [oid])}
    indexes = fetch(connection, queries.INDEXES, [oid])
    keys = [(frozenset(index["columns"]), index["excludes"]) for index in indexes if index["identifies"]]
    unique = frozenset(key for key, _ in keys)
    period = unique - {key for key, excludes in keys if not excludes}
    return TargetTable(oid, schema, name, partitioned, columns, unique, period)


def _column(row: Row) -> TargetColumn:
    return TargetColumn(
        name=row["name"],
        type=row["type"],
        plain_type=row["plain_type"],
        base=row["base"],
        identity=row["identity"],
        generated=row["generated"],
        not_null=row["not_null"],
        inherited=row["inherited"],
        same_when_equal=row["base"] in _SAME_WHEN_EQUAL and row["deterministic"],
        exact_type=(row["type_oid"], row["modifier"]),
    )


def table_oid(connection: Connection, schema: str, name: str) -> int | None:
    """Return the object id of a table, None when there is none."""
    return table_oids(connection, [(schema, name)]).get((schema, name))


def table_oids(connection: Connection, tables: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], int]:
    """Return the object ids of those of these tables that exist, by schema and name."""
    names = {qualified(*table): table for table in tables}
    rows = connection.execute("SELECT name, to_regclass(name)::oid FROM unnest(%s::text[]) AS name", (list(names),))
    return {names[name]: oid for name, oid in rows if oid is not None}
