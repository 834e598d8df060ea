"""The tables of a database as streams: docs/reference/postgresql.md says which are, with which columns and key.

A table without a key has the columns `$row` and `$dup` in place of one. An upsert of ($row r, $dup n) means: there are at
least n + 1 rows with the digest r. A delete of it means: there are at most n. Both are idempotent, and need no key at
the destination.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import orjson

from pipeline.connectors.postgres.schema.catalog import Catalog
from pipeline.connectors.postgres.schema.constraints import constraints_of_table, unsupported_keys
from pipeline.connectors.postgres.schema.native import native_description
from pipeline.connectors.postgres.schema.tables import Table
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.domain.ids import Label
from pipeline.domain.schema import Column, StreamSchema


@dataclass(frozen=True, slots=True)
class Stream:
    """A table and the schema of its stream."""

    table: Table
    schema: StreamSchema

    @property
    def native(self) -> Mapping[str, Any]:
        """The description of the table (native.py)."""
        found: Any = self.schema.native["postgresql"]
        return dict(found)


def read_streams(connection: Connection, *, generated: bool = False) -> list[Stream]:
    """Return all streams of the database, ordered by name; with `generated`, generated columns are as others.

    Not those of a table without a key, whose rows are identified by the columns that records hold.
    """
    catalog = Catalog(connection)
    unsupported = unsupported_keys(catalog)
    streams = []
    for row in catalog.tables:
        table = catalog.table(row)
        native = native_description(catalog, table, constraints_of_table(catalog, table, unsupported))
        oids = (table.oid, *(partition["oid"] for partition in catalog.partitions[table.oid]))
        identities = tuple(filter(None, map(catalog.identity, oids)))
        if generated and table.key:
            table = replace(table, columns=tuple(replace(column, generated="") for column in table.columns))
        streams.append(Stream(table, _stream_schema(table, native, identities)))
    return sorted(streams, key=lambda stream: stream.schema.stream)


def _stream_schema(table: Table, native: Mapping[str, object], identities: tuple[str, ...]) -> StreamSchema:
    columns = [
        Column(it.name, it.wire.column_type, not it.not_null, it.native_type, it.default, it.size)
        for it in table.data_columns
    ]
    basis = ""
    if not table.key:
        described = orjson.dumps([[it.name, it.native_type] for it in table.data_columns])
        basis = sha256(described).hexdigest()[:32]
        row, dup = table.row_key
        columns[:0] = Column(row, "text", False, "text"), Column(dup, "integer", False, "bigint")
    name, key = table.stream, table.key or table.row_key
    return StreamSchema(name, Label(name), tuple(columns), key, {"postgresql": native}, identities, basis)
