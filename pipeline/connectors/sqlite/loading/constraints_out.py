"""Constraints and defaults of streams from other technologies as SQLite writes them, and those that a table has already."""

from __future__ import annotations

import re
from collections.abc import Iterator

import apsw

from pipeline.codec.event_files.constraints import constraints_of
from pipeline.connectors.sql.constraints import (
    foreign_key_clause,
    index_name,
    index_terms,
    is_default,
    missing_default,
)
from pipeline.connectors.sql.identifiers import quoted
from pipeline.connectors.sqlite.schema.indexes import read_foreign_keys, read_indexes
from pipeline.connectors.sqlite.schema.tables import create_sql, folded, read_table
from pipeline.connectors.sqlite.schema.tokens import checks_in
from pipeline.domain.constraints import ForeignKey, Index, UnsupportedConstraint
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import Column, StreamSchema

_LITERAL = re.compile(
    r"(?P<number>-?\d+(\.\d+)?)|'(?P<text>([^']|'')*)'(::[\w .\"(),]+)?|(?P<word>true|false)"
    r"|(?P<now>now\(\)|CURRENT_TIMESTAMP)"
)
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_HEX = re.compile(r"\\x(([0-9A-Fa-f]{2})*)")
_NOW = "(strftime('%Y-%m-%d %H:%M:%f+00', 'now'))"
"""The time as a record of PostgreSQL has it: in UTC, with its zone."""


def foreign_key_clauses(schema: StreamSchema) -> list[str]:
    """Return the stream's foreign keys as clauses of CREATE TABLE."""
    present = set(schema.column_names)
    return [_named(key) for key in constraints_of(schema).foreign_keys if present.issuperset(key.columns)]


def _named(key: ForeignKey) -> str:
    name = f"CONSTRAINT {quoted(key.name)} " if key.name else ""
    return name + foreign_key_clause(key, quoted(key.references))


def index_statements(schema: StreamSchema) -> list[str]:
    """Return the statements that create the stream's indexes."""
    return [index_statement(schema.stream, index) for index in constraints_of(schema).indexes]


def index_statement(stream: StreamName, index: Index) -> str:
    """Return the statement that creates an index."""
    unique = "UNIQUE " if index.unique else ""
    return f"CREATE {unique}INDEX {quoted(index_name(stream, index))} ON {quoted(stream)} ({index_terms(index)})"


def local_default(column: Column) -> str | None:
    """Return a default of PostgreSQL as SQLite writes it for such a column; None if there is none, or no counterpart."""
    found = _LITERAL.fullmatch((column.default or "").strip())
    if found is None:
        return None
    if found["now"]:
        return _NOW if column.type == "timestamptz" else None
    if found["word"]:
        return {"true": "1", "false": "0"}[found["word"]] if column.type == "boolean" else None
    text = found["number"] or found["text"]
    match column.type:
        case "boolean":
            return None
        case "integer" | "real":
            return text if _NUMBER.fullmatch(text) else None
        case "bytes":
            data = _HEX.fullmatch(text)
            return data and f"X'{data[1]}'"
        case _:
            return f"'{text}'"


def missing_defaults(connection: apsw.Connection, schema: StreamSchema) -> Iterator[UnsupportedConstraint]:
    """Give the defaults of a stream of another technology that the columns of its table lack."""
    table = read_table(connection, schema.stream)
    lacking = {folded(one.name) for one in table.columns if not is_default(one.default) and not one.generated}
    for column in schema.columns:
        if is_default(column.default) and folded(column.name) in lacking and column.name != table.rowid_column:
            yield missing_default(column)


def unsupported_here(connection: apsw.Connection, schema: StreamSchema) -> list[UnsupportedConstraint]:
    """Return the constraints that the stream's table lacks and SQLite cannot give it. The user may have made some."""
    stream, constraints = schema.stream, constraints_of(schema)
    return [one for one in constraints.unsupported if not _is_made_by_hand(connection, stream, one)] + [
        UnsupportedConstraint("foreign key", str(key), "SQLite cannot add one to an existing table")
        for key in constraints.foreign_keys
        if not _has_foreign_key(connection, stream, key)
    ]


def has_index(connection: apsw.Connection, table: str, wanted: Index) -> bool:
    """Whether the table has an index of the same columns, or is in their order itself."""
    terms = [(folded(column.name), column.descending) for column in wanted.columns]
    if terms == [(folded(column.name), False) for column in read_table(connection, table).declared_key]:
        return True
    return any(
        terms == [(folded(name), term.descending) for name, term in zip(index.columns or (), index.terms, strict=False)]
        for index in read_indexes(connection, table)
        if not index.partial and (index.unique or not wanted.unique)
    )


def _has_foreign_key(connection: apsw.Connection, table: str, wanted: ForeignKey) -> bool:
    """Whether the table has a foreign key of these columns to that table."""
    columns = [folded(name) for name in wanted.columns]
    return any(
        folded(key.parent) == folded(wanted.references) and columns == [folded(name) for name in key.columns]
        for key in read_foreign_keys(connection, table)
    )


def _is_made_by_hand(connection: apsw.Connection, table: str, constraint: UnsupportedConstraint) -> bool:
    """Whether the user has made it: the table has an index, a trigger or a column of the name, or has CHECKs."""
    if constraint.kind == "check":
        return bool(checks_in(create_sql(connection, table) or ""))
    names = connection.execute(
        "SELECT name FROM sqlite_schema WHERE tbl_name = ?1 AND name <> ?1 UNION ALL "
        "SELECT name FROM pragma_table_xinfo(?1, 'main')",
        (table,),
    ).fetchall()
    return folded(constraint.name) in {folded(str(name)) for (name,) in names}
