"""`StreamSchema.native["postgresql"]`: the JSON object by which a PostgreSQL destination creates a table again.

docs/reference/postgresql.md documents its members.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.codec.event_files.constraints import MEMBER, constraints_to_json
from pipeline.connectors.postgres.schema.catalog import Catalog
from pipeline.connectors.postgres.schema.catalog_queries import Row
from pipeline.connectors.postgres.schema.tables import Table, TableColumn
from pipeline.domain.constraints import TableConstraints

_IDENTITY = {"": "", "a": "ALWAYS", "d": "BY DEFAULT"}
_GENERATED = {"s": "STORED", "v": "VIRTUAL"}
_CONSTRAINT = {"p": "primary", "u": "unique", "c": "check", "x": "exclusion", "n": "not null"}


def native_description(catalog: Catalog, table: Table, constraints: TableConstraints) -> dict[str, object]:
    """Return the object for a table whose constraints in other technologies' terms are given."""
    partitions, parents, sequences = (
        rows[table.oid] for rows in (catalog.partitions, catalog.parents, catalog.sequences)
    )
    types = catalog.types.needed(column.type_oid for column in table.columns)
    schemas = {table.schema, *(str(made["schema"]) for made in types.types)}
    schemas.update(row["schema"] for row in (*partitions, *parents, *sequences, *catalog.needed[table.oid]))
    return {
        "version": 1,
        "server_version": catalog.server_version,
        "schema": table.schema,
        "table": table.name,
        "kind": "partitioned" if table.partitioned else "table",
        "unlogged": table.unlogged,
        "columns": list(map(_column, table.columns)),
        "key": _key(catalog.key_index(table.oid)),
        "row_key": None if table.key else _row_key(table),
        **_constraints(catalog, table.oid),
        "partition_by": table.partition_by,
        "partitions": [_partition(catalog, row) for row in partitions],
        "inherits": [[row["schema"], row["name"]] for row in parents],
        "sequences": [{**_sequence(row), "identity_of": catalog.identity(row["oid"])} for row in sequences],
        "types": list(types.types),
        "extensions": list(types.extensions),
        "needs": list(map(_need, catalog.needed[table.oid])),
        "schemas": sorted(schemas),
        MEMBER: constraints_to_json(constraints),
    }


def _row_key(table: Table) -> dict[str, object]:
    row, dup = table.row_key
    return {"row": row, "dup": dup, "digest": table.digest}


def _need(row: Row) -> dict[str, object]:
    return {"kind": row["kind"], "name": row["name"], "schema": row["schema"], "create": row["create"]}


def _column(column: TableColumn) -> dict[str, object]:
    generated = {"expression": column.expression, "kind": _GENERATED[column.generated]} if column.generated else None
    return {
        "name": column.name,
        "type": column.native_type,
        "not_null": column.not_null,
        "not_null_name": column.not_null_name,
        **({"not_null_here": True} if column.not_null_here else {}),
        "number": column.number,
        "default": column.default,
        "identity": _IDENTITY[column.identity],
        "generated": generated,
        "collation": column.collation,
    }


def _key(index: Row | None) -> dict[str, object] | None:
    if index is None:
        return None
    return {"name": index["name"], "columns": index["columns"], "kind": "primary" if index["primary"] else "unique"}


def _constraints(catalog: Catalog, oid: int) -> dict[str, Sequence[dict[str, object]]]:
    constraints = catalog.constraints[oid]
    return {
        "constraints": [
            {"name": row["name"], "kind": _CONSTRAINT[row["kind"]], "definition": row["definition"]}
            for row in constraints
            if row["kind"] in _CONSTRAINT
        ],
        "indexes": [
            {"name": row["name"], "definition": row["definition"], "unique": row["unique"]}
            for row in catalog.indexes[oid]
            if not row["constrains"] and row["parent"] is None
        ],
        "foreign_keys": [
            {
                "name": row["name"],
                "definition": row["definition"],
                "references": [row["referenced_schema"], row["referenced_table"]],
            }
            for row in constraints
            if row["kind"] == "f"
        ],
    }


def _partition(catalog: Catalog, row: Row) -> dict[str, object]:
    layout = catalog.partition_layouts.get(row["oid"])
    return {
        **({} if layout is None else {"layout": list(map(_column, layout))}),
        "schema": row["schema"],
        "table": row["name"],
        "parent": [row["parent_schema"], row["parent_name"]],
        "bound": row["bound"],
        "partition_by": row["partition_by"],
        "identity": catalog.identity(row["oid"]),
        "columns": [
            {it: column[it] for it in ("name", "default", "not_null", "not_null_name")}
            for column in catalog.partition_columns[row["oid"]]
        ],
        "inherited_indexes": [
            {"name": index["name"], "of": index["parent"]}
            for index in catalog.indexes[row["oid"]]
            if index["parent"] is not None
        ],
        **_constraints(catalog, row["oid"]),
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
