"""Columns that the pipeline created for an SQLite table, widened for values of other kinds than the declared type says.

No value is altered: integers become numbers, numbers become text, and what text cannot tell apart becomes JSON. In a
column with a number's affinity SQLite has no text that looks like a number, so text loses nothing there. A text column
that has text stays one: to make all of it JSON for a few bytes would help nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set

import psycopg

from pipeline.connectors.postgres.ddl.across.defaults import local_default
from pipeline.connectors.postgres.ddl.across.local_names import LocalNames
from pipeline.connectors.postgres.ddl.create_table import run_single
from pipeline.connectors.postgres.ddl.foreign_keys import read_foreign_keys
from pipeline.connectors.postgres.ddl.mapped_types import SCHEMA, column_type
from pipeline.connectors.postgres.ddl.target_table import TargetColumn, TargetTable, read_table
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import qualified, quoted
from pipeline.domain.ids import StreamName
from pipeline.domain.inventory import Fate, InventoryItem
from pipeline.domain.schema import Column, StreamSchema

HELD: Mapping[str, frozenset[str]] = {
    "bigint": frozenset({"integer"}),
    "boolean": frozenset({"integer"}),
    "double precision": frozenset({"integer", "real"}),
    "numeric": frozenset({"integer", "real"}),
    "text": frozenset({"integer", "real", "text"}),
    "bytea": frozenset({"bytes"}),
}
"""The kinds of values that a column holds, by its type. A column of any other type is not widened."""
_JSON_NUMBER = r"^-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][+-]?[0-9]+)?$"
_IMPOSSIBLE = (psycopg.DataError, psycopg.NotSupportedError, psycopg.ProgrammingError)
_TYPES = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relnamespace = to_regnamespace(%s) AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
"""


ForeignKeyColumns = tuple[str, tuple[str, ...], str]
"""A table, its columns, and the table to which they refer."""


def widen_columns(
    connection: Connection,
    schema: StreamSchema,
    stream: StreamName,
    kinds: Mapping[str, frozenset[str]],
    keys: Callable[[], Set[ForeignKeyColumns]],
) -> Set[str]:
    """Widen columns, in the connection's transaction, to hold values of these kinds too; return those that cannot be.

    `schema` is that of `stream` with the names of the table. A view of the user's may depend on a column's type. The Flow's
    foreign keys, `keys()`, are dropped where they prevent it: the end of the load creates those that fit.
    """
    connection.execute(f"LOCK TABLE {qualified(SCHEMA, schema.stream)}")  # so that types and rows are seen as they are
    table = read_table(connection, SCHEMA, schema.stream, stream)
    columns = {} if table is None else table.columns
    cannot = set()
    for column in schema.columns:
        present = columns.get(column.name)
        if table is None or present is None or column.name not in kinds or present.type not in HELD:
            continue  # another process has widened it to JSON
        before = _stored(connection, table, present)
        type_ = _type_for(column, before, kinds[column.name], is_key=column.name in schema.primary_keys)
        if type_ == present.type and kinds[column.name] <= HELD[type_]:
            continue
        has_affinity = column.type != "bytes"
        value = _converted(present, type_, has_affinity=has_affinity) if before else f"NULL::{type_}"
        is_key = column.name in schema.primary_keys
        if type_ == present.type or not _change(connection, table, column, type_, value, keys, is_key=is_key):
            cannot.add(column.name)
    return cannot


def _stored(connection: Connection, table: TargetTable, column: TargetColumn) -> frozenset[str]:
    """Return the kinds of values that a column has by its type, none if it has no values."""
    row = connection.execute(
        f"SELECT EXISTS (SELECT FROM {table.sql} WHERE {quoted(column.name)} IS NOT NULL)"
    ).fetchone()
    if row != (True,):
        return frozenset()
    own = {"double precision": "real", "text": "text"}.get(column.type)
    return HELD[column.type] if own is None else frozenset({own})


def _change(
    connection: Connection,
    table: TargetTable,
    column: Column,
    type_: str,
    value: str,
    keys: Callable[[], Set[ForeignKeyColumns]],
    *,
    is_key: bool,
) -> bool:
    """Change a column's type; return whether that is possible."""
    alter = f"ALTER TABLE {table.sql} ALTER COLUMN {quoted(column.name)}"
    collation = ' COLLATE "pg_catalog"."C"' if type_ == "text" and is_key else ""
    default = local_default(column.default, type_)
    statements = [f"{alter} DROP DEFAULT", f"{alter} TYPE {type_}{collation} USING {value}"]
    if default is not None:
        statements.append(f"{alter} SET DEFAULT {default}")
    try:
        try:
            _run_together(connection, statements)
        except psycopg.errors.DatatypeMismatch:  # a foreign key needs the type
            _run_together(connection, [*_drop_foreign_keys(connection, table, column.name, keys()), *statements])
    except _IMPOSSIBLE:
        return False
    return True


def _run_together(connection: Connection, statements: Iterable[str]) -> None:
    with connection.transaction():
        for statement in statements:
            run_single(connection, statement)


def _drop_foreign_keys(
    connection: Connection, table: TargetTable, column: str, keys: Set[ForeignKeyColumns]
) -> Iterator[str]:
    """Give the statements that drop those of these foreign keys which use a column."""
    for key in read_foreign_keys(connection, [table.oid]):
        ends = (key.child_name, key.row["columns"]), (key.parent_name, key.row["parent_columns"])
        is_used = any(name == table.sql and column in columns for name, columns in ends)
        if is_used and (key.owner[1], tuple(key.row["columns"]), key.row["parent"]) in keys:
            yield f"ALTER TABLE {key.child_name} DROP CONSTRAINT {quoted(key.name)}"


def _type_for(column: Column, before: Set[str], new: Set[str], *, is_key: bool) -> str:
    """Return the type for a column of an SQLite table with values of the kinds `before` and `new`."""
    kinds = before | new
    has_affinity = column.type != "bytes" and column.native_type != ""
    if kinds == {"bytes"}:
        return "bytea"
    if column.type == "text" and "bytes" not in before:
        return "text"
    if "bytes" in kinds or ("text" in kinds and kinds != {"text"} and not has_affinity):
        return "jsonb" if is_key else "json"
    if "text" in kinds:
        return "text"
    if "real" in kinds:
        return "double precision" if column.type == "real" else "numeric"
    return "bigint"


def _converted(column: TargetColumn, type_: str, *, has_affinity: bool) -> str:
    """Return the SQL of a column's value as the new type. `has_affinity`: SQLite made numbers of texts that are some."""
    name = quoted(column.name)
    texts = {
        "boolean": f"{name}::integer::text",
        "double precision": f"{name}::text || CASE WHEN {name}::text ~ '^-?[0-9]+$' THEN '.0' ELSE '' END",
        "bytea": f"""'{{"$bytes":"' || translate(encode({name}, 'base64'), E'\\n', '') || '"}}'""",
    }
    text = texts.get(column.type, f"{name}::text")
    if not type_.startswith("json"):
        return text if type_ == "text" else f"{f'{name}::integer' if column.type == 'boolean' else name}::{type_}"
    infinite = f"""WHEN {name}::text IN ('Infinity', '-Infinity') THEN
        '{{"$float":"' || CASE WHEN {name}::text LIKE '-%' THEN '-' ELSE '' END || 'inf"}}'"""
    if column.type == "text":
        as_text = f"to_json({name})::text"
        number = f"CASE {infinite} WHEN {name} ~ '{_JSON_NUMBER}' THEN {name} ELSE {as_text} END"
        return f"({number if has_affinity else as_text})::{type_}"
    return f"(CASE {infinite} ELSE {text} END)::{type_}"


def has_types(connection: Connection, table: TargetTable) -> bool:
    """Whether the columns of a table still have these types, which they then keep until the end of the transaction."""
    connection.execute(f"LOCK TABLE {table.sql} IN ROW EXCLUSIVE MODE")
    rows = connection.execute(
        "SELECT attname, atttypid, atttypmod FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped",
        (table.oid,),
    )  # not the names, which depend on the search path
    types = {name: (type_, modifier) for name, type_, modifier in rows.fetchall()}
    return all(types.get(name) == column.exact_type for name, column in table.columns.items())


def widened_columns(
    connection: Connection, names: LocalNames, schemas: Iterable[StreamSchema]
) -> Iterator[InventoryItem]:
    """Give the columns of these streams that have another type here than SQLite's declared one becomes."""
    schemas = [schema for schema in schemas if "sqlite" in schema.native]
    if not schemas:
        return
    types = {(table, column): type_ for table, column, type_ in connection.execute(_TYPES, (SCHEMA,)).fetchall()}
    for schema in schemas:
        table = names.table(schema.stream)
        for column, here in zip(schema.columns, names.columns(schema), strict=True):
            type_ = types.get((table, here))
            if type_ is not None and type_ != column_type(column, is_key=column.name in schema.primary_keys):
                reason = f"it is {type_} here: its values are not what its declared type {column.native_type} says"
                yield InventoryItem("column", f"{schema.stream}.{column.name}", Fate.OTHER_FORM, reason)
