"""What tables of the destination have: asked for all of them at once, since each question takes as long as its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from pipeline.connectors.postgres.ddl.evolution.constraints import Definitions, definitions_by_table
from pipeline.connectors.postgres.ddl.target_table import table_oids
from pipeline.connectors.postgres.schema import catalog_queries as queries
from pipeline.connectors.postgres.schema.catalog_queries import Row, fetch_by_table
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import qualified

_UNLOGGED = "SELECT oid, relpersistence = 'u' FROM pg_class WHERE oid = ANY (%s) AND relkind = 'r'"
TableName = tuple[str, str]
"""Schema and name."""


class PresentTables:
    """Columns, constraints and indexes of tables, as they were at the first question; of any other table, as they are."""

    def __init__(self, connection: Connection, tables: Sequence[TableName]) -> None:
        """Nothing is read before it is asked for, and then for all tables."""
        self._connection, self._tables = connection, tables

    @cached_property
    def _oids(self) -> Mapping[TableName, int]:
        return table_oids(self._connection, self._tables)

    @cached_property
    def _columns(self) -> dict[TableName, Mapping[str, Row]]:
        return _read_columns(self._connection, self._oids)

    @cached_property
    def _definitions(self) -> dict[TableName, Definitions]:
        return _read_definitions(self._connection, self._tables)

    @cached_property
    def _unlogged(self) -> dict[TableName, bool]:
        return _read_unlogged(self._connection, self._oids)

    def forget(self, table: TableName) -> None:
        """Ask again for the columns and definitions of a table, which has been changed."""
        self._columns.pop(table, None)
        self._definitions.pop(table, None)

    def forget_all(self) -> None:
        """Ask again for each table: any of them may have been changed."""
        for known in (self._columns, self._definitions, self._unlogged):
            known.clear()

    def columns(self, table: TableName) -> Mapping[str, Row]:
        """Return the columns of a table by name."""
        known = self._columns.get(table)
        if known is None:
            oids = table_oids(self._connection, [table])
            known = _read_columns(self._connection, oids).get(table, {})
        return known

    def definitions(self, table: TableName) -> Definitions:
        """Return the definitions of the constraints and indexes of a table."""
        known = self._definitions.get(table)
        return _read_definitions(self._connection, [table])[table] if known is None else known

    def is_unlogged(self, table: TableName) -> bool | None:
        """Return whether a table is UNLOGGED; None when it is partitioned, or does not exist."""
        if table in self._unlogged:
            return self._unlogged[table]
        return _read_unlogged(self._connection, table_oids(self._connection, [table])).get(table)


def _read_columns(connection: Connection, oids: Mapping[TableName, int]) -> dict[TableName, Mapping[str, Row]]:
    rows = fetch_by_table(connection, queries.COLUMNS, oids.values())
    return {table: {row["name"]: row for row in rows[oid]} for table, oid in oids.items()}


def _read_definitions(connection: Connection, tables: Sequence[TableName]) -> dict[TableName, Definitions]:
    names = {table: qualified(*table) for table in tables}
    found = definitions_by_table(connection, list(names.values()))
    return {table: found[name] for table, name in names.items()}


def _read_unlogged(connection: Connection, oids: Mapping[TableName, int]) -> dict[TableName, bool]:
    found: dict[int, bool] = dict(connection.execute(_UNLOGGED, (list(oids.values()),)).fetchall())
    return {table: found[oid] for table, oid in oids.items() if oid in found}
