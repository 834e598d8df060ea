"""The tables of a database as streams.

A stream is an ordinary table, or a partitioned table with the rows of all its partitions. Tables that inherit from each
other are streams of their own rows. Views, foreign tables, temporary and system tables, tables of extensions and our
own (schema `_pipeline`, tables `_pipeline_*`) are no streams.

The stream of the table `t` of the schema `public` is called `t`, of another schema `s` it is `s.t`. A part that holds
a dot or a double quote is written as an SQL identifier, in double quotes. The label is the stream's name.

**Columns.** `StreamSchema.columns` are the columns that records hold, in the order of the table: all but generated
ones (a generated column is included only if it is part of the key). `native_type` is the type as `format_type` writes
it (`numeric(12,2)`, `public.mood`, `text[]`), `default` the default as an expression, `size` the declared length.

**Key.** The primary key; or else the unique index of only NOT NULL columns (the one with the fewest columns, then by
name; not partial, not deferrable, without expressions). Without either, every record begins with two columns that the
table does not have:

    $row   text, 32 hexadecimal digits: a digest of the row's content (`row_key.digest` is the SQL that computes it)
    $dup   integer: 0, 1, 2 … among rows of equal content

An upsert of ($row r, $dup n) means: there are at least n + 1 rows of this content. A delete of ($row r, $dup n) means:
there are at most n rows with this digest. Both are idempotent, and need no key at the destination.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.connectors.postgres.schema.catalog import read_catalog
from pipeline.connectors.postgres.schema.constraints import constraints_of_table, unsupported_keys
from pipeline.connectors.postgres.schema.native import native_description
from pipeline.connectors.postgres.schema.tables import DUP, ROW, Table
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.domain.ids import Label
from pipeline.domain.schema import Column, StreamSchema


@dataclass(frozen=True, slots=True)
class Stream:
    """A table and the schema of its stream."""

    table: Table
    schema: StreamSchema


def read_streams(connection: Connection) -> list[Stream]:
    """Return all streams of the database, ordered by name."""
    catalog = read_catalog(connection)
    unsupported = unsupported_keys(catalog)
    streams = []
    for row in catalog.tables:
        table = catalog.table(row)
        native = native_description(catalog, table, constraints_of_table(catalog, table, unsupported))
        streams.append(Stream(table, _stream_schema(table, native)))
    return sorted(streams, key=lambda stream: stream.schema.stream)


def _stream_schema(table: Table, native: Mapping[str, object]) -> StreamSchema:
    columns = [
        Column(it.name, it.wire.column_type, not it.not_null, it.native_type, it.default, it.size)
        for it in table.data_columns
    ]
    if not table.key:
        columns[:0] = Column(ROW, "text", False, "text"), Column(DUP, "integer", False, "bigint")
    name = table.stream
    return StreamSchema(name, Label(name), tuple(columns), table.key or (ROW, DUP), {"postgresql": native})
