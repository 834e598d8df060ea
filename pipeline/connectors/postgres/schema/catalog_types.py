"""The types of a database: how records hold values of each, and the statements that create the app's own types."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.connectors.postgres.schema import catalog_queries as queries
from pipeline.connectors.postgres.schema.catalog_queries import Row, fetch, fetch_by_table
from pipeline.connectors.postgres.schema.types import WireType, wire_type
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import literal, qualified, quoted


@dataclass(frozen=True, slots=True)
class NeededTypes:
    """The types and extensions that the columns of a table need, as docs/reference/postgresql.md documents them."""

    types: tuple[dict[str, object], ...]
    extensions: tuple[str, ...]


class TypeCatalog:
    """All types of a database, read at once."""

    def __init__(self, connection: Connection) -> None:
        self._types: dict[int, Row] = {row["oid"]: row for row in fetch(connection, queries.TYPES)}
        own = [row for row in self._types.values() if _is_own(row)]
        oids = [row["oid"] for row in own]
        self._labels = fetch_by_table(connection, queries.ENUM_LABELS, oids)
        self._domains = fetch_by_table(connection, queries.DOMAINS, oids)
        self._ranges = fetch_by_table(connection, queries.RANGES, oids)
        relations = [row["relation"] for row in own if row["is_composite"]]
        self._attributes = fetch_by_table(connection, queries.COLUMNS, relations)

    def wire_type(self, oid: int) -> WireType:
        """Return how records hold values of the type."""
        row = self._base(oid)
        return wire_type(row["schema"], row["name"], row["kind"])

    def base_type(self, oid: int) -> str:
        """Return the name of the type, or of a domain's base type; empty if it is not one of PostgreSQL's own."""
        row = self._base(oid)
        return str(row["name"]) if row["schema"] == "pg_catalog" else ""

    def _base(self, oid: int) -> Row:
        row = self._types[oid]
        while row["base"]:
            row = self._types[row["base"]]
        return row

    def needed(self, oids: Iterable[int]) -> NeededTypes:
        """Return what columns of these types need, in the order to create it."""
        found: dict[int, dict[str, object]] = {}
        extensions: set[str] = set()
        for oid in oids:
            self._collect(oid, found, extensions, set())
        return NeededTypes(tuple(found.values()), tuple(sorted(extensions)))

    def all_types(self) -> list[dict[str, object]]:
        """Return all types that belong to the app, in creation order, except the row types of tables."""
        found: dict[int, dict[str, object]] = {}
        extensions: set[str] = set()
        for oid, row in self._types.items():
            if _is_own(row) and row["kind"] not in ("a", "m"):
                self._collect(oid, found, extensions, set())
        return list(found.values())

    def described(self, oid: int) -> Mapping[str, Any] | None:
        """Return the description of a type; None for one that is not the app's own."""
        row = self._types[oid]
        return self._described(oid, row) if _is_own(row) else None

    def _collect(self, oid: int, found: dict[int, dict[str, object]], extensions: set[str], above: set[int]) -> None:
        row = self._types.get(oid)
        if row is None or oid in found or oid in above:
            return
        if row["extension"]:
            extensions.add(row["extension"])
            return
        for other in self._parts(row):
            self._collect(other, found, extensions, above | {oid})
        if _is_own(row) and row["kind"] not in ("a", "m"):
            found[oid] = self._described(oid, row)

    def _parts(self, row: Row) -> list[int]:
        """Return the types that a type is made of."""
        fields = [field["type_oid"] for field in self._attributes[row["relation"]]] if row["relation"] else []
        ranges = self._ranges.items() if row["kind"] == "m" and _is_own(row) else ()
        range_of = [oid for oid, (made, *_) in ranges if made["multirange_oid"] == row["oid"]]
        return [part for part in (row["base"], row["element"], row["subtype"], *range_of, *fields) if part]

    def _described(self, oid: int, row: Row) -> dict[str, object]:
        name = qualified(row["schema"], row["name"])
        described: dict[str, object] = {"schema": row["schema"], "name": row["name"]}
        match row["kind"]:
            case "e":
                labels = [label["label"] for label in self._labels[oid]]
                create = f"CREATE TYPE {name} AS ENUM ({', '.join(map(literal, labels))})"
                return {**described, "kind": "enum", "create": create, "labels": labels}
            case "d":
                domain = self._domains[oid][0]
                described["domain"] = {
                    "type": _domain_type(domain),
                    "default": domain["default"],
                    "not_null": domain["not_null"],
                    "not_null_name": domain["not_null_name"],
                    "checks": dict(zip(domain["names"], domain["checks"], strict=True)),
                }
                kind, create = "domain", f"CREATE DOMAIN {name} AS {_domain(domain)}"
            case "r":
                kind, create = "range", f"CREATE TYPE {name} AS RANGE ({_range(self._ranges[oid][0])})"
            case "c" if row["is_composite"]:
                attributes = self._attributes[row["relation"]]
                described["attributes"] = [{"name": it["name"], "type": _attribute_type(it)} for it in attributes]
                fields = ", ".join(f"{quoted(it['name'])} {_attribute_type(it)}" for it in attributes)
                kind, create = "composite", f"CREATE TYPE {name} AS ({fields})"
            case _:
                return {**described, "kind": "row", "create": None}
        return {**described, "kind": kind, "create": create}


def described_type(connection: Connection, name: str) -> Mapping[str, Any] | None:
    """Return the description of one of the app's own types; None when there is none of this qualified, quoted name."""
    row = connection.execute("SELECT to_regtype(%s)::oid", (name,)).fetchone()
    return None if row is None or row[0] is None else TypeCatalog(connection).described(row[0])


def _is_own(row: Row) -> bool:
    return row["schema"] not in ("pg_catalog", "information_schema") and row["extension"] is None


def _domain(row: Row) -> str:
    parts = [_domain_type(row)]
    if row["default"] is not None:
        parts.append(f"DEFAULT {row['default']}")
    if row["not_null"]:
        name = row["not_null_name"]
        parts.append(f"CONSTRAINT {quoted(name)} NOT NULL" if name else "NOT NULL")
    checks = zip(row["names"], row["checks"], strict=True)
    return " ".join([*parts, *(f"CONSTRAINT {quoted(name)} {check}" for name, check in checks)])


def _domain_type(row: Row) -> str:
    return f"{row['base']} COLLATE {row['collation']}" if row["collation"] else str(row["base"])


def _range(row: Row) -> str:
    options = {
        "subtype": row["subtype"],
        "subtype_opclass": row["operator_class"],
        "collation": row["collation"],
        "subtype_diff": row["difference"],
        "multirange_type_name": row["multirange"],
    }
    return ", ".join(f"{name} = {value}" for name, value in options.items() if value)


def _attribute_type(row: Row) -> str:
    return f"{row['type']} COLLATE {row['collation']}" if row["collation"] else str(row["type"])
