"""The constraints of a source's tables, for a destination of another technology.

Constraints in SQLite's own language (expressions, conditions, triggers) are listed as unsupported.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import apsw

from pipeline.connectors.sqlite.schema.tables import Table, create_sql
from pipeline.domain.constraints import Action, ForeignKey, Index, IndexColumn, TableConstraints, UnsupportedConstraint
from pipeline.domain.ids import StreamName

_ROWID = -1
"""The row number, in the column positions of `PRAGMA index_xinfo`."""
_OWN_LANGUAGE = "it is written in SQLite's own language"
_INDEXES = "SELECT name, \"unique\", origin, partial FROM pragma_index_list(?, 'main') ORDER BY name"
_TERMS = "SELECT cid, name, \"desc\", coll FROM pragma_index_xinfo(?, 'main') WHERE key ORDER BY seqno"
_KEYS = 'SELECT id, "table", "from", "to", on_update, on_delete FROM pragma_foreign_key_list(?, \'main\') ORDER BY id DESC, seq'
_TABLE = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name = ? COLLATE NOCASE"
_PRIMARY_KEY = "SELECT name FROM pragma_table_xinfo(?, 'main') WHERE pk ORDER BY pk"
_COLUMN = "SELECT name FROM pragma_table_xinfo(?, 'main') WHERE name = ? COLLATE NOCASE"
_TOKEN = re.compile(
    r"""--[^\n]* | /\*.*?\*/ | '(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | \[[^\]]*\] | \w+ | [()]""",
    re.S | re.X,
)


@dataclass(frozen=True, slots=True)
class _Outline:
    """A table: its generated columns, the column of its stream that is the row number, and whether that has a key.

    `is_keyed`: its PRIMARY KEY is the stream's key; otherwise it is an ordinary unique constraint.
    """

    name: str
    generated: frozenset[str]
    row_number: str | None
    is_keyed: bool


def read_constraints(connection: apsw.Connection, table: Table) -> TableConstraints:
    """Return the constraints of a table."""
    is_keyed = table.key_is_never_null
    row_number = table.rowid_column or (None if is_keyed else table.rowid)
    generated = frozenset(column.name for column in table.columns if column.generated)
    outline = _Outline(table.name, generated, row_number, is_keyed)
    found = [
        *_read_indexes(connection, outline),
        *_read_foreign_keys(connection, outline),
        *_read_others(connection, outline),
    ]
    return TableConstraints(
        indexes=tuple(one for one in found if isinstance(one, Index)),
        foreign_keys=tuple(one for one in found if isinstance(one, ForeignKey)),
        unsupported=tuple(one for one in found if isinstance(one, UnsupportedConstraint)),
    )


def _read_indexes(connection: apsw.Connection, table: _Outline) -> Iterator[Index | UnsupportedConstraint]:
    for index, unique, origin, partial in connection.execute(_INDEXES, (table.name,)).fetchall():
        if origin == "pk" and table.is_keyed:
            continue
        terms = [
            _Term(position == _ROWID, None if name is None else str(name), bool(descending), str(collation).upper())
            for position, name, descending, collation in connection.execute(_TERMS, (index,)).fetchall()
        ]
        named = [table.row_number if term.is_row_number else term.name for term in terms]
        columns = [name for name in named if name is not None]
        reason = _why_unsupported(table, terms, columns, partial=bool(partial))
        is_constraint = origin != "c"
        if reason is None:
            yield Index("" if is_constraint else str(index), _sorted(columns, terms), bool(unique), is_constraint)
        elif is_constraint:
            yield UnsupportedConstraint("unique constraint", f"({', '.join(columns)})", reason)
        else:
            yield UnsupportedConstraint("index", str(index), reason)


@dataclass(frozen=True, slots=True)
class _Term:
    """One term of an index. `name` is None for an expression and for the row number."""

    is_row_number: bool
    name: str | None
    descending: bool
    collation: str


def _sorted(columns: Sequence[str], terms: Sequence[_Term]) -> tuple[IndexColumn, ...]:
    """Return the columns by which an index sorts. The second occurrence of a column sorts nothing."""
    found: dict[str, IndexColumn] = {}
    for name, term in zip(columns, terms, strict=True):
        found.setdefault(name, IndexColumn(name, term.descending))
    return tuple(found.values())


def _why_unsupported(table: _Outline, terms: Sequence[_Term], columns: Sequence[str], *, partial: bool) -> str | None:
    """Return why other technologies cannot have an index; None when they can."""
    if partial:
        return "it covers a part of the rows"
    if len(columns) < len(terms):
        return "it is on an expression"
    if not table.generated.isdisjoint(columns):
        return "it is on a generated column"
    collations = sorted({term.collation for term in terms} - {"BINARY"})
    return f"its collation is {', '.join(collations)}" if collations else None


def _read_foreign_keys(connection: apsw.Connection, table: _Outline) -> Iterator[ForeignKey | UnsupportedConstraint]:
    """Yield the foreign keys in the order of their declaration. SQLite keeps neither their names nor DEFERRED."""
    rows = connection.execute(_KEYS, (table.name,)).fetchall()
    for _, group in groupby(rows, key=lambda row: row[0]):
        parts = list(group)
        _, parent, _, _, on_update, on_delete = parts[0]
        columns = tuple(str(row[2]) for row in parts)
        stream, referenced = _referenced(connection, str(parent), [row[3] for row in parts])
        key = ForeignKey("", columns, stream, referenced, Action(str(on_update)), Action(str(on_delete)))
        if not len(set(columns)) == len(set(referenced)) == len(parts):
            yield UnsupportedConstraint("foreign key", str(key), f"{stream} has no such key")
        elif not table.generated.isdisjoint(columns):
            yield UnsupportedConstraint("foreign key", str(key), "it is on a generated column")
        else:
            yield key


def _referenced(
    connection: apsw.Connection, written: str, columns: Sequence[object]
) -> tuple[StreamName, tuple[str, ...]]:
    """Return the name of a referenced table, and its referenced columns: those of its key where none are named."""
    tables = connection.execute(_TABLE, (written,)).fetchall()
    if not tables:
        return StreamName(written), tuple(str(name) for name in columns if name is not None)
    parent = str(tables[0][0])
    if None in columns:
        key = connection.execute(_PRIMARY_KEY, (parent,)).fetchall()
        return StreamName(parent), tuple(str(name) for (name,) in key)
    named = [connection.execute(_COLUMN, (parent, str(column))).get for column in columns]
    return StreamName(parent), tuple(str(name) for name in named if name is not None)


def _read_others(connection: apsw.Connection, table: _Outline) -> Iterator[UnsupportedConstraint]:
    for check in checks_in(create_sql(connection, table.name) or ""):
        yield UnsupportedConstraint("check", check, _OWN_LANGUAGE)
    for column in sorted(table.generated):
        yield UnsupportedConstraint("generated column", column, _OWN_LANGUAGE)
    triggers = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ? ORDER BY name"
    for (name,) in connection.execute(triggers, (table.name,)).fetchall():
        yield UnsupportedConstraint("trigger", str(name), _OWN_LANGUAGE)


def checks_in(create_table: str) -> list[str]:
    """Return the CHECK constraints of a statement, by name or else by condition: no PRAGMA lists them."""
    tokens = [token for token in _TOKEN.finditer(create_table) if not token[0].startswith(("--", "/*"))]
    return [_check_name(create_table, tokens, at) for at, token in enumerate(tokens) if token[0].upper() == "CHECK"]


def _check_name(text: str, tokens: Sequence[re.Match[str]], at: int) -> str:
    if at >= 2 and tokens[at - 2][0].upper() == "CONSTRAINT":
        return tokens[at - 1][0].strip("\"'`[]")
    depth = 0
    for token in tokens[at + 1 :]:
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if depth == 0:
            return " ".join(text[tokens[at].end() : token.end()].split())
    return ""
