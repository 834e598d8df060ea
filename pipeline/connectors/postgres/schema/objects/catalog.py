"""The schema objects of a database beside tables: what each is called, and the statements that create it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from pipeline.connectors.postgres.schema.catalog_queries import fetch
from pipeline.connectors.postgres.schema.catalog_types import TypeCatalog
from pipeline.connectors.postgres.schema.objects import privileges, queries
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import qualified
from pipeline.connectors.sql.schema_objects import SchemaObject

TECHNOLOGY = "postgresql"
PRE_DATA_KINDS = 12
"""How many kinds, from the first on, can be created before tables exist."""

_QUERIES: tuple[tuple[str, str], ...] = (
    ("schema", queries.SCHEMAS),
    ("extension", queries.EXTENSIONS),
    ("collation", queries.COLLATIONS),
    ("type", ""),
    ("function", queries.FUNCTIONS),
    ("aggregate", queries.AGGREGATES),
    ("operator", queries.OPERATORS),
    ("operator class", queries.OPERATOR_CLASSES),
    ("cast", queries.CASTS),
    ("text search dictionary", queries.TEXT_SEARCH_DICTIONARIES),
    ("text search configuration", queries.TEXT_SEARCH_CONFIGURATIONS),
    ("sequence", queries.SEQUENCES),
    ("table option", queries.TABLE_OPTIONS),
    ("view", queries.VIEWS),
    ("rule", queries.RULES),
    ("trigger", queries.TRIGGERS),
    ("statistics", queries.STATISTICS),
    ("policy", queries.POLICIES),
    ("row security", queries.ROW_SECURITY),
    ("event trigger", queries.EVENT_TRIGGERS),
    ("publication", queries.PUBLICATIONS),
    ("foreign table", queries.FOREIGN_TABLES),
    ("comment", queries.COMMENTS),
    ("large object", queries.UNREADABLE_LARGE_OBJECTS),
    ("owner", privileges.OWNERS),
    ("grant", privileges.GRANTS),
    ("grant", privileges.DEFAULT_PRIVILEGES),
)
"""The kinds in the order in which objects are created; what depends on a later one is tried again."""
ROLE_KINDS = frozenset({"owner", "grant"})
"""Kinds that name roles. They are moved on request."""


def read_grants(connection: Connection) -> list[SchemaObject]:
    """Return the objects of privileges alone."""
    return [one for kind, query in _QUERIES if kind == "grant" for one in _described(connection, kind, query)]


def read_objects(connection: Connection, *, grants: bool) -> list[SchemaObject]:
    """Return all schema objects that belong to the app, in creation order. Works in the connection's transaction.

    Without `grants`, the objects of privileges have a reason not to be moved, and owners are left out.
    """
    found: list[SchemaObject] = []
    for kind, query in _QUERIES:
        if kind == "owner" and not grants:
            continue
        described = _types(connection) if kind == "type" else _described(connection, kind, query)
        if kind == "grant" and not grants:
            described = (replace(one, reason=privileges.NOT_ASKED) for one in described)
        found.extend(described)
    return found


def _described(connection: Connection, kind: str, query: str) -> Iterator[SchemaObject]:
    rank = next(place for place, (name, _) in enumerate(_QUERIES) if name == kind)
    for row in fetch(connection, query, ()):
        if not row["create"] and row["facts"] is None and row["reason"] is None:
            continue  # a table with nothing but defaults
        facts: Mapping[str, Any] = row["facts"] or {}
        if kind == "sequence" and row["reason"] is None:
            facts = {**facts, **_position(connection, row["name"])}
        yield SchemaObject(
            kind=row.get("kind", kind),
            name=row["name"],
            rank=rank,
            create=tuple(row["create"]),
            remove=row["remove"],
            facts=facts,
            reason=row["reason"] or "",
        )


def _position(connection: Connection, sequence: str) -> Mapping[str, Any]:
    """Return where a sequence stands. `sequence` is its qualified, quoted name as the catalog query made it."""
    ((last_value, is_called),) = connection.execute(f"SELECT last_value, is_called FROM {sequence}".encode()).fetchall()
    return {"last_value": last_value, "is_called": is_called}


def _types(connection: Connection) -> Iterator[SchemaObject]:
    rank = next(place for place, (name, _) in enumerate(_QUERIES) if name == "type")
    for made in TypeCatalog(connection).all_types():
        if made["create"] is not None:
            name = qualified(str(made["schema"]), str(made["name"]))
            kind = "domain" if made["kind"] == "domain" else "type"
            facts = {fact: value for fact, value in made.items() if fact != "create"}
            yield SchemaObject(kind, name, rank, (str(made["create"]),), f"DROP {kind.upper()} {name}", facts)
