"""Columns that have got another type at the source: the table takes it over where PostgreSQL can cast what is there.

Rows whose values the change has altered come in Event Files; all others have the same text as before, so that a cast by
text is right for them where there is no cast from type to type. A table that held rows before the first load is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from pipeline.connectors.postgres.ddl.create_table import Native
from pipeline.connectors.postgres.ddl.target_table import TargetTable
from pipeline.connectors.postgres.schema.catalog_types import fetch
from pipeline.connectors.postgres.session.connection import Connection, quoted
from pipeline.domain.errors import ConfigurationError

_TYPES = """
SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, a.attgenerated <> '' AS generated,
       a.attinhcount > 0 AS inherited
FROM pg_attribute AS a WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
"""
_NO_CAST = (psycopg.errors.CannotCoerce, psycopg.errors.DatatypeMismatch)
_CANNOT = (psycopg.DataError, psycopg.IntegrityError, psycopg.NotSupportedError, psycopg.ProgrammingError)
"""What cannot be cast, and what stands on the column: a view, a foreign key, a constraint, the key of a partition."""


def evolve_column_types(connection: Connection, table: TargetTable, before: Native, now: Native, stream: str) -> None:
    """Change the types of columns that `now` declares otherwise than `before`, in the connection's transaction.

    ConfigurationError, with nothing changed, when that cannot be.
    """
    former = {column["name"]: _declared(column) for column in before["columns"]}
    present = {row["name"]: row for row in fetch(connection, _TYPES, (table.oid,))}
    for column in now["columns"]:
        there = present.get(column["name"])
        was = former.get(column["name"])
        if there is None or there["generated"] or there["inherited"] or column.get("generated"):
            continue  # an inherited column changes with its parent's
        if was is not None and was != _declared(column) and there["type"] != column["type"]:
            _change(connection, table, column, there["type"], stream)


def _declared(column: Mapping[str, Any]) -> tuple[str, str | None]:
    return column["type"], column.get("collation")


def _change(connection: Connection, table: TargetTable, column: Mapping[str, Any], was: str, stream: str) -> None:
    name = quoted(column["name"])
    try:
        try:
            _run(connection, _statements(table, column, f"{name}::{column['type']}"))
        except _NO_CAST:
            _run(connection, _statements(table, column, f"{name}::text::{column['type']}"))
    except psycopg.errors.InsufficientPrivilege:
        raise
    except _CANNOT as error:
        raise ConfigurationError(_refusal(table, column, was, stream, error)) from error


def _run(connection: Connection, statements: Sequence[str]) -> None:
    """Run statements, or none of them. Each goes by itself: parts of them come from an Event File."""
    with connection.transaction():
        for statement in statements:
            connection.execute(statement, binary=True)


def _statements(table: TargetTable, column: Mapping[str, Any], value: str) -> list[str]:
    """Return what changes the type. The default goes first: it need not have a cast of its own."""
    alter = f"ALTER TABLE {table.sql} ALTER COLUMN {quoted(column['name'])}"
    collation = f" COLLATE {column['collation']}" if column.get("collation") else ""
    statements = [f"{alter} TYPE {column['type']}{collation} USING {value}"]
    if not column.get("identity"):
        statements.insert(0, f"{alter} DROP DEFAULT")
        if column.get("default") is not None:
            statements.append(f"{alter} SET DEFAULT {column['default']}")
    return statements


def _refusal(table: TargetTable, column: Mapping[str, Any], was: str, stream: str, error: psycopg.Error) -> str:
    words = "; ".join(part for part in (error.diag.message_primary, error.diag.message_detail) if part) or str(error)
    return (
        f"Column {column['name']} of stream {stream} has become {column['type']} at the source, and that of the destination's "
        f"table {table.sql} cannot follow from {was} (PostgreSQL: {words}). Change it there, ALTER TABLE {table.sql} ALTER "
        f"COLUMN {quoted(column['name'])} TYPE {column['type']} USING …, after dropping what stands on it, and move again"
    )
