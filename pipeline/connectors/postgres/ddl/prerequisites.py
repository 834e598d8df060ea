"""What a table needs before it can be created: schemas, extensions, collations, functions and types."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial

import psycopg

from pipeline.connectors.postgres.ddl.create_table import Native, label_statements, run_single
from pipeline.connectors.postgres.ddl.evolution.types import TypeEvolution, rename_range
from pipeline.connectors.postgres.schema.catalog_types import described_type
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import qualified, quoted
from pipeline.connectors.sql.schema_objects import ObjectId

ReadObjects = Callable[[], Collection[ObjectId]]
_LOOKUP = {"function": "to_regprocedure", "collation": "to_regcollation"}


def create_prerequisites(
    connection: Connection, native: Native, before: Native, objects: ReadObjects, tables: Callable[[], Collection[str]]
) -> None:
    """Create what is missing, and change types that are as the description `before` says, in the connection's transaction.

    `objects` returns the schema objects that the Flow has created, `tables` as SQL the tables whose rows are all its own.

    An object that depends on a later one is tried again for as long as anything succeeds. What cannot be created is left
    to the statement that needs it, whose error names it.
    """
    left = list(_steps(connection, native, before, objects, tables))
    while left:
        failed = []
        for step in left:
            try:
                with connection.transaction():
                    step()
            except psycopg.DatabaseError as error:
                if error.sqlstate is None:  # the connection is lost
                    raise
                failed.append(step)
        if len(failed) == len(left):
            return
        left = failed


def _steps(
    connection: Connection, native: Native, before: Native, objects: ReadObjects, tables: Callable[[], Collection[str]]
) -> Iterator[Callable[[], None]]:
    """Yield a step for each object. IF NOT EXISTS alone would need the privilege to create what exists."""
    needed = native.get("schemas", ())
    schemas = {row[0] for row in connection.execute("SELECT nspname FROM pg_namespace")} if needed else set()
    for schema in needed:
        if schema not in schemas:
            yield partial(run_single, connection, f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
    needs = native.get("needs", ())
    wanted = {need["name"]: need["schema"] for need in needs if need["kind"] == "extension"}
    wanted = {**dict.fromkeys(native.get("extensions", ()), "public"), **wanted}
    query = "SELECT extname::text, nspname::text FROM pg_extension JOIN pg_namespace AS n ON n.oid = extnamespace"
    extensions: dict[str, str] = dict(connection.execute(query).fetchall()) if wanted else {}
    for extension, schema in wanted.items():
        if extension in extensions and schema != extensions[extension] and ("extension", extension) in objects():
            yield partial(run_single, connection, f"ALTER EXTENSION {quoted(extension)} SET SCHEMA {quoted(schema)}")
        elif extension not in extensions:
            statement = f"CREATE EXTENSION IF NOT EXISTS {quoted(extension)} SCHEMA {quoted(schema)}"
            yield partial(run_single, connection, statement)
    for need in needs:
        if need["kind"] in _LOOKUP:
            yield partial(_create_object, connection, need)
    former = {(type_["schema"], type_["name"]): type_ for type_ in before.get("types", ())}
    for described in native.get("types", ()):
        name = described["schema"], described["name"]
        evolution = TypeEvolution(connection, objects(), tables=tables)
        yield partial(_ensure_type, evolution, described, former.get(name))


def _create_object(connection: Connection, need: Native) -> None:
    if connection.execute(f"SELECT {_LOOKUP[need['kind']]}(%s)", (need["name"],)).fetchone() == (None,):
        connection.execute("SET LOCAL check_function_bodies = off")
        run_single(connection, need["create"])


def _ensure_type(evolution: TypeEvolution, described: Native, former: Native | None) -> None:
    """Create a type. One that is as `former` says follows the source; another enum gets the labels that it lacks."""
    connection, name = evolution.connection, qualified(described["schema"], described["name"])
    labels = _labels(connection, name)
    if labels is None:
        if described["create"] is not None and not rename_range(connection, described, evolution.ours):
            run_single(connection, described["create"])
    elif former is not None and former["create"] != described["create"]:
        present = described_type(connection, name)
        if present is not None and present["create"] == former["create"]:
            evolution.follow(described)
    elif described["kind"] == "enum":
        for statement in label_statements(described["labels"], labels, name):
            run_single(connection, statement)


def _labels(connection: Connection, name: str) -> Sequence[str] | None:
    """Return the labels of an enum type, none for another type; None when there is no type of this name."""
    row = connection.execute(
        "SELECT ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder) "
        "FROM pg_type AS t WHERE t.oid = to_regtype(%s)",
        (name,),
    ).fetchone()
    return None if row is None else list(row[0])
