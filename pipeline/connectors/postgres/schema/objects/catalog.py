"""The schema objects of a database beside tables: what each is called, and the statements that create it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipeline.connectors.postgres.schema.catalog_queries import fetch
from pipeline.connectors.postgres.schema.catalog_types import TypeCatalog
from pipeline.connectors.postgres.schema.objects import options, privileges, queries, routines
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import qualified
from pipeline.connectors.sql.schema_objects import SchemaObject
from pipeline.connectors.sql.schema_stream import decode_object
from pipeline.domain.ids import FlowName

TECHNOLOGY = "postgresql"
PRE_DATA_KINDS = 12
"""How many kinds, from the first on, can be created before tables exist."""

_QUERIES: tuple[tuple[str, str], ...] = (
    ("schema", queries.SCHEMAS),
    ("extension", queries.EXTENSIONS),
    ("collation", queries.COLLATIONS),
    ("type", ""),
    ("function", routines.FUNCTIONS),
    ("aggregate", routines.AGGREGATES),
    ("operator", routines.OPERATORS),
    ("operator class", routines.OPERATOR_CLASSES),
    ("cast", routines.CASTS),
    ("text search dictionary", queries.TEXT_SEARCH_DICTIONARIES),
    ("text search configuration", queries.TEXT_SEARCH_CONFIGURATIONS),
    ("sequence", queries.SEQUENCES),
    ("view", queries.VIEWS),
    ("domain constraint", queries.DOMAIN_CONSTRAINTS),
    ("table option", options.TABLE_OPTIONS),
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
    ("language", queries.OTHERS),
)
"""The kinds in the order in which objects are created; what depends on a later one is tried again."""
ROLE_KINDS = frozenset({"owner", "grant"})
"""Kinds that name roles. They are moved on request."""


_READ_WITH = {"procedure": "function", "materialized view": "view", "domain": "type"}
"""Kinds that the query of another one gives."""


def read_objects(connection: Connection, *, grants: bool, kinds: Collection[str] = ()) -> list[SchemaObject]:
    """Return all schema objects that belong to the app, in creation order. Works in the connection's transaction.

    Without `grants`, the objects of privileges have a reason not to be moved, and owners are left out. `kinds`: only of
    these, and of those that are read with them.
    """
    found: list[SchemaObject] = []
    wanted = {_READ_WITH.get(kind, kind) for kind in kinds}
    for kind, query in _QUERIES:
        if (kind == "owner" and not grants) or (kinds and kind not in wanted):
            continue
        described = _types(connection) if kind == "type" else _described(connection, kind, query)
        if kind == "grant" and not grants:
            described = (replace(one, reason=privileges.NOT_ASKED) for one in described)
        found.extend(described)
    return found


def as_written(connection: Connection, objects: Sequence[SchemaObject], flow: FlowName) -> list[SchemaObject]:
    """Return the objects of a Flow's copy with the source's definitions, where PostgreSQL writes them in another way here."""
    if connection.execute("SELECT to_regclass('_pipeline.objects')").fetchone() == (None,):
        return list(objects)
    rows = connection.execute(
        "SELECT kind, name, rank, created FROM _pipeline.objects WHERE flow = %s AND created LIKE '%%\"read_as\"%%'",
        (flow,),
    )
    created = {one.id: one for one in (decode_object(*row) for row in rows)}
    return [_as_created(one, created.get(one.id)) for one in objects]


def _as_created(one: SchemaObject, created: SchemaObject | None) -> SchemaObject:
    if created is None or created.facts["read_as"] != list(one.create):
        return one
    facts = {name: value if name == "populated" else created.facts[name] for name, value in one.facts.items()}
    return replace(one, create=created.create, facts=facts)


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
