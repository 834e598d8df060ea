"""The table of a stream, before its first record: created with what it needs, or extended to the stream's columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import psycopg

from pipeline.codec.event_files.constraints import constraints_of
from pipeline.connectors.postgres.ddl.create_table import (
    Native,
    column_definition,
    name_of,
    partition_statements,
    run_single,
    sequence_statements,
    table_statements,
)
from pipeline.connectors.postgres.ddl.mapped_types import mapped_table
from pipeline.connectors.postgres.ddl.prerequisites import create_prerequisites
from pipeline.connectors.postgres.ddl.schema_evolution import evolve_column_types
from pipeline.connectors.postgres.ddl.target_table import TargetTable, read_table
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import qualified, quoted, quoted_list
from pipeline.domain.errors import ConfigurationError, DefectError
from pipeline.domain.schema import StreamSchema


def postgres_native(schema: StreamSchema) -> Native:
    """Return a PostgreSQL source's description of the stream's table, or the one that another source's maps to."""
    native = schema.native.get("postgresql")
    return native if isinstance(native, Mapping) else mapped_table(schema)


def ensure_table(
    connection: Connection, schema: StreamSchema, before: StreamSchema | None = None
) -> tuple[TargetTable, bool]:
    """Create or extend the stream's table in the connection's transaction; return it, and whether it had no rows.

    With `before`, the stream's previous schema, columns take over changed types. A column that may not be added for want
    of a privilege is left out. ConfigurationError when an existing table does not fit.
    """
    native = postgres_native(schema)
    _check_description(native, schema)
    constraints_of(schema)  # unreadable ones are an error of this file, not of the end of the Movement
    table = read_table(connection, *name_of(native), schema.stream)
    create_prerequisites(connection, native)
    if table is None:
        _create(connection, native)
        was_empty = True
    else:
        was_empty = connection.execute(f"SELECT NOT EXISTS (SELECT FROM {table.sql})").fetchone() == (True,)
        added = [column for column in native["columns"] if column["name"] not in table.columns]
        for column in added:
            _add_column(connection, table, column, native)
        if native.get("row_key") is None and {column["name"] for column in added} & set(schema.primary_keys):
            _index_key(connection, table, schema.primary_keys)
        if before is not None:
            evolve_column_types(connection, table, postgres_native(before), native, schema.stream)
        _add_partitions(connection, native)
    table = read_table(connection, *name_of(native), schema.stream)
    if table is None:
        raise DefectError(f"The table of stream {schema.stream} is missing after it was created")
    return table, was_empty


def _check_description(native: Native, schema: StreamSchema) -> None:
    try:
        names = {column["name"] for column in native["columns"]}
        is_complete = all(isinstance(name, str) for name in name_of(native))
    except (KeyError, TypeError):
        names, is_complete = set(), False
    row_key = native.get("row_key") or {}
    hidden = {row_key.get("row"), row_key.get("dup")}
    if not is_complete or not set(schema.column_names) - hidden <= names:
        raise ConfigurationError(
            f"Stream {schema.stream} cannot be loaded: its description of the table is incomplete; export it again"
        )


def _create(connection: Connection, native: Native) -> None:
    """Create the table; without a default that cannot be created. It is not tried again (docs/reference/known-gaps.md)."""
    version = connection.info.server_version
    try:
        with connection.transaction():
            return _run_all(connection, table_statements(native, version))
    except (psycopg.errors.UndefinedFunction, psycopg.errors.UndefinedObject, psycopg.errors.InvalidSchemaName):
        plain = {**native, "columns": [{**column, "default": None} for column in native["columns"]]}
        _run_all(connection, table_statements(plain, version))
    return create_defaults(connection, native)


def create_defaults(connection: Connection, native: Native) -> None:
    """Set the defaults of columns that have one at the source and none here, as far as they can be set."""
    table = qualified(*name_of(native))
    for column in native["columns"]:
        if column.get("default") is not None and not column.get("generated"):
            with suppress(psycopg.Error), connection.transaction():
                name = quoted(column["name"])
                run_single(connection, f"ALTER TABLE {table} ALTER COLUMN {name} SET DEFAULT {column['default']}")


def _run_all(connection: Connection, statements: Iterable[str]) -> None:
    for statement in statements:
        run_single(connection, statement)


def _add_column(connection: Connection, table: TargetTable, column: Native, native: Native) -> None:
    """Add a new column. Existing rows get NULL, not its default: their values come as upserts."""
    plain = {**column, "default": None, "not_null": False}
    definition = column_definition(plain, native, connection.info.server_version)
    statements = [*sequence_statements(native), f"ALTER TABLE {table.sql} ADD COLUMN {definition}"]
    if column.get("default") is not None:
        name = quoted(column["name"])
        statements.append(f"ALTER TABLE {table.sql} ALTER COLUMN {name} SET DEFAULT {column['default']}")
    try:
        with connection.transaction():
            _run_all(connection, statements)
    except psycopg.errors.InsufficientPrivilege:
        return


def _index_key(connection: Connection, table: TargetTable, key: Sequence[str]) -> None:
    """Create a unique index on a key of which the table had no column: SQLite's number of a row, for example."""
    with suppress(psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedColumn), connection.transaction():
        run_single(connection, f"CREATE UNIQUE INDEX ON {table.sql} ({quoted_list(key)})")


def _add_partitions(connection: Connection, native: Native) -> None:
    """Create new partitions."""
    for partition, statement in zip(native.get("partitions", ()), partition_statements(native), strict=True):
        if connection.execute("SELECT to_regclass(%s)", (qualified(*name_of(partition)),)).fetchone() == (None,):
            run_single(connection, statement)
