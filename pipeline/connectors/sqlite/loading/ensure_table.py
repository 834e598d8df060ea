"""Finding, creating or widening the table of a stream before its first record."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import count

import apsw

from pipeline.codec.event_files.constraints import constraints_of
from pipeline.connectors.sql.identifiers import quoted, quoted_list
from pipeline.connectors.sqlite.app_code import is_of_the_app, run_with_functions
from pipeline.connectors.sqlite.loading.constraints_out import foreign_key_clauses, local_default
from pipeline.connectors.sqlite.loading.target import Target
from pipeline.connectors.sqlite.schema.indexes import TableIndex, read_indexes
from pipeline.connectors.sqlite.schema.statements import AppCodeError, check_create_index, check_create_table
from pipeline.connectors.sqlite.schema.streams import sqlite_native
from pipeline.connectors.sqlite.schema.tables import Table, create_sql, encoding_of, folded, is_reserved, read_table
from pipeline.connectors.sqlite.schema.tokens import stored_columns_in
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.schema import Column, StreamSchema

_AS_TEXT = ("decimal", "json", "timestamp", "timestamptz", "date", "time", "timetz", "uuid")
_TYPES = {
    "integer": "INTEGER",
    "real": "REAL",
    "bytes": "BLOB",
    "boolean": "BOOLEAN",
    **dict.fromkeys(("text", "varchar", "interval", "array"), "TEXT"),
    **{name: f"{name.upper()} TEXT" for name in _AS_TEXT},
}
"""Declared types for streams of other technologies. Any other type gets none: such a column keeps each value as it is.

Text must stay text: a column declared DECIMAL would make a number of '1.10'. TEXT in the type's name prevents it
(https://www.sqlite.org/datatype3.html, section 3.1), except beside INT, which INTERVAL contains.
"""

_TYPE_WORDS = re.compile(r"[A-Za-z_][A-Za-z0-9_ ]*(\(\s*[+-]?\d+\s*(,\s*[+-]?\d+\s*)?\))?")
_LITERAL = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?|'([^']|'')*'|[xX]'([0-9A-Fa-f]{2})*'|NULL|TRUE|FALSE", re.I)


def ensure_own_names(connection: apsw.Connection, schema: StreamSchema) -> None:
    """ConfigurationError when SQLite holds the stream's table or columns to be those of another name."""
    _ensure_different_names(schema)
    _existing_table(connection, schema.stream)


def ensure_table(connection: apsw.Connection, schema: StreamSchema) -> Target:
    """Return the stream's table, created or widened as needed; ConfigurationError when an existing one does not fit."""
    native = sqlite_native(schema)
    _ensure_different_names(schema)
    constraints_of(schema)  # reports what cannot be read as an error of this file, not at the end of the Movement
    table = _existing_table(connection, schema.stream)
    if table is None:
        run_with_functions(connection, create_statement(schema))
        table = read_table(connection, schema.stream)
    else:
        _accept_app_code(connection, table)
    hidden = _hidden_rowid(connection, table, schema, native)
    present = {folded(column.name) for column in table.columns}
    missing = [column for column in schema.columns if column.name != hidden and folded(column.name) not in present]
    if missing:
        for column in missing:
            _add_column(connection, table, column)
        if not {column.name for column in missing}.isdisjoint(schema.primary_keys):
            _index_key(connection, table, schema.primary_keys)
        table = read_table(connection, schema.stream)
    generated = {folded(column.name) for column in table.columns if column.generated}
    skipped = tuple(name for name in schema.column_names if name != hidden and folded(name) in generated)
    columns = tuple(name for name in schema.column_names if name not in skipped)
    conflict, constant = _unique_key(connection, table, schema.primary_keys, hidden)
    return Target(
        table=table,
        columns=columns,
        key=schema.primary_keys,
        conflict=conflict,
        constant=constant,
        skipped=skipped,
        covers_table={folded(c.name) for c in table.data_columns} <= {folded(name) for name in columns},
        encoding=encoding_of(connection),
        source_encoding=str(native.get("encoding", "UTF-8")),
        numeric=dict(_numeric(table, schema)),
    )


def _numeric(table: Table, schema: StreamSchema) -> Iterator[tuple[str, str]]:
    """Give the columns whose affinity may change values of the source; not those that are declared as they are there."""
    affinities = {folded(column.name): (column.affinity, column.declared_type) for column in table.columns}
    for column in schema.columns:
        affinity, declared = affinities.get(folded(column.name), ("", ""))
        is_same = bool(sqlite_native(schema)) and column.native_type.upper() == declared.upper()
        fits = column.type in ("boolean", "real") or (column.type == "integer" and affinity != "real")
        if affinity in ("integer", "real", "numeric") and not is_same and not fits:
            yield column.name, affinity


def _ensure_different_names(schema: StreamSchema) -> None:
    names: dict[bytes, str] = {}
    for name in schema.column_names:
        other = names.setdefault(folded(name), name)
        if other != name:
            raise ConfigurationError(
                f"Stream {schema.stream} cannot be loaded: SQLite holds its columns {other} and {name} to be one; rename "
                "one of them, or leave the stream out with --exclude"
            )


def _existing_table(connection: apsw.Connection, name: str) -> Table | None:
    if is_reserved(name):
        raise ConfigurationError(f"Stream {name} cannot be loaded: the name is reserved; leave it out with --exclude")
    query = "SELECT name, type FROM pragma_table_list(?) WHERE schema = 'main'"  # it compares names as SQLite does
    for found, kind in connection.execute(query, (name,)).fetchall():
        if _belongs_to_another(connection, name):
            raise ConfigurationError(
                f"Stream {name} cannot be loaded: SQLite holds its table and {found}, which is that of another stream, to be "
                "one; rename one of them at the source, or leave one out with --exclude"
            )
        if kind not in ("table", "shadow"):
            raise ConfigurationError(
                f"Stream {name} cannot be loaded: the destination has a {kind} {found} in its place; rename that, "
                "or leave the stream out with --exclude"
            )
        return read_table(connection, str(found))
    return None


def _belongs_to_another(connection: apsw.Connection, name: str) -> bool:
    """Whether a table that SQLite holds to be `name` is that of a stream whose name differs in case."""
    if not connection.table_exists("main", "_pipeline_streams"):
        return False
    query = "SELECT 1 FROM _pipeline_streams WHERE stream <> ?1 AND stream = ?1 COLLATE NOCASE"
    return bool(connection.execute(query, (name,)).fetchall())


def _accept_app_code(connection: apsw.Connection, table: Table) -> None:
    """Let a table be written to whose CHECK constraints or generated columns call functions of the app.

    ConfigurationError when one of its indexes is in an order that only the app can keep.
    """
    create = create_sql(connection, table.name) or ""
    if any(column.generated for column in table.columns) and (
        stored_columns_in(check_create_table(create, table.name)) < stored_columns_in(create)
    ):
        raise ConfigurationError(
            f"Table {table.name} of the destination cannot be written to: a stored generated column of it calls a function "
            "that only the app knows; make the column a virtual one, or leave the stream out with --exclude"
        )
    run_with_functions(connection, f"EXPLAIN INSERT INTO main.{quoted(table.name)} DEFAULT VALUES")
    for index in read_indexes(connection, table.name):
        needs = next((term.collation for term in index.terms if is_of_the_app(term.collation)), None)
        if needs is None and _computes(index, table):
            needs = _function_needed(connection, table, index)
        if needs is not None:
            raise ConfigurationError(
                f"Table {table.name} of the destination cannot be written to: the index {index.name} needs {needs}, which "
                "only the app knows; drop the index, and let the app create it again after the move"
            )


def _computes(index: TableIndex, table: Table) -> bool:
    generated = {column.name for column in table.columns if column.generated}
    return index.partial or index.columns is None or not generated.isdisjoint(index.columns)


def _function_needed(connection: apsw.Connection, table: Table, index: TableIndex) -> str | None:
    statement = connection.execute("SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?", (index.name,)).get
    try:
        check_create_index(statement, table.name, create_sql(connection, table.name) or "")
    except AppCodeError as error:
        return error.needs
    except ConfigurationError:  # no statement: the index of a UNIQUE constraint
        return None
    return None


def create_statement(schema: StreamSchema) -> str:
    """Return the statement that creates the stream's table; ConfigurationError when the source's own cannot be used."""
    native = sqlite_native(schema)
    if native:
        return check_create_table(native.get("create_table"), schema.stream)
    columns = [
        f"{quoted(column.name)} {_TYPES.get(column.type, '')}"
        f"{'' if column.nullable and column.name not in schema.primary_keys else ' NOT NULL'}"
        f"{'' if (default := local_default(column)) is None else f' DEFAULT {default}'}"
        for column in schema.columns
    ]
    key = f"PRIMARY KEY ({quoted_list(schema.primary_keys)})"
    return f"CREATE TABLE {quoted(schema.stream)} ({', '.join([*columns, key, *foreign_key_clauses(schema)])})"


def _hidden_rowid(
    connection: apsw.Connection, table: Table, schema: StreamSchema, native: Mapping[str, object]
) -> str | None:
    """Return the column of the stream that is the table's hidden row number, if there is one."""
    name = native.get("rowid")
    if not isinstance(name, str):
        return None
    if not table.has_rowid and schema.primary_keys == (name,):
        return None  # a table without row numbers gets a column for those of the source
    _ensure_own_numbers(connection, table, schema.stream)
    if table.rowid != name or schema.primary_keys != (name,):
        raise ConfigurationError(
            f"Table {table.name} of the destination cannot hold this stream: the key of its rows is their {name}, which "
            "the table does not have; drop or rename that table"
        )
    return name


def _ensure_own_numbers(connection: apsw.Connection, table: Table, stream: str) -> None:
    """ConfigurationError before the first load if the app made rows here: their numbers say nothing about the source's."""
    if not table.key_is_never_null or not connection.execute(f"SELECT 1 FROM main.{quoted(table.name)} LIMIT 1").get:
        return
    known = "SELECT 1 FROM _pipeline_streams WHERE stream = ?"
    if not connection.table_exists("main", "_pipeline_streams") or not connection.execute(known, (stream,)).get:
        raise ConfigurationError(
            f"Table {table.name} of the destination has rows already, and the source identifies its rows by their number, "
            "since their key may be NULL there, so these would be overwritten; empty the table, or leave the stream out "
            "with --exclude"
        )


def _add_column(connection: apsw.Connection, table: Table, column: Column) -> None:
    """Add a column, as near to its declaration as ALTER TABLE allows.

    SQLite cannot add NOT NULL without a default that is not NULL, nor a default that is not a constant
    (https://www.sqlite.org/lang_altertable.html); these are left out, as are keys and UNIQUE.
    """
    declared = column.native_type if _TYPE_WORDS.fullmatch(column.native_type) else _TYPES.get(column.type, "")
    if table.strict and declared.upper() not in ("INT", "INTEGER", "REAL", "TEXT", "BLOB", "ANY"):
        declared = "ANY"
    default = ""
    if column.default is not None and _LITERAL.fullmatch(column.default):
        default = f" DEFAULT {column.default}"
        if not column.nullable and column.default.upper() != "NULL":
            default += " NOT NULL"
    statement = f"ALTER TABLE main.{quoted(table.name)} ADD COLUMN {quoted(column.name)} {declared}{default}"
    connection.execute(statement).fetchall()


def _index_key(connection: apsw.Connection, table: Table, key: tuple[str, ...]) -> None:
    """Create a unique index on a key of which the table had no column."""
    taken = connection.execute("SELECT name FROM sqlite_schema").fetchall()
    names = {folded(str(name)) for (name,) in taken}
    free = next(name for number in count(1) if folded(name := f"{table.name}_key_{number}") not in names)
    statement = f"CREATE UNIQUE INDEX main.{quoted(free)} ON {quoted(table.name)} ({quoted_list(key)})"
    connection.execute(statement).fetchall()


def _unique_key(
    connection: apsw.Connection, table: Table, key: tuple[str, ...], hidden: str | None
) -> tuple[str, frozenset[str]]:
    """Return the terms of the unique index on the key, and the columns of the key in which equal means identical.

    These are row numbers, and text that the index compares byte by byte, whatever the collation of the column is. Numbers
    are not among them: 1 and 1.0 are equal keys and different values. ConfigurationError when the table has no such index.
    """
    if hidden is not None or (table.rowid_column is not None and [*map(folded, key)] == [folded(table.rowid_column)]):
        return quoted(key[0]), frozenset(key)
    wanted = {folded(name) for name in key}
    texts = {folded(c.name) for c in table.columns if c.affinity == "text" and c.collation == "BINARY"}
    for index in sorted(read_indexes(connection, table.name), key=lambda index: index.origin != "pk"):
        columns = index.columns or ()
        if index.unique and not index.partial and set(map(folded, columns)) == wanted:
            terms = list(zip(columns, index.terms, strict=True))
            binary = {folded(name) for name, term in terms if term.collation.upper() == "BINARY"} & texts
            if table.rowid_column is not None:
                binary.add(folded(table.rowid_column))
            conflict = ", ".join(f"{quoted(name)} COLLATE {quoted(term.collation)}" for name, term in terms)
            return conflict, frozenset(name for name in key if folded(name) in binary)
    names = quoted_list(key)
    raise ConfigurationError(
        f"Table {table.name} of the destination has no unique index on the stream's key ({names}), so rows could be "
        f"duplicated; make one: CREATE UNIQUE INDEX {quoted(table.name + '_key')} ON {quoted(table.name)} ({names})"
    )
