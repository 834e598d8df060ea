"""What a PostgreSQL destination needs to make a table again, as the JSON object that catalog.py documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.codec.event_files.constraints import MEMBER, constraints_to_json
from pipeline.connectors.postgres.schema.catalog_types import NeededTypes, Row
from pipeline.connectors.postgres.schema.tables import DUP, ROW, Table, TableColumn
from pipeline.domain.constraints import TableConstraints

VERSION = 1
_IDENTITY = {"": "", "a": "ALWAYS", "d": "BY DEFAULT"}
_GENERATED = {"s": "STORED", "v": "VIRTUAL"}
_CONSTRAINT = {"p": "primary", "u": "unique", "c": "check", "x": "exclusion"}


@dataclass(frozen=True, slots=True)
class Described:
    """A table and all that the catalog tells of it. `indexes` and `constraints` are by object id, partitions' included."""

    table: Table
    server_version: int
    key_index: Row | None
    indexes: Mapping[int, Sequence[Row]]
    constraints: Mapping[int, Sequence[Row]]
    partitions: Sequence[Row]
    parents: Sequence[Row]
    sequences: Sequence[Row]
    types: NeededTypes
    table_constraints: TableConstraints


def native_description(described: Described) -> dict[str, object]:
    """Return the object."""
    table = described.table
    constraints = described.constraints.get(table.oid, [])
    return {
        "version": VERSION,
        "server_version": described.server_version,
        "schema": table.schema,
        "table": table.name,
        "kind": "partitioned" if table.partitioned else "table",
        "unlogged": table.unlogged,
        "columns": [_column(column) for column in table.columns],
        "key": _key(described.key_index),
        "row_key": None if table.key else {"row": ROW, "dup": DUP, "digest": table.digest},
        "constraints": _constraints(constraints),
        "indexes": _indexes(described.indexes.get(table.oid, [])),
        "foreign_keys": _foreign_keys(constraints),
        "partition_by": table.partition_by,
        "partitions": [_partition(row, described) for row in described.partitions],
        "inherits": [[row["schema"], row["name"]] for row in described.parents],
        "sequences": [_sequence(row) for row in described.sequences],
        "types": list(described.types.types),
        "extensions": list(described.types.extensions),
        "schemas": _schemas(described),
        MEMBER: constraints_to_json(described.table_constraints),
    }


def _column(column: TableColumn) -> dict[str, object]:
    generated = {"expression": column.expression, "kind": _GENERATED[column.generated]} if column.generated else None
    return {
        "name": column.name,
        "type": column.native_type,
        "not_null": column.not_null,
        "default": column.default,
        "identity": _IDENTITY[column.identity],
        "generated": generated,
        "collation": column.collation,
    }


def _key(index: Row | None) -> dict[str, object] | None:
    if index is None:
        return None
    kind = "primary" if index["primary"] else "unique"
    return {"name": index["name"], "columns": index["columns"], "kind": kind}


def _constraints(rows: Sequence[Row]) -> list[dict[str, object]]:
    return [
        {"name": row["name"], "kind": _CONSTRAINT[row["kind"]], "definition": row["definition"]}
        for row in rows
        if row["kind"] in _CONSTRAINT
    ]


def _indexes(rows: Sequence[Row]) -> list[dict[str, object]]:
    return [
        {"name": row["name"], "definition": row["definition"], "unique": row["unique"]}
        for row in rows
        if not row["constrains"] and not row["inherited"]
    ]


def _foreign_keys(rows: Sequence[Row]) -> list[dict[str, object]]:
    return [
        {
            "name": row["name"],
            "definition": row["definition"],
            "references": [row["referenced_schema"], row["referenced_table"]],
        }
        for row in rows
        if row["kind"] == "f"
    ]


def _partition(row: Row, described: Described) -> dict[str, object]:
    return {
        "schema": row["schema"],
        "table": row["name"],
        "parent": [row["parent_schema"], row["parent_name"]],
        "bound": row["bound"],
        "partition_by": row["partition_by"],
        "constraints": _constraints(described.constraints.get(row["oid"], [])),
        "indexes": _indexes(described.indexes.get(row["oid"], [])),
        "foreign_keys": _foreign_keys(described.constraints.get(row["oid"], [])),
    }


def _sequence(row: Row) -> dict[str, object]:
    cycle = "CYCLE" if row["cycle"] else "NO CYCLE"
    return {
        "schema": row["schema"],
        "name": row["name"],
        "column": row["column"],
        "owned": row["owned"],
        "identity": row["identity"],
        "options": (
            f"AS {row['type']} INCREMENT BY {row['increment']} MINVALUE {row['minimum']} MAXVALUE {row['maximum']} "
            f"START WITH {row['start']} CACHE {row['cache']} {cycle}"
        ),
        "last_value": row["last_value"],
    }


def _schemas(described: Described) -> list[str]:
    rows = [*described.partitions, *described.parents, *described.sequences]
    named = {described.table.schema, *(row["schema"] for row in rows)}
    return sorted(named | {str(made["schema"]) for made in described.types.types})
