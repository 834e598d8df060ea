"""The indexes and foreign keys of a table, as SQLite lists them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import apsw

from pipeline.connectors.sql.identifiers import quoted
from pipeline.domain.ids import StreamName

_ROW_NUMBER = -1
"""The position of the row number in `PRAGMA index_xinfo`."""
_INDEXES = "SELECT name, \"unique\", origin, partial FROM pragma_index_list(?, 'main') ORDER BY seq"
_TERMS = "SELECT cid, name, \"desc\", coll FROM pragma_index_xinfo(?, 'main') WHERE key ORDER BY seqno"
_KEYS = 'SELECT id, "table", "from", "to", on_update, on_delete FROM pragma_foreign_key_list(?, \'main\') ORDER BY id DESC, seq'


@dataclass(frozen=True, slots=True)
class IndexTerm:
    """One term of an index. `name` is None for an expression and for the row number."""

    name: str | None
    is_row_number: bool
    descending: bool
    collation: str


@dataclass(frozen=True, slots=True)
class TableIndex:
    """An index. `origin` is `c` for CREATE INDEX, `u` for UNIQUE, `pk` for PRIMARY KEY; `partial`: it has a condition."""

    name: str
    unique: bool
    origin: str
    partial: bool
    terms: tuple[IndexTerm, ...]

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The columns it is on; None when a term is not a column."""
        names = tuple(term.name for term in self.terms if term.name is not None)
        return names if len(names) == len(self.terms) else None


@dataclass(frozen=True, slots=True)
class TableForeignKey:
    """A foreign key as it is written. A referenced column is None where the statement does not name it."""

    id: int
    parent: str
    columns: tuple[str, ...]
    referenced: tuple[str | None, ...]
    on_update: str
    on_delete: str


def read_indexes(connection: apsw.Connection, table: str) -> list[TableIndex]:
    """Return the indexes of a table."""
    return [
        TableIndex(str(name), bool(unique), str(origin), bool(partial), _terms(connection, name))
        for name, unique, origin, partial in connection.execute(_INDEXES, (table,)).fetchall()
    ]


def _terms(connection: apsw.Connection, index: apsw.SQLiteValue) -> tuple[IndexTerm, ...]:
    rows: list[tuple[Any, ...]] = connection.execute(_TERMS, (index,)).fetchall()
    return tuple(IndexTerm(name, position == _ROW_NUMBER, bool(desc), coll) for position, name, desc, coll in rows)


def read_foreign_keys(connection: apsw.Connection, table: str) -> list[TableForeignKey]:
    """Return the foreign keys of a table, in the order of their declaration. SQLite keeps neither names nor DEFERRED."""
    rows: list[tuple[Any, ...]] = connection.execute(_KEYS, (table,)).fetchall()
    found = []
    for id_, group in groupby(rows, key=lambda row: row[0]):
        parts = list(group)
        columns, referenced = tuple(part[2] for part in parts), tuple(part[3] for part in parts)
        found.append(TableForeignKey(id_, parts[0][1], columns, referenced, parts[0][4], parts[0][5]))
    return found


def broken_keys(connection: apsw.Connection, streams: Sequence[StreamName]) -> set[tuple[StreamName, tuple[str, ...]]]:
    """Return table and columns of each foreign key of these tables that a row breaks."""
    found: set[tuple[StreamName, tuple[str, ...]]] = set()
    for stream in streams:
        columns = {key.id: key.columns for key in read_foreign_keys(connection, stream)}
        broken: set[int] = set()
        with suppress(apsw.SQLError):  # the table is gone, or a key refers to columns that are not unique
            for _, _, _, number in connection.execute(f"PRAGMA main.foreign_key_check({quoted(stream)})"):
                broken.add(int(str(number)))
                if len(broken) == len(columns):
                    break
        found |= {(stream, columns[number]) for number in broken}
    return found
