"""The table of a stream, before the first record: found, or made with what it needs, or widened by columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import psycopg

from pipeline.codec.event_files.constraints import constraints_of
from pipeline.connectors.postgres.ddl import create_table as declare
from pipeline.connectors.postgres.ddl.create_table import Native
from pipeline.connectors.postgres.ddl.mapped_types import described
from pipeline.connectors.postgres.ddl.schema_evolution import evolve_column_types
from pipeline.connectors.postgres.ddl.target_table import TargetTable, read_table
from pipeline.connectors.postgres.session.connection import Connection, qualified, quoted
from pipeline.domain.errors import ConfigurationError, DefectError
from pipeline.domain.schema import StreamSchema


def postgres_native(schema: StreamSchema) -> Native:
    """Return what a PostgreSQL source says about the stream, or what is made of another source's."""
    native = schema.native.get("postgresql")
    return native if isinstance(native, Mapping) else described(schema)


def ensure_table(
    connection: Connection, schema: StreamSchema, before: StreamSchema | None = None
) -> tuple[TargetTable, bool]:
    """Return the stream's table, made or changed as needed, and whether it was made or found empty.

    `before` is what the stream looked like before, where the table is to follow. ConfigurationError when an existing one
    does not fit. A column that may not be added for want of a privilege is left out. Works in the connection's transaction.
    """
    native = postgres_native(schema)
    _check_shape(native, schema)
    constraints_of(schema)  # what cannot be read is an error of this file, not of the end of the Movement
    table = read_table(connection, native["schema"], native["table"], schema.stream)
    if table is None:
        _create(connection, native)
        is_ours = True
    else:
        is_ours = connection.execute(f"SELECT NOT EXISTS (SELECT FROM {table.sql})").fetchone() == (True,)
        _make_types(connection, native)
        for column in native["columns"]:
            if column["name"] not in table.columns:
                _add_column(connection, table, column, native)
        if before is not None:
            evolve_column_types(connection, table, postgres_native(before), native, schema.stream)
        _add_partitions(connection, native)
    table = read_table(connection, native["schema"], native["table"], schema.stream)
    if table is None:
        raise DefectError(f"The table of stream {schema.stream} is not there after it was made")
    return table, is_ours


def run_one(connection: Connection, statement: str) -> None:
    """Run a statement from an Event File by the extended protocol, which takes one statement and no more."""
    connection.execute(statement, binary=True)


def _check_shape(native: Native, schema: StreamSchema) -> None:
    try:
        names = {column["name"] for column in native["columns"]}
        is_whole = isinstance(native["schema"], str) and isinstance(native["table"], str)
    except (KeyError, TypeError):
        names, is_whole = set(), False
    row_key = native.get("row_key") or {}
    hidden = {row_key.get("row"), row_key.get("dup")}
    if not is_whole or not set(schema.column_names) - hidden <= names:
        raise ConfigurationError(
            f"Stream {schema.stream} cannot be loaded: its description of the table is incomplete; export it anew"
        )


def _create(connection: Connection, native: Native) -> None:
    _make_types(connection, native)
    _run_all(connection, declare.sequences(native))
    _run_all(connection, declare.create_table(native, connection.info.server_version))
    _run_all(connection, declare.owned_sequences(native))


def _add_partitions(connection: Connection, native: Native) -> None:
    """Make the partitions that have appeared."""
    for partition, statement in zip(native.get("partitions", ()), declare.partitions(native), strict=True):
        name = qualified(partition["schema"], partition["table"])
        if connection.execute("SELECT to_regclass(%s)", (name,)).fetchone() == (None,):
            run_one(connection, statement)


def _run_all(connection: Connection, statements: Iterable[str]) -> None:
    for statement in statements:
        run_one(connection, statement)


def _make_types(connection: Connection, native: Native) -> None:
    for statement, there in _with_presence(connection, native):
        if not there:
            run_one(connection, statement)
    for made in native.get("types", ()):
        name = qualified(made["schema"], made["name"])
        labels = _labels(connection, name)
        if labels is None:
            if made["create"] is not None:
                run_one(connection, made["create"])
        elif made["kind"] == "enum":
            _run_all(connection, declare.missing_labels(made["labels"], labels, name))


def _with_presence(connection: Connection, native: Native) -> list[tuple[str, bool]]:
    """Return the statements for schemas and extensions, and whether they can be left out: IF NOT EXISTS asks for privileges."""
    schemas = {row[0] for row in connection.execute("SELECT nspname FROM pg_namespace")}
    extensions = {row[0] for row in connection.execute("SELECT extname FROM pg_extension")}
    is_needed = not (set(native.get("schemas", ())) <= schemas and set(native.get("extensions", ())) <= extensions)
    return [(statement, not is_needed) for statement in declare.prerequisites(native)]


def _labels(connection: Connection, name: str) -> Sequence[str] | None:
    """Return the labels of an enum type, none for another type; None when there is no type of this name."""
    row = connection.execute(
        "SELECT ARRAY(SELECT enumlabel::text FROM pg_enum WHERE enumtypid = t.oid ORDER BY enumsortorder) "
        "FROM pg_type AS t WHERE t.oid = to_regtype(%s)",
        (name,),
    ).fetchone()
    return None if row is None else list(row[0])


def _add_column(connection: Connection, table: TargetTable, column: Mapping[str, Any], native: Native) -> None:
    """Add a column that has appeared. The rows there get NULL, not its default: what they hold will come as upserts."""
    plain = {**column, "default": None, "not_null": False}
    definition = declare.column_definition(plain, native, connection.info.server_version)
    try:
        with connection.transaction():
            _run_all(connection, declare.sequences(native))
            run_one(connection, f"ALTER TABLE {table.sql} ADD COLUMN {definition}")
            if column.get("default") is not None:
                name = quoted(column["name"])
                run_one(connection, f"ALTER TABLE {table.sql} ALTER COLUMN {name} SET DEFAULT {column['default']}")
    except psycopg.errors.InsufficientPrivilege:
        return
