"""What the tables of a source promise beside their columns and keys, for a destination that is not PostgreSQL.

What only PostgreSQL can do (other kinds of index, expressions, conditions, triggers) is named, and left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.connectors.postgres.schema import catalog_queries as queries
from pipeline.connectors.postgres.schema.catalog_types import Row, by_table, fetch
from pipeline.connectors.postgres.schema.tables import Table
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.domain.constraints import Action, ForeignKey, Index, IndexColumn, TableConstraints, UnsupportedConstraint
from pipeline.domain.ids import StreamName

ACTIONS = {
    "a": Action.NO_ACTION,
    "r": Action.RESTRICT,
    "c": Action.CASCADE,
    "n": Action.SET_NULL,
    "d": Action.SET_DEFAULT,
}
"""By the letter that the catalog has for it."""
_OWN_LANGUAGE = "it is written in PostgreSQL's own language"
_CHECKS = {"c": "check", "x": "exclusion constraint"}

Naming = Callable[[str, str], StreamName]
"""What a stream is called, by schema and name. Indexes are called likewise: their names, too, are those of a schema."""


@dataclass(frozen=True, slots=True)
class ConstraintsCatalog:
    """What the catalog tells of all that tables promise, each by the table's object id; and which unique indexes are left out."""

    indexes: Mapping[int, Sequence[Row]]
    foreign_keys: Mapping[int, Sequence[Row]]
    triggers: Mapping[int, Sequence[Row]]
    unsupported_keys: frozenset[int]


def read_constraints_catalog(connection: Connection, tables: Sequence[int]) -> ConstraintsCatalog:
    """Return what there is of these tables."""
    indexes = fetch(connection, queries.INDEX_TERMS, (list(tables),))
    return ConstraintsCatalog(
        indexes=by_table(indexes),
        foreign_keys=by_table(fetch(connection, queries.FOREIGN_KEYS, (list(tables),))),
        triggers=by_table(fetch(connection, queries.TRIGGERS, (list(tables),))),
        unsupported_keys=frozenset(row["oid"] for row in indexes if not row["primary"] and _why_not(row) is not None),
    )


def constraints_of_table(
    catalog: ConstraintsCatalog, table: Table, partitions: Sequence[int], constraints: Sequence[Row], naming: Naming
) -> TableConstraints:
    """Return what a table promises for all of its rows. `constraints` are its own as `CONSTRAINTS` has them."""
    found = [
        *_indexes(catalog.indexes.get(table.oid, ()), table, naming),
        *_foreign_keys(catalog, table, naming),
        *_of_partitions(catalog, partitions),
        *(
            UnsupportedConstraint(_CHECKS[row["kind"]], row["name"], _OWN_LANGUAGE)
            for row in constraints
            if row["kind"] in _CHECKS
        ),
        *(
            UnsupportedConstraint("generated column", column.name, _OWN_LANGUAGE)
            for column in table.columns
            if column.generated
        ),
        *(UnsupportedConstraint("trigger", row["name"], _OWN_LANGUAGE) for row in catalog.triggers.get(table.oid, ())),
    ]
    return TableConstraints(
        indexes=tuple(one for one in found if isinstance(one, Index)),
        foreign_keys=tuple(one for one in found if isinstance(one, ForeignKey)),
        unsupported=tuple(one for one in found if isinstance(one, UnsupportedConstraint)),
    )


def _indexes(rows: Sequence[Row], table: Table, naming: Naming) -> Iterator[Index | UnsupportedConstraint]:
    for row in rows:
        is_key = row["primary"] and tuple(row["columns"]) == table.key
        if is_key or row["constraint"] == "x":
            continue
        reason = _why_not(row)
        if reason is None:
            yield Index(naming(table.schema, row["name"]), _sorted(row), row["unique"], row["constraint"] is not None)
        else:
            yield UnsupportedConstraint("unique constraint" if row["constraint"] else "index", row["name"], reason)


def _sorted(row: Row) -> tuple[IndexColumn, ...]:
    """Return how an index sorts. A column that comes a second time sorts nothing."""
    found: dict[str, IndexColumn] = {}
    for name, descending in zip(row["columns"], row["descending"], strict=True):
        found.setdefault(name, IndexColumn(name, descending))
    return tuple(found.values())


def _why_not(row: Row) -> str | None:
    """Return why an index cannot be told of, if it cannot."""
    reasons = {
        f"it is of the kind {row['method']}": row["method"] != "btree",
        "it covers a part of the rows": row["partial"],
        "it is on an expression": None in row["columns"],
        "it is on a generated column": row["generated"],
        "it has an operator class of its own": row["other_class"],
        f"its collation is {row['other_collation']}": row["other_collation"] is not None,
        "NULL is like NULL there": row["nulls_are_equal"],
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _foreign_keys(
    catalog: ConstraintsCatalog, table: Table, naming: Naming
) -> Iterator[ForeignKey | UnsupportedConstraint]:
    generated = {column.name for column in table.columns if column.generated}
    for row in catalog.foreign_keys.get(table.oid, ()):
        reasons = {
            "what makes its key at the other table unique is left out": row["parent_index"] in catalog.unsupported_keys,
            f"it refers to the partition {row['parent']}": row["parent_is_partition"],
            "it is about a period": row["period"],
            "it is not enforced": not row["enforced"],
            "it sets some of its columns": row["sets_some"],
            "it is on a generated column": not generated.isdisjoint(row["columns"]),
            "it has a column twice": len(set(row["columns"])) != len(row["columns"]),
        }
        reason = next((reason for reason, holds in reasons.items() if holds), None)
        if reason is None:
            yield ForeignKey(
                name=row["name"],
                columns=tuple(row["columns"]),
                references=naming(row["parent_schema"], row["parent"]),
                referenced_columns=tuple(row["parent_columns"]),
                on_update=ACTIONS[row["on_update"]],
                on_delete=ACTIONS[row["on_delete"]],
                deferred=row["deferred"],
            )
        else:
            yield UnsupportedConstraint("foreign key", row["name"], reason)


def _of_partitions(catalog: ConstraintsCatalog, partitions: Sequence[int]) -> Iterator[UnsupportedConstraint]:
    reason = "it is on a partition"
    for oid in partitions:
        for row in catalog.indexes.get(oid, ()):
            if not row["inherited"]:
                yield UnsupportedConstraint("index", row["name"], reason)
        for row in catalog.foreign_keys.get(oid, ()):
            yield UnsupportedConstraint("foreign key", row["name"], reason)
