"""What PostgreSQL's catalog holds about the tables of a database, read in a few queries for all of them."""

from __future__ import annotations

import psycopg

from pipeline.connectors.postgres.schema import catalog_queries as queries
from pipeline.connectors.postgres.schema.catalog_queries import Row, fetch, fetch_by_table
from pipeline.connectors.postgres.schema.catalog_types import TypeCatalog
from pipeline.connectors.postgres.schema.tables import Table, TableColumn
from pipeline.connectors.postgres.session.connection import Connection


class Catalog:
    """The tables of a database and what belongs to them; each attribute is the result of the query of that name.

    `partition_layouts`: the columns of partitions that have them in another order, or compute them in another way.
    """

    def __init__(self, connection: Connection) -> None:
        self.server_version = connection.info.server_version
        self._database = _read_identity(connection)
        self.types = TypeCatalog(connection)
        self.tables = read_tables(connection)
        oids = [row["oid"] for row in self.tables]
        self.columns = fetch_by_table(connection, queries.COLUMNS, oids)
        self.partitions = fetch_by_table(connection, queries.PARTITIONS, oids)
        self.parents = fetch_by_table(connection, queries.PARENTS, oids)
        self.sequences = fetch_by_table(connection, queries.SEQUENCES, oids)
        self.triggers = fetch_by_table(connection, queries.TRIGGERS, oids)
        self.needed = fetch_by_table(connection, queries.NEEDED_OBJECTS, oids)
        partitions = [row["oid"] for group in self.partitions.values() for row in group]
        odd = [row["table"] for row in fetch(connection, queries.PARTITION_LAYOUTS, partitions)] if partitions else []
        self.partition_layouts = {
            oid: tuple(map(self._column, rows))
            for oid, rows in fetch_by_table(connection, queries.COLUMNS, odd).items()
        }
        oids += partitions
        self.partition_columns = fetch_by_table(connection, queries.PARTITION_COLUMNS, oids)
        self.indexes = fetch_by_table(connection, queries.INDEXES, oids)
        self.index_terms = fetch_by_table(connection, queries.INDEX_TERMS, oids)
        self.constraints = fetch_by_table(connection, queries.CONSTRAINTS, oids)
        self.foreign_keys = fetch_by_table(connection, queries.FOREIGN_KEYS, oids)

    def identity(self, oid: int) -> str:
        """Return what identifies a table among those of all servers; empty where the server does not tell."""
        return self._database and f"{self._database}/{oid}"

    def key_index(self, oid: int) -> Row | None:
        """Return the primary key, or else the unique index of the fewest columns, all of them NOT NULL."""
        never_null = {column["name"] for column in self.columns[oid] if column["not_null"]}
        fit = [index for index in self.indexes[oid] if index["identifies"] and never_null.issuperset(index["columns"])]
        return min(fit, key=lambda index: (not index["primary"], len(index["columns"]), index["name"]), default=None)

    def table(self, row: Row) -> Table:
        """Return one of `tables`."""
        key = self.key_index(row["oid"])
        columns = tuple(map(self._column, self.columns[row["oid"]]))
        unique = frozenset(frozenset(it["columns"]) for it in self.indexes[row["oid"]] if it["identifies"])
        return Table(**row, columns=columns, key=() if key is None else tuple(key["columns"]), unique_keys=unique)

    def _column(self, row: Row) -> TableColumn:
        has_length = row["type"].startswith(("character", "bit")) and row["modifier"] > 0
        return TableColumn(
            name=row["name"],
            native_type=row["type"],
            type_oid=row["type_oid"],
            base_type=self.types.base_type(row["type_oid"]),
            wire=self.types.wire_type(row["type_oid"]),
            not_null=row["not_null"],
            not_null_name=row["not_null_name"],
            not_null_here=row["not_null_here"],
            number=row["number"],
            identity=row["identity"],
            generated=row["generated"],
            expression=row["expression"],
            collation=row["collation"],
            collation_oid=row["collation_oid"],
            size=(row["modifier"] - (4 if row["type"].startswith("character") else 0)) if has_length else -1,
        )


def _read_identity(connection: Connection) -> str:
    """Return what identifies the database among all servers; empty where the server does not tell."""
    try:
        with connection.transaction():
            row = connection.execute(queries.DATABASE).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        return ""
    return "" if row is None else str(row[0])


def read_tables(connection: Connection) -> list[Row]:
    """Return the result of `TABLES`."""
    return list(fetch(connection, queries.TABLES))
