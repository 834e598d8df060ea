"""What a PostgreSQL destination needs to create a table again: the JSON object `StreamSchema.native["postgresql"]`.

Every SQL text in it is complete and schema-qualified, valid under `search_path = pg_catalog`. Names are plain, not
quoted, unless said otherwise.

    version          1
    server_version   of the source: 180006
    schema, table    names of the table
    kind             "table" or "partitioned"
    unlogged         true for an UNLOGGED table
    columns          ALL columns in order, generated ones included, each an object:
        name, type       type as SQL, with its schema: "bigint", "public.mood", "character varying(10)"
        not_null         boolean
        default          SQL expression or null (null for generated and identity columns)
        identity         "" | "ALWAYS" | "BY DEFAULT"
        generated        null | {"expression": SQL, "kind": "STORED" | "VIRTUAL"}
        collation        SQL name as '"pg_catalog"."C"' if it is not the type's own; else null
    key              null | {"name": of the constraint or index, "columns": [names], "kind": "primary" | "unique"}
    row_key          null | {"row": "$row", "dup": "$dup", "digest": SQL over the table's columns, unqualified}
    constraints      primary key, unique, check and exclusion constraints, each {"name", "kind": "primary" | "unique" |
                     "check" | "exclusion", "definition": as in ALTER TABLE … ADD CONSTRAINT name <definition>}
    indexes          those without a constraint: {"name", "definition": a complete CREATE INDEX, "unique": bool}
    foreign_keys     {"name", "definition": as in ADD CONSTRAINT, "references": [schema, table]}
    partition_by     null | as in PARTITION BY <partition_by>: "RANGE (created_at)"
    partitions       of all levels, parents first, each {"schema", "table", "parent": [schema, table], "bound": as in
                     PARTITION OF parent <bound>: "FOR VALUES FROM (1) TO (10)" or "DEFAULT", "partition_by": as above,
                     "constraints", "indexes", "foreign_keys": those that are not inherited}
    inherits         [[schema, table], …] the parents of a table in classic inheritance, in order
    sequences        those that a column owns or a default uses: {"schema", "name", "column": name or null, "owned":
                     bool, "identity": bool, "options": as in CREATE SEQUENCE name <options>, "last_value": int, or
                     null when never used}; the next value is last_value + increment, or the start value
    types            all user-defined types that the columns need, in the order to create them, each {"schema", "name",
                     "kind": "enum" | "domain" | "composite" | "range" | "row", "create": a complete CREATE statement
                     (null for "row", the row type of another table), "labels": [strings], of an enum only}
    extensions       names of the extensions whose types the columns use
    schemas          all schemas that the above needs and that are not PostgreSQL's own
    promises         indexes and foreign keys in terms that other technologies understand
                     (pipeline/codec/event_files/constraints.py)
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.codec.event_files.constraints import MEMBER, constraints_to_json
from pipeline.connectors.postgres.schema.catalog import Catalog
from pipeline.connectors.postgres.schema.catalog_queries import Row
from pipeline.connectors.postgres.schema.tables import DUP, ROW, Table, TableColumn
from pipeline.domain.constraints import TableConstraints

_IDENTITY = {"": "", "a": "ALWAYS", "d": "BY DEFAULT"}
_GENERATED = {"s": "STORED", "v": "VIRTUAL"}
_CONSTRAINT = {"p": "primary", "u": "unique", "c": "check", "x": "exclusion"}


def native_description(catalog: Catalog, table: Table, constraints: TableConstraints) -> dict[str, object]:
    """Return the object for a table whose constraints in other technologies' terms are given."""
    partitions, parents, sequences = (
        rows[table.oid] for rows in (catalog.partitions, catalog.parents, catalog.sequences)
    )
    types = catalog.types.needed(column.type_oid for column in table.columns)
    schemas = {table.schema, *(str(made["schema"]) for made in types.types)}
    schemas.update(row["schema"] for row in (*partitions, *parents, *sequences))
    return {
        "version": 1,
        "server_version": catalog.server_version,
        "schema": table.schema,
        "table": table.name,
        "kind": "partitioned" if table.partitioned else "table",
        "unlogged": table.unlogged,
        "columns": list(map(_column, table.columns)),
        "key": _key(catalog.key_index(table.oid)),
        "row_key": None if table.key else {"row": ROW, "dup": DUP, "digest": table.digest},
        **_constraints(catalog, table.oid),
        "partition_by": table.partition_by,
        "partitions": [_partition(catalog, row) for row in partitions],
        "inherits": [[row["schema"], row["name"]] for row in parents],
        "sequences": list(map(_sequence, sequences)),
        "types": list(types.types),
        "extensions": list(types.extensions),
        "schemas": sorted(schemas),
        MEMBER: constraints_to_json(constraints),
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
            if not row["constrains"] and not row["inherited"]
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
    return {
        "schema": row["schema"],
        "table": row["name"],
        "parent": [row["parent_schema"], row["parent_name"]],
        "bound": row["bound"],
        "partition_by": row["partition_by"],
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
