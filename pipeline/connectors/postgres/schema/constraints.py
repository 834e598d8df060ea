"""The constraints of a source's tables in terms that a destination other than PostgreSQL understands.

What only PostgreSQL has (other kinds of index, expressions, conditions, triggers) is named as unsupported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from pipeline.connectors.postgres.schema.catalog import Catalog
from pipeline.connectors.postgres.schema.catalog_queries import Row
from pipeline.connectors.postgres.schema.tables import Table, stream_name
from pipeline.connectors.sql.constraints import index_columns, table_constraints
from pipeline.domain.constraints import Action, ForeignKey, Index, TableConstraints, UnsupportedConstraint

ACTIONS = {
    "a": Action.NO_ACTION,
    "r": Action.RESTRICT,
    "c": Action.CASCADE,
    "n": Action.SET_NULL,
    "d": Action.SET_DEFAULT,
}
"""By the letter in the catalog."""
_OWN_LANGUAGE = "it is written in PostgreSQL's own language"
_CHECKS = {"c": "check", "x": "exclusion constraint"}


def unsupported_keys(catalog: Catalog) -> Set[int]:
    """Return the object ids of indexes that no other technology has; a foreign key that refers to one has none either."""
    rows = (row for group in catalog.index_terms.values() for row in group)
    return {row["oid"] for row in rows if not row["primary"] and _index_reason(row) is not None}


def constraints_of_table(catalog: Catalog, table: Table, unsupported: Set[int]) -> TableConstraints:
    """Return the constraints that hold for all rows of a table. `unsupported` are the `unsupported_keys`."""
    return table_constraints(
        (
            *_indexes(catalog, table),
            *_foreign_keys(catalog, table, unsupported),
            *_of_partitions(catalog, table),
            *_in_own_language(catalog, table),
        )
    )


def _indexes(catalog: Catalog, table: Table) -> Iterator[Index | UnsupportedConstraint]:
    for row in catalog.index_terms[table.oid]:
        is_key = row["primary"] and tuple(row["columns"]) == table.key
        if is_key or row["constraint"] == "x":
            continue
        reason = _index_reason(row)
        if reason is None:
            name = stream_name(table.schema, row["name"])  # the names of indexes are unique in their schema, too
            columns = index_columns(row["columns"], row["descending"])
            yield Index(name, columns, row["unique"], row["constraint"] is not None)
        else:
            yield UnsupportedConstraint("unique constraint" if row["constraint"] else "index", row["name"], reason)


def _index_reason(row: Row) -> str | None:
    """Return why an index is unsupported, if it is."""
    return _first(
        {
            f"it is a {row['method']} index": row["method"] != "btree",
            "it covers a part of the rows": row["partial"],
            "it is on an expression": None in row["columns"],
            "it is on a generated column": row["generated"],
            "it has a non-default operator class": row["other_class"],
            f"its collation is {row['other_collation']}": row["other_collation"] is not None,
            "it treats NULLs as equal": row["nulls_are_equal"],
        }
    )


def _foreign_keys(
    catalog: Catalog, table: Table, unsupported: Set[int]
) -> Iterator[ForeignKey | UnsupportedConstraint]:
    generated = {column.name for column in table.columns if column.generated}
    for row in catalog.foreign_keys[table.oid]:
        reason = _first(
            {
                "the index on the columns that it refers to is unsupported": row["parent_index"] in unsupported,
                f"it refers to the partition {row['parent']}": row["parent_is_partition"],
                "it uses PERIOD": row["period"],
                "it is not enforced": not row["enforced"],
                "it sets only some of its columns": row["sets_some"],
                "it is on a generated column": not generated.isdisjoint(row["columns"]),
                "it has a column twice": len(set(row["columns"])) != len(row["columns"]),
            }
        )
        if reason is not None:
            yield UnsupportedConstraint("foreign key", row["name"], reason)
            continue
        yield ForeignKey(
            name=row["name"],
            columns=tuple(row["columns"]),
            references=stream_name(row["parent_schema"], row["parent"]),
            referenced_columns=tuple(row["parent_columns"]),
            on_update=ACTIONS[row["on_update"]],
            on_delete=ACTIONS[row["on_delete"]],
            deferred=row["deferred"],
        )


def _of_partitions(catalog: Catalog, table: Table) -> Iterator[UnsupportedConstraint]:
    reason = "it is on a partition"
    for partition in catalog.partitions[table.oid]:
        for row in catalog.index_terms[partition["oid"]]:
            if not row["inherited"]:
                yield UnsupportedConstraint("index", row["name"], reason)
        for row in catalog.foreign_keys[partition["oid"]]:
            yield UnsupportedConstraint("foreign key", row["name"], reason)


def _in_own_language(catalog: Catalog, table: Table) -> Iterator[UnsupportedConstraint]:
    for row in catalog.constraints[table.oid]:
        if row["kind"] in _CHECKS:
            yield UnsupportedConstraint(_CHECKS[row["kind"]], row["name"], _OWN_LANGUAGE)
    for column in table.columns:
        if column.generated:
            yield UnsupportedConstraint("generated column", column.name, _OWN_LANGUAGE)
    for row in catalog.triggers[table.oid]:
        yield UnsupportedConstraint("trigger", row["name"], _OWN_LANGUAGE)


def _first(reasons: Mapping[str, bool]) -> str | None:
    return next((reason for reason, holds in reasons.items() if holds), None)
