"""What the tables of a source promise beside their columns and keys, for a destination that is not SQLite.

What lies in SQLite's own language (expressions, conditions, triggers) is named, and left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import apsw

from pipeline.domain.constraints import Action, ForeignKey, Index, IndexColumn, TableConstraints, UnsupportedConstraint
from pipeline.domain.ids import StreamName

_ROWID = -1
"""The row number, where `PRAGMA index_xinfo` tells the place of a column in its table."""
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
class Outline:
    """A table as far as is needed here: its generated columns, and the column of its stream that is the row number.

    `is_keyed` says that its PRIMARY KEY is the stream's key; otherwise it is a promise like others.
    """

    name: str
    generated: frozenset[str]
    row_number: str | None
    is_keyed: bool


def read_constraints(connection: apsw.Connection, table: Outline) -> TableConstraints:
    """Return the indexes and foreign keys of a table."""
    found = [*_read_indexes(connection, table), *_read_foreign_keys(connection, table), *_others(connection, table)]
    return TableConstraints(
        indexes=tuple(one for one in found if isinstance(one, Index)),
        foreign_keys=tuple(one for one in found if isinstance(one, ForeignKey)),
        unsupported=tuple(one for one in found if isinstance(one, UnsupportedConstraint)),
    )


def _read_indexes(connection: apsw.Connection, table: Outline) -> Iterator[Index | UnsupportedConstraint]:
    for index, unique, origin, partial in connection.execute(_INDEXES, (table.name,)).fetchall():
        if origin == "pk" and table.is_keyed:
            continue
        terms = [
            _Term(place == _ROWID, None if name is None else str(name), bool(descending), str(collation).upper())
            for place, name, descending, collation in connection.execute(_TERMS, (index,)).fetchall()
        ]
        named = [table.row_number if term.is_row_number else term.name for term in terms]
        columns = [name for name in named if name is not None]
        reason = _why_not(table, terms, columns, partial=bool(partial))
        is_constraint = origin != "c"
        if reason is None:
            called = "" if is_constraint else str(index)
            yield Index(called, _sorted(columns, terms), bool(unique), is_constraint)
        else:
            named_so = f"({', '.join(columns)})" if is_constraint else str(index)
            yield UnsupportedConstraint("unique constraint" if is_constraint else "index", named_so, reason)


@dataclass(frozen=True, slots=True)
class _Term:
    """One term of an index. `name` is None for an expression, and for the row number, which has none there."""

    is_row_number: bool
    name: str | None
    descending: bool
    collation: str


def _sorted(columns: Sequence[str], terms: Sequence[_Term]) -> tuple[IndexColumn, ...]:
    """Return how an index sorts. A column that comes a second time sorts nothing."""
    found: dict[str, IndexColumn] = {}
    for name, term in zip(columns, terms, strict=True):
        found.setdefault(name, IndexColumn(name, term.descending))
    return tuple(found.values())


def _why_not(table: Outline, terms: Sequence[_Term], columns: Sequence[str], *, partial: bool) -> str | None:
    """Return why an index cannot be told of, if it cannot."""
    if partial:
        return "it covers a part of the rows"
    if len(columns) < len(terms):
        return "it is on an expression"
    if not table.generated.isdisjoint(columns):
        return "it is on a generated column"
    collations = sorted({term.collation for term in terms} - {"BINARY"})
    return f"its collation is {', '.join(collations)}" if collations else None


def _read_foreign_keys(connection: apsw.Connection, table: Outline) -> Iterator[ForeignKey | UnsupportedConstraint]:
    """Give the foreign keys in the order of their declaration. SQLite forgets their names, and which are deferred."""
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
    """Return a table as it is called, and its columns that are meant: those of its key where none are named."""
    tables = connection.execute(_TABLE, (written,)).fetchall()
    if not tables:
        return StreamName(written), tuple(str(name) for name in columns if name is not None)
    parent = str(tables[0][0])
    if None in columns:
        key = connection.execute(_PRIMARY_KEY, (parent,)).fetchall()
        return StreamName(parent), tuple(str(name) for (name,) in key)
    called = [connection.execute(_COLUMN, (parent, str(column))).get for column in columns]
    return StreamName(parent), tuple(str(name) for name in called if name is not None)


def _others(connection: apsw.Connection, table: Outline) -> Iterator[UnsupportedConstraint]:
    create = connection.execute("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?", (table.name,)).get
    for check in checks_in(str(create)):
        yield UnsupportedConstraint("check", check, _OWN_LANGUAGE)
    for column in sorted(table.generated):
        yield UnsupportedConstraint("generated column", column, _OWN_LANGUAGE)
    triggers = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = ? ORDER BY name"
    for (name,) in connection.execute(triggers, (table.name,)).fetchall():
        yield UnsupportedConstraint("trigger", str(name), _OWN_LANGUAGE)


def checks_in(create_table: str) -> list[str]:
    """Return the CHECK constraints of a statement, each by its name, or else by its condition: no PRAGMA tells of them."""
    tokens = [token for token in _TOKEN.finditer(create_table) if not token[0].startswith(("--", "/*"))]
    return [_called(create_table, tokens, at) for at, token in enumerate(tokens) if token[0].upper() == "CHECK"]


def _called(text: str, tokens: Sequence[re.Match[str]], at: int) -> str:
    if at >= 2 and tokens[at - 2][0].upper() == "CONSTRAINT":
        return tokens[at - 1][0].strip("\"'`[]")
    depth = 0
    for token in tokens[at + 1 :]:
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if depth == 0:
            return " ".join(text[tokens[at].end() : token.end()].split())
    return ""
