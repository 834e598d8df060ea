"""The tables of a database as streams, and what a PostgreSQL destination needs to make them again.

A stream is an ordinary table, or a partitioned table with the rows of all its partitions. Of tables that inherit from
each other each is a stream of its own rows. Left out are views, foreign tables, temporary and system tables, tables of
extensions, and our own (schema `_pipeline`, tables `_pipeline_*`).

The stream of the table `t` of the schema `public` is called `t`, of another schema `s` it is `s.t`. A part that holds
a dot or a double quote is written as an SQL identifier, in double quotes. The label is the stream's name.

**Columns.** `StreamSchema.columns` are the columns that records hold, in the order of the table: all but generated
ones (a generated column is there only when it is part of the key). `native_type` is the type as `format_type` writes it
(`numeric(12,2)`, `public.mood`, `text[]`), `default` the default as an expression, `size` the declared length.

**Key.** The primary key; or else the unique index that has only columns which are NOT NULL (the one with the fewest
columns, then by name; not partial, not deferrable, without expressions); or else two columns that the table does not
have come first in every record:

    $row   text, 32 hexadecimal digits: a digest of the row's content (`row_key.digest` is the SQL that computes it)
    $dup   integer: 0, 1, 2 … among rows of equal content

So an upsert of ($row r, $dup n) means: there are at least n + 1 rows of this content. A delete of ($row r, $dup n)
means: there are at most n rows with this digest. Both are idempotent, and need no key at the destination.

**`StreamSchema.native["postgresql"]`** is a JSON object. Every SQL text in it is complete and schema-qualified, valid
under `search_path = pg_catalog`. Names are plain, not quoted, unless said otherwise.

    version          1
    server_version   of the source, as 180006
    schema, table    where the table is
    kind             "table" or "partitioned"
    unlogged         true for an UNLOGGED table
    columns          ALL columns in order, generated ones included; each an object of
        name, type       type as SQL, with its schema: "bigint", "public.mood", "character varying(10)"
        not_null         boolean
        default          SQL expression or null (null for generated and identity columns)
        identity         "" | "ALWAYS" | "BY DEFAULT"
        generated        null | {"expression": SQL, "kind": "STORED" | "VIRTUAL"}
        collation        SQL name as '"pg_catalog"."C"' when it is not the type's own; else null
    key              {"name": constraint or index, "columns": [names], "kind": "primary" | "unique"}; null without
    row_key          null | {"row": "$row", "dup": "$dup", "digest": SQL over the table's columns, unqualified}
    constraints      primary key, unique, check and exclusion constraints, each {"name", "kind": "primary" | "unique" |
                     "check" | "exclusion", "definition": as in ALTER TABLE … ADD CONSTRAINT name <definition>}
    indexes          those that no constraint makes: {"name", "definition": a complete CREATE INDEX statement, "unique": bool}
    foreign_keys     {"name", "definition": as in ADD CONSTRAINT, "references": [schema, table]}
    partition_by     null | as in PARTITION BY <partition_by>: "RANGE (created_at)"
    partitions       of a partitioned table all below it, parents first, each {"schema", "table", "parent": [schema,
                     table], "bound": as in PARTITION OF parent <bound>: "FOR VALUES FROM (1) TO (10)" or "DEFAULT",
                     "partition_by": null or as above, "constraints", "indexes", "foreign_keys": those that are not inherited}
    inherits         [[schema, table], …] the parents of a table in classic inheritance, in order
    sequences        those that a column owns or its default uses: {"schema", "name", "column": name or null, "owned":
                     bool, "identity": bool, "options": as in CREATE SEQUENCE name <options>, "last_value": int or null when
                     never used}; the next value is last_value + increment, or the start value
    types            all user-defined types that the columns need, in the order to make them, each {"schema", "name",
                     "kind": "enum" | "domain" | "composite" | "range" | "row", "create": a complete CREATE statement (null
                     for "row", the row type of another table), "labels": [strings] for an enum, else absent}
    extensions       names of the extensions whose types the columns use
    schemas          all schemas that the above needs and that are not PostgreSQL's own
    promises         indexes and foreign keys in words for other technologies (pipeline/codec/event_files/constraints.py)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.connectors.postgres.schema import catalog_queries as queries
from pipeline.connectors.postgres.schema.catalog_types import Row, TypeCatalog, by_table, fetch
from pipeline.connectors.postgres.schema.constraints import constraints_of_table, read_constraints_catalog
from pipeline.connectors.postgres.schema.native import Described, native_description
from pipeline.connectors.postgres.schema.tables import DUP, ROW, Table, TableColumn
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.domain.ids import Label, StreamName
from pipeline.domain.schema import Column, StreamSchema


@dataclass(frozen=True, slots=True)
class Stream:
    """A table and the stream it is."""

    table: Table
    schema: StreamSchema


def read_tables(connection: Connection, schemas: Sequence[str] | None) -> list[dict[str, Any]]:
    """Return what `TABLES` tells of each table of these schemas (None: of all)."""
    return fetch(connection, queries.TABLES, {"schemas": None if schemas is None else list(schemas)})


def read_streams(connection: Connection, schemas: Sequence[str] | None) -> list[Stream]:
    """Return all streams of the database, ordered by name."""
    found = read_tables(connection, schemas)
    types = TypeCatalog(connection)
    oids = [row["oid"] for row in found]
    partitions = by_table(fetch(connection, queries.PARTITIONS, (oids,)))
    below = [row["oid"] for group in partitions.values() for row in group]
    columns = by_table(fetch(connection, queries.COLUMNS, (oids,)))
    indexes = by_table(fetch(connection, queries.INDEXES, (oids + below,)))
    constraints = by_table(fetch(connection, queries.CONSTRAINTS, (oids + below,)))
    parents = by_table(fetch(connection, queries.PARENTS, (oids,)))
    sequences = by_table(fetch(connection, queries.SEQUENCES, {"tables": oids}))
    table_constraints = read_constraints_catalog(connection, oids + below)
    streams = []
    for row in found:
        oid = row["oid"]
        identifying = _identifying_index(indexes.get(oid, []), columns.get(oid, []))
        table = _table(row, columns.get(oid, []), identifying, types)
        described = Described(
            table=table,
            server_version=connection.info.server_version,
            key_index=identifying,
            indexes=indexes,
            constraints=constraints,
            partitions=partitions.get(oid, []),
            parents=parents.get(oid, []),
            sequences=sequences.get(oid, []),
            types=types.needed(column.type_oid for column in table.columns),
            table_constraints=constraints_of_table(
                table_constraints,
                table,
                [part["oid"] for part in partitions.get(oid, [])],
                constraints.get(oid, []),
                stream_name,
            ),
        )
        streams.append(Stream(table, _stream_schema(table, native_description(described))))
    return sorted(streams, key=lambda stream: stream.schema.stream)


def stream_name(schema: str, table: str) -> StreamName:
    """Return what the stream of a table is called."""
    return StreamName(_part(table) if schema == "public" else f"{_part(schema)}.{_part(table)}")


def _part(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if "." in name or '"' in name else name


def _identifying_index(indexes: Sequence[Row], columns: Sequence[Row]) -> Row | None:
    """Return the primary key, or else the first of the unique indexes of the fewest columns, none of which may be NULL."""
    never_null = {column["name"] for column in columns if column["not_null"]}
    fit = [index for index in indexes if index["identifies"] and never_null.issuperset(index["columns"])]
    return min(fit, key=lambda index: (not index["primary"], len(index["columns"]), index["name"]), default=None)


def _table(row: Row, columns: Sequence[Row], identifying: Row | None, types: TypeCatalog) -> Table:
    return Table(
        oid=row["oid"],
        schema=row["schema"],
        name=row["name"],
        partitioned=row["partitioned"],
        unlogged=row["unlogged"],
        partition_by=row["partition_by"],
        readable=row["readable"],
        columns=tuple(_column(column, types) for column in columns),
        key=() if identifying is None else tuple(identifying["columns"]),
    )


def _column(row: Row, types: TypeCatalog) -> TableColumn:
    has_length = row["type"].startswith(("character", "bit")) and row["modifier"] > 0
    return TableColumn(
        name=row["name"],
        native_type=row["type"],
        type_oid=row["type_oid"],
        base_type=types.base_type(row["type_oid"]),
        wire=types.wire_type(row["type_oid"]),
        not_null=row["not_null"],
        identity=row["identity"],
        generated=row["generated"],
        expression=row["expression"],
        collation=row["collation"],
        collation_oid=row["collation_oid"],
        size=(row["modifier"] - (4 if row["type"].startswith("character") else 0)) if has_length else -1,
    )


def _stream_schema(table: Table, native: Mapping[str, object]) -> StreamSchema:
    columns = tuple(
        Column(
            column.name, column.wire.column_type, not column.not_null, column.native_type, column.default, column.size
        )
        for column in table.data_columns
    )
    key = table.key
    if not key:
        row, dup = Column(ROW, "text", False, "text"), Column(DUP, "integer", False, "bigint")
        columns, key = (row, dup, *columns), (ROW, DUP)
    name = stream_name(table.schema, table.name)
    return StreamSchema(name, Label(name), columns, key, {"postgresql": native})
