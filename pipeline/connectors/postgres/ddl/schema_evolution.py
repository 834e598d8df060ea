"""Columns whose type has changed at the source: the destination's column gets the new type if PostgreSQL can cast it.

The export of the change sends the rows whose values it altered. All others have the same text as before, so a cast by
text is right where no cast from type to type exists. A table that had rows before the first load keeps its types.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from pipeline.connectors.postgres.ddl.create_table import Native, run_single
from pipeline.connectors.postgres.ddl.target_table import TargetTable
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.postgres.session.errors import server_message
from pipeline.connectors.sql.identifiers import quoted
from pipeline.domain.errors import ConfigurationError

_NO_CAST = (psycopg.errors.CannotCoerce, psycopg.errors.DatatypeMismatch)
_IMPOSSIBLE = (psycopg.DataError, psycopg.IntegrityError, psycopg.NotSupportedError, psycopg.ProgrammingError)
"""A value cannot be cast, or something depends on the column: a view, a foreign key, a constraint, a partition key."""


def evolve_column_types(connection: Connection, table: TargetTable, before: Native, now: Native, stream: str) -> None:
    """Change the types of columns that differ between the descriptions `before` and `now`, in the transaction.

    ConfigurationError, with nothing changed, when that is impossible.
    """
    former = {column["name"]: _declared(column) for column in before["columns"]}
    for column in now["columns"]:
        present = table.columns.get(column["name"])
        if present is None or present.generated or present.inherited or column.get("generated"):
            continue
        was = former.get(column["name"])
        if was is not None and was != _declared(column) and present.type != column["type"]:
            _change_type(connection, table, column, present.type, stream)


def _declared(column: Native) -> tuple[str, str | None]:
    return column["type"], column.get("collation")


def _change_type(connection: Connection, table: TargetTable, column: Native, was: str, stream: str) -> None:
    name = quoted(column["name"])
    try:
        try:
            _run(connection, _statements(table, column, f"{name}::{column['type']}"))
        except _NO_CAST:
            _run(connection, _statements(table, column, f"{name}::text::{column['type']}"))
    except psycopg.errors.InsufficientPrivilege:
        raise
    except _IMPOSSIBLE as error:
        raise ConfigurationError(
            f"Column {column['name']} of stream {stream} has become {column['type']} at the source, but the column of the "
            f"destination's table {table.sql} cannot be changed from {was} (PostgreSQL: {server_message(error)}). Drop what "
            f"depends on it, change it with ALTER TABLE {table.sql} ALTER COLUMN {name} TYPE {column['type']} USING …, and "
            "move again"
        ) from error


def _run(connection: Connection, statements: Sequence[str]) -> None:
    """Run all statements, or none of them."""
    with connection.transaction():
        for statement in statements:
            run_single(connection, statement)


def _statements(table: TargetTable, column: Native, value: str) -> list[str]:
    """Return what changes the type. The default is dropped first: it may have no cast to the new type."""
    alter = f"ALTER TABLE {table.sql} ALTER COLUMN {quoted(column['name'])}"
    collation = f" COLLATE {column['collation']}" if column.get("collation") else ""
    statements = [f"{alter} TYPE {column['type']}{collation} USING {value}"]
    if not column.get("identity"):
        statements.insert(0, f"{alter} DROP DEFAULT")
        if column.get("default") is not None:
            statements.append(f"{alter} SET DEFAULT {column['default']}")
    return statements
