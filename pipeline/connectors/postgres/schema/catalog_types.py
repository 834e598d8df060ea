"""The types of a database: how values of each are written in records, and the statements that make the app's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg.rows import dict_row

from pipeline.connectors.postgres.schema import catalog_queries as queries
from pipeline.connectors.postgres.schema.types import WireType, wire_type
from pipeline.connectors.postgres.session.connection import Connection, literal, qualified, quoted

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NeededTypes:
    """What the columns of a table need beside PostgreSQL's own: see `types` and `extensions` in catalog.py."""

    types: tuple[dict[str, object], ...]
    extensions: tuple[str, ...]


class TypeCatalog:
    """All types of a database, read at once."""

    def __init__(self, connection: Connection) -> None:
        self._types: dict[int, Row] = {row["oid"]: row for row in fetch(connection, queries.TYPES)}
        own = [oid for oid, row in self._types.items() if _is_own(row)]
        self._labels = by_table(fetch(connection, queries.ENUM_LABELS, (own,)))
        self._domains = by_table(fetch(connection, queries.DOMAINS, (own,)))
        self._ranges = by_table(fetch(connection, queries.RANGES, (own,)))
        relations = [row["relation"] for oid, row in self._types.items() if _is_own(row) and row["is_composite"]]
        self._attributes = by_table(fetch(connection, queries.COLUMNS, (relations,)))

    def wire_type(self, oid: int) -> WireType:
        """Return how values of the type are written."""
        row = self._base(oid)
        return wire_type(row["schema"], row["name"], row["kind"])

    def base_type(self, oid: int) -> str:
        """Return the name of the type, of a domain that of what it is over; empty if it is not PostgreSQL's own."""
        row = self._base(oid)
        return str(row["name"]) if row["schema"] == "pg_catalog" else ""

    def _base(self, oid: int) -> Row:
        row = self._types[oid]
        while row["base"]:
            row = self._types[row["base"]]
        return row

    def needed(self, oids: Iterable[int]) -> NeededTypes:
        """Return what columns of these types need, in the order to make it."""
        found: dict[int, dict[str, object]] = {}
        extensions: set[str] = set()
        for oid in oids:
            self._collect(oid, found, extensions, set())
        return NeededTypes(tuple(found.values()), tuple(sorted(extensions)))

    def _collect(self, oid: int, found: dict[int, dict[str, object]], extensions: set[str], above: set[int]) -> None:
        row = self._types.get(oid)
        if row is None or oid in found or oid in above:
            return
        if row["extension"]:
            extensions.add(row["extension"])
            return
        for other in self._parts(oid, row):
            self._collect(other, found, extensions, above | {oid})
        if _is_own(row) and row["kind"] not in ("a", "m"):
            found[oid] = self._described(oid, row)

    def _parts(self, oid: int, row: Row) -> list[int]:
        """Return the types that a type is made of."""
        fields = [field["type_oid"] for field in self._attributes.get(row["relation"], [])] if row["relation"] else []
        range_of = [
            other
            for other, r in self._types.items()
            if row["kind"] == "m" and r["kind"] == "r" and self._makes(other, oid)
        ]
        return [part for part in (row["base"], row["element"], row["subtype"], *range_of, *fields) if part]

    def _makes(self, range_oid: int, multirange_oid: int) -> bool:
        multirange = self._types[multirange_oid]
        made = self._ranges.get(range_oid, [])
        return any(row["multirange_oid"] == multirange_oid for row in made) and _is_own(multirange)

    def _described(self, oid: int, row: Row) -> dict[str, object]:
        name = qualified(row["schema"], row["name"])
        described: dict[str, object] = {"schema": row["schema"], "name": row["name"]}
        match row["kind"]:
            case "e":
                labels = [label["label"] for label in self._labels.get(oid, [])]
                create = f"CREATE TYPE {name} AS ENUM ({', '.join(map(literal, labels))})"
                return {**described, "kind": "enum", "create": create, "labels": labels}
            case "d":
                return {
                    **described,
                    "kind": "domain",
                    "create": f"CREATE DOMAIN {name} AS {_domain(self._domains[oid][0])}",
                }
            case "r":
                return {
                    **described,
                    "kind": "range",
                    "create": f"CREATE TYPE {name} AS RANGE ({_range(self._ranges[oid][0])})",
                }
            case "c" if row["is_composite"]:
                fields = ", ".join(_field(field) for field in self._attributes.get(row["relation"], []))
                return {**described, "kind": "composite", "create": f"CREATE TYPE {name} AS ({fields})"}
            case _:
                return {**described, "kind": "row", "create": None}


def fetch(connection: Connection, query: str, parameters: Any = None) -> list[dict[str, Any]]:
    """Return the rows of a catalog query, by the names of its columns."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode(), parameters).fetchall()


def by_table(rows: Iterable[Row]) -> dict[int, list[Row]]:
    """Return rows grouped by what they belong to, each group in the order given."""
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["table"], []).append(row)
    return groups


def _is_own(row: Row) -> bool:
    return row["schema"] not in ("pg_catalog", "information_schema") and row["extension"] is None


def _domain(row: Row) -> str:
    parts = [row["base"]]
    if row["collation"]:
        parts.append(f"COLLATE {row['collation']}")
    if row["default"] is not None:
        parts.append(f"DEFAULT {row['default']}")
    if row["not_null"]:
        parts.append("NOT NULL")
    return " ".join([*parts, *row["checks"]])


def _range(row: Row) -> str:
    options = {
        "subtype": row["subtype"],
        "subtype_opclass": row["operator_class"],
        "collation": row["collation"],
        "subtype_diff": row["difference"],
        "multirange_type_name": row["multirange"],
    }
    return ", ".join(f"{name} = {value}" for name, value in options.items() if value)


def _field(row: Row) -> str:
    collation = f" COLLATE {row['collation']}" if row["collation"] else ""
    return f"{quoted(row['name'])} {row['type']}{collation}"
