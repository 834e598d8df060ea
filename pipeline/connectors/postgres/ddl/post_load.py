"""After the load: what is better made last (constraints, indexes, sequence values), and what can be checked then.

Each thing is made by itself, so that none holds its locks for longer than it takes. What the rows do not allow, or this
server cannot do, is a violation; nothing is removed for it, and it is tried again the next time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from typing import Any

import psycopg

from pipeline.connectors.postgres.ddl.constraints_out import create_constraints
from pipeline.connectors.postgres.ddl.create_table import Native
from pipeline.connectors.postgres.ddl.ensure_table import postgres_native, run_one
from pipeline.connectors.postgres.ddl.foreign_keys import ALREADY_THERE, broken_keys, make_foreign_key
from pipeline.connectors.postgres.ddl.sequences import raise_row_numbers, raise_sequences
from pipeline.connectors.postgres.session.connection import Connection, qualified, quoted
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import Violation

_ABOUT_THE_STATEMENT = ("0A", "22", "23", "42", "54", "55000")
"""SQLSTATEs, or their classes, that say that something cannot be made; any other is about the server."""


def finish_streams(
    connection: Connection,
    schemas: Sequence[StreamSchema],
    streams: Set[StreamName],
    ours: Set[StreamName],
    as_replica: bool,
) -> list[Violation]:
    """Make and check what concerns these of the Flow's streams, whose `schemas` are given.

    `ours` are those whose tables were empty before the Flow's first load. `as_replica`: foreign keys were not enforced
    while loading.
    """
    wanted = [schema for schema in schemas if schema.stream in streams]
    violations: list[Violation] = []
    for schema in wanted:
        violations += _inherit(connection, schema)
    for schema in wanted:
        violations += _make_constraints(connection, schema)
        if schema.stream in ours:
            violations += _forbid_nulls(connection, schema)
        violations += _raise_sequences(connection, schema)
    tables = {_table(postgres_native(schema)) for schema in wanted}
    for schema in schemas:
        violations += _make_foreign_keys(connection, schema, tables)
    violations += create_constraints(connection, schemas, {schema.stream for schema in wanted})
    if as_replica:
        named = {_table(postgres_native(schema)): schema.stream for schema in schemas}
        violations += broken_keys(connection, tables, named)
    return violations


def _raise_sequences(connection: Connection, schema: StreamSchema) -> Iterator[Violation]:
    try:
        raise_sequences(connection, postgres_native(schema))
        raise_row_numbers(connection, postgres_native(schema))
    except psycopg.errors.InsufficientPrivilege as error:
        yield Violation(
            schema.stream, f"its sequence cannot be brought up to the source's: {error.diag.message_primary}"
        )


def _table(native: Native) -> tuple[str, str]:
    return native["schema"], native["table"]


def _make(connection: Connection, stream: StreamName, what: str, statement: str) -> Iterator[Violation]:
    try:
        run_one(connection, statement)
    except ALREADY_THERE:
        return
    except psycopg.Error as error:
        state = error.sqlstate or ""
        if not state.startswith(_ABOUT_THE_STATEMENT):
            raise
        detail = f"; {error.diag.message_detail}" if error.diag.message_detail else ""
        yield Violation(stream, f"{what} cannot be made: {error.diag.message_primary}{detail}")


def _inherit(connection: Connection, schema: StreamSchema) -> Iterator[Violation]:
    native = postgres_native(schema)
    table = qualified(*_table(native))
    for parent in native.get("inherits", ()):
        there = connection.execute(
            "SELECT FROM pg_inherits WHERE inhrelid = to_regclass(%s) AND inhparent = to_regclass(%s)",
            (table, qualified(*parent)),
        )
        if not there.rowcount:
            statement = f"ALTER TABLE {table} INHERIT {qualified(*parent)}"
            yield from _make(connection, schema.stream, f"the inheritance from {parent[1]}", statement)


def _make_constraints(connection: Connection, schema: StreamSchema) -> Iterator[Violation]:
    native = postgres_native(schema)
    yield from _make_on_table(connection, schema.stream, _table(native), native)
    for partition in native.get("partitions", ()):
        yield from _make_on_table(connection, schema.stream, _table(partition), partition)


def _make_on_table(
    connection: Connection, stream: StreamName, table: tuple[str, str], native: Native
) -> Iterator[Violation]:
    """Make the constraints and indexes that the table lacks: it has none of the name, nor one that says the same."""
    name = qualified(*table)
    present = _present(connection, name)
    has_key = any(text.startswith("PRIMARY KEY") for text in present)
    for constraint in native.get("constraints", ()):
        if has_key and constraint["kind"] == "primary":
            continue
        if present.isdisjoint((constraint["name"], constraint["definition"])):
            statement = f"ALTER TABLE {name} ADD CONSTRAINT {quoted(constraint['name'])} {constraint['definition']}"
            yield from _make(connection, stream, f"the constraint {constraint['name']}", statement)
    for index in native.get("indexes", ()):
        if present.isdisjoint((index["name"], _nameless(index["name"], index["definition"]))):
            yield from _make(connection, stream, f"the index {index['name']}", index["definition"])


def _present(connection: Connection, table: str) -> set[str]:
    """Return the names of the table's constraints and indexes, and what each is but for its name."""
    rows: list[tuple[Any, ...]] = connection.execute(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = to_regclass(%(table)s) UNION ALL "
        "SELECT c.relname, replace(replace(pg_get_indexdef(c.oid), format('INDEX %%I ON ONLY ', c.relname), 'INDEX ON '), "
        "format('INDEX %%I ON ', c.relname), 'INDEX ON ') FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid "
        "WHERE i.indrelid = to_regclass(%(table)s)",
        {"table": table},
    ).fetchall()
    return {text for row in rows for text in row}


def _nameless(name: str, definition: str) -> str:
    return definition.replace(f"INDEX {quoted(name)} ON ", "INDEX ON ", 1).replace(f"INDEX {name} ON ", "INDEX ON ", 1)


def _forbid_nulls(connection: Connection, schema: StreamSchema) -> Iterator[Violation]:
    """Say NOT NULL of columns that could not have it when they were added to a table with rows in it."""
    native = postgres_native(schema)
    table = qualified(*_table(native))
    nullable = {
        row[0]
        for row in connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attnotnull",
            (table,),
        )
    }
    for column in native["columns"]:
        if column.get("not_null") and column["name"] in nullable:
            statement = f"ALTER TABLE {table} ALTER COLUMN {quoted(column['name'])} SET NOT NULL"
            yield from _make(connection, schema.stream, f"NOT NULL of {column['name']}", statement)


def _make_foreign_keys(
    connection: Connection, schema: StreamSchema, tables: set[tuple[str, str]]
) -> Iterator[Violation]:
    """Make the foreign keys from and to these tables."""
    native = postgres_native(schema)
    table = _table(native)
    wanted = [key for key in native.get("foreign_keys", ()) if table in tables or (*key["references"],) in tables]
    if not wanted:
        return
    present = _present(connection, qualified(*table))
    for key in wanted:
        if present.isdisjoint((key["name"], key["definition"])):
            not_made = make_foreign_key(connection, table, key)
            if not_made is not None:
                yield Violation(schema.stream, not_made.reason)
