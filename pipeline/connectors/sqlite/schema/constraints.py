"""The constraints of a source's tables, for a destination of another technology.

Constraints in SQLite's own language (expressions, conditions, triggers) are listed as unsupported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import apsw

from pipeline.connectors.sql.constraints import index_columns, table_constraints
from pipeline.connectors.sqlite.schema.indexes import (
    TableForeignKey,
    TableIndex,
    read_foreign_keys,
    read_indexes,
)
from pipeline.connectors.sqlite.schema.tables import Table, create_sql
from pipeline.connectors.sqlite.schema.tokens import checks_in
from pipeline.domain.constraints import Action, ForeignKey, Index, TableConstraints, UnsupportedConstraint
from pipeline.domain.ids import StreamName

_OWN_LANGUAGE = "it is written in SQLite's own language"
_TABLE = "SELECT name FROM pragma_table_list(?) WHERE schema = 'main' AND type = 'table'"
_PRIMARY_KEY = "SELECT name FROM pragma_table_xinfo(?, 'main') WHERE pk ORDER BY pk"
_COLUMN = "SELECT name FROM pragma_table_xinfo(?, 'main') WHERE name = ? COLLATE NOCASE"


def read_constraints(connection: apsw.Connection, table: Table) -> TableConstraints:
    """Return the constraints of a table."""
    generated = frozenset(column.name for column in table.columns if column.generated)
    return table_constraints(
        (
            *_indexes(connection, table, generated),
            *_foreign_keys(connection, table, generated),
            *_others(connection, table, generated),
        )
    )


def _indexes(
    connection: apsw.Connection, table: Table, generated: frozenset[str]
) -> Iterator[Index | UnsupportedConstraint]:
    is_keyed = table.key_is_never_null  # otherwise the stream's key is the row number, and PRIMARY KEY is as UNIQUE
    row_number = table.rowid_column or (None if is_keyed else table.rowid)
    for index in sorted(read_indexes(connection, table.name), key=lambda index: index.name):
        if index.origin == "pk" and is_keyed:
            continue
        named = [row_number if term.is_row_number else term.name for term in index.terms]
        columns = [name for name in named if name is not None]
        reason = _why_unsupported(index, columns, generated)
        is_constraint = index.origin != "c"
        if reason is None:
            name = "" if is_constraint else index.name
            sorted_columns = index_columns(columns, [term.descending for term in index.terms])
            yield Index(name, sorted_columns, index.unique, is_constraint)
        elif is_constraint:
            yield UnsupportedConstraint("unique constraint", f"({', '.join(columns)})", reason)
        else:
            yield UnsupportedConstraint("index", index.name, reason)


def _why_unsupported(index: TableIndex, columns: Sequence[str], generated: frozenset[str]) -> str | None:
    """Return why other technologies cannot have an index; None when they can."""
    if index.partial:
        return "it covers a part of the rows"
    if len(columns) < len(index.terms):
        return "it is on an expression"
    if not generated.isdisjoint(columns):
        return "it is on a generated column"
    collations = sorted({term.collation.upper() for term in index.terms} - {"BINARY"})
    return f"its collation is {', '.join(collations)}" if collations else None


def _foreign_keys(
    connection: apsw.Connection, table: Table, generated: frozenset[str]
) -> Iterator[ForeignKey | UnsupportedConstraint]:
    for found in read_foreign_keys(connection, table.name):
        stream, referenced = _referenced(connection, found)
        actions = Action(found.on_update), Action(found.on_delete)
        key = ForeignKey("", found.columns, stream, referenced, *actions)
        if not _is_table(connection, stream):
            yield UnsupportedConstraint("foreign key", str(key), f"there is no table {stream} at the source either")
        elif not len(set(found.columns)) == len(set(referenced)) == len(found.columns):
            yield UnsupportedConstraint("foreign key", str(key), f"{stream} has no such key")
        elif not generated.isdisjoint(found.columns):
            yield UnsupportedConstraint("foreign key", str(key), "it is on a generated column")
        else:
            yield key


def _is_table(connection: apsw.Connection, name: str) -> bool:
    return bool(connection.execute(_TABLE, (name,)).fetchall())


def _referenced(connection: apsw.Connection, key: TableForeignKey) -> tuple[StreamName, tuple[str, ...]]:
    """Return the referenced table and columns as they are declared: the columns of its key where none are named."""
    parent = connection.execute(_TABLE, (key.parent,)).get
    if not isinstance(parent, str):
        return StreamName(key.parent), tuple(name for name in key.referenced if name is not None)
    if None in key.referenced:
        names = [name for (name,) in connection.execute(_PRIMARY_KEY, (parent,)).fetchall()]
    else:
        names = [connection.execute(_COLUMN, (parent, column)).get for column in key.referenced]
    return StreamName(parent), tuple(str(name) for name in names if name is not None)


def _others(connection: apsw.Connection, table: Table, generated: frozenset[str]) -> Iterator[UnsupportedConstraint]:
    for check in checks_in(create_sql(connection, table.name) or ""):
        yield UnsupportedConstraint("check", check, _OWN_LANGUAGE)
    for column in sorted(generated):
        yield UnsupportedConstraint("generated column", column, _OWN_LANGUAGE)
    for one in table.data_columns:
        if one.collation != "BINARY":
            yield UnsupportedConstraint(
                "collation", one.name, f"it is {one.collation}, and text is compared by its bytes"
            )
    triggers = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ? ORDER BY name"
    for (name,) in connection.execute(triggers, (table.name,)).fetchall():
        yield UnsupportedConstraint("trigger", str(name), _OWN_LANGUAGE)
