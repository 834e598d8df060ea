"""What PostgreSQL's catalog holds about the tables of a database, read in a few queries for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.connectors.postgres.schema import catalog_queries as queries
from pipeline.connectors.postgres.schema.catalog_queries import ByTable, Row, fetch, fetch_by_table
from pipeline.connectors.postgres.schema.catalog_types import TypeCatalog
from pipeline.connectors.postgres.schema.tables import Table, TableColumn
from pipeline.connectors.postgres.session.connection import Connection


@dataclass(frozen=True, slots=True)
class Catalog:
    """The tables of a database and what belongs to them; each field is the result of the query of that name."""

    server_version: int
    tables: Sequence[Row]
    types: TypeCatalog
    columns: ByTable
    partitions: ByTable
    parents: ByTable
    sequences: ByTable
    triggers: ByTable
    indexes: ByTable
    index_terms: ByTable
    constraints: ByTable
    foreign_keys: ByTable

    def key_index(self, oid: int) -> Row | None:
        """Return the primary key, or else the unique index of the fewest columns, all of them NOT NULL."""
        never_null = {column["name"] for column in self.columns[oid] if column["not_null"]}
        fit = [index for index in self.indexes[oid] if index["identifies"] and never_null.issuperset(index["columns"])]
        return min(fit, key=lambda index: (not index["primary"], len(index["columns"]), index["name"]), default=None)

    def table(self, row: Row) -> Table:
        """Return one of `tables`."""
        key = self.key_index(row["oid"])
        return Table(
            oid=row["oid"],
            schema=row["schema"],
            name=row["name"],
            partitioned=row["partitioned"],
            unlogged=row["unlogged"],
            partition_by=row["partition_by"],
            readable=row["readable"],
            columns=tuple(map(self._column, self.columns[row["oid"]])),
            key=() if key is None else tuple(key["columns"]),
        )

    def _column(self, row: Row) -> TableColumn:
        has_length = row["type"].startswith(("character", "bit")) and row["modifier"] > 0
        return TableColumn(
            name=row["name"],
            native_type=row["type"],
            type_oid=row["type_oid"],
            base_type=self.types.base_type(row["type_oid"]),
            wire=self.types.wire_type(row["type_oid"]),
            not_null=row["not_null"],
            identity=row["identity"],
            generated=row["generated"],
            expression=row["expression"],
            collation=row["collation"],
            collation_oid=row["collation_oid"],
            size=(row["modifier"] - (4 if row["type"].startswith("character") else 0)) if has_length else -1,
        )


def read_tables(connection: Connection) -> list[Row]:
    """Return the result of `TABLES`."""
    return list(fetch(connection, queries.TABLES))


def read_catalog(connection: Connection) -> Catalog:
    """Read everything."""
    tables = read_tables(connection)
    oids = [row["oid"] for row in tables]
    partitions = fetch_by_table(connection, queries.PARTITIONS, oids)
    all_oids = oids + [row["oid"] for group in partitions.values() for row in group]
    return Catalog(
        server_version=connection.info.server_version,
        tables=tables,
        types=TypeCatalog(connection),
        columns=fetch_by_table(connection, queries.COLUMNS, oids),
        partitions=partitions,
        parents=fetch_by_table(connection, queries.PARENTS, oids),
        sequences=fetch_by_table(connection, queries.SEQUENCES, oids),
        triggers=fetch_by_table(connection, queries.TRIGGERS, oids),
        indexes=fetch_by_table(connection, queries.INDEXES, all_oids),
        index_terms=fetch_by_table(connection, queries.INDEX_TERMS, all_oids),
        constraints=fetch_by_table(connection, queries.CONSTRAINTS, all_oids),
        foreign_keys=fetch_by_table(connection, queries.FOREIGN_KEYS, all_oids),
    )
