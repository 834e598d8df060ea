"""The table that a stream is loaded into: found, or made, or widened; and the statements that load it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import apsw

from pipeline.codec.event_files.constraints import constraints_of
from pipeline.connectors.sql.identifiers import quoted
from pipeline.connectors.sqlite.loading.constraints_out import foreign_key_clauses
from pipeline.connectors.sqlite.schema.statements import check_create_table
from pipeline.connectors.sqlite.schema.tables import Table, encoding_of, folded, is_reserved, read_table
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.schema import Column, StreamSchema

_TYPES = {
    "integer": "INTEGER",
    "real": "REAL",
    "text": "TEXT",
    "bytes": "BLOB",
    "boolean": "BOOLEAN",
    "varchar": "TEXT",
    "decimal": "DECIMAL TEXT",
    "json": "JSON TEXT",
    "timestamp": "TIMESTAMP TEXT",
    "timestamptz": "TIMESTAMPTZ TEXT",
    "date": "DATE TEXT",
    "time": "TIME TEXT",
    "timetz": "TIMETZ TEXT",
    "uuid": "UUID TEXT",
    "interval": "TEXT",
    "array": "TEXT",
}
"""Declared types for streams of other technologies. Any other type gets none: such a column keeps each value as it is.

What arrives as text must stay text: a column declared DECIMAL would make a number of '1.10'. TEXT in the name prevents it
(https://www.sqlite.org/datatype3.html, section 3.1), except beside INT, which INTERVAL holds.
"""

_TYPE_WORDS = re.compile(r"[A-Za-z_][A-Za-z0-9_ ]*(\(\s*[+-]?\d+\s*(,\s*[+-]?\d+\s*)?\))?")
_LITERAL = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?|'([^']|'')*'|[xX]'([0-9A-Fa-f]{2})*'|NULL|TRUE|FALSE", re.I)
_MAX_VARIABLES = 32_766
_MAX_SQL_CHARACTERS = 15_000
"""apsw keeps statements up to 16,384 characters prepared."""
_MAX_STATEMENT_ROWS = 200


@dataclass(frozen=True, slots=True)
class Target:
    """A table, and which of a stream's columns go into it (`columns`), in the stream's order.

    `conflict` are the terms of the unique index on the key. `kept` are columns of the key that an update need not
    write, because equal keys are the same there. `covers_table` says that the stream has every column of the table.
    """

    table: Table
    columns: tuple[str, ...]
    key: tuple[str, ...]
    conflict: str
    kept: frozenset[str]
    skipped: tuple[str, ...]
    covers_table: bool
    encoding: str
    source_encoding: str

    @property
    def rows_per_statement(self) -> int:
        """How many whole rows one statement takes."""
        width = len(self.columns)
        return max(1, min(_MAX_STATEMENT_ROWS, _MAX_VARIABLES // width, _MAX_SQL_CHARACTERS // (2 * width + 2)))

    def insert(self, rows: int) -> str:
        """Return the statement that inserts `rows` whole rows, none of which may be there."""
        return self._insert(self.columns, [self._row(len(self.columns))] * rows)

    def upsert(self, rows: int) -> str:
        """Return the statement that inserts or updates `rows` whole rows."""
        return self.insert(rows) + self._on_conflict(self.columns)

    def upsert_one(self, columns: tuple[str, ...], raw: frozenset[int]) -> str:
        """Return the statement for one row of these columns; the values at the places `raw` are bytes of a text."""
        values = ["CAST(? AS TEXT)" if place in raw else "?" for place in range(len(columns))]
        return self._insert(columns, [f"({','.join(values)})"]) + self._on_conflict(columns)

    def delete(self, raw: frozenset[int] = frozenset()) -> str:
        """Return the statement that deletes the row with one key; the values at the places `raw` are bytes of a text.

        The first comparison is the index's own, the second makes sure it is this very key where a collation holds
        others to be equal.
        """
        terms = []
        for place, name in enumerate(self.key):
            value = f"CAST(?{place + 1} AS TEXT)" if place in raw else f"?{place + 1}"
            terms.append(f"{quoted(name)} = {value}")
            if name not in self.kept:
                terms.append(f"{quoted(name)} = {value} COLLATE BINARY")
        return f"DELETE FROM main.{quoted(self.table.name)} WHERE {' AND '.join(terms)}"

    def _insert(self, columns: tuple[str, ...], rows: list[str]) -> str:
        # OR ABORT, because it overrides conflict clauses of the table: REPLACE would delete other rows unseen.
        names = ",".join(map(quoted, columns))
        return f"INSERT OR ABORT INTO main.{quoted(self.table.name)}({names}) VALUES {','.join(rows)}"

    def _row(self, width: int) -> str:
        return f"({','.join('?' * width)})"

    def _on_conflict(self, columns: tuple[str, ...]) -> str:
        written = [quoted(name) for name in columns if name not in self.kept]
        action = f"UPDATE SET {','.join(f'{name}=excluded.{name}' for name in written)}" if written else "NOTHING"
        return f" ON CONFLICT({self.conflict}) DO {action}"


def prepare_target(connection: apsw.Connection, schema: StreamSchema) -> Target:
    """Return the stream's table, made or widened as needed; ConfigurationError when an existing one does not fit."""
    native = sqlite_native(schema)
    constraints_of(schema)  # what cannot be read is an error of this file, not of the end of the Movement
    table = _existing_table(connection, schema.stream)
    if table is None:
        connection.execute(create_statement(schema, native)).fetchall()
        table = read_table(connection, schema.stream)
    hidden = _hidden_rowid(table, schema, native)
    known = {folded(column.name): column for column in table.columns}
    missing = [column for column in schema.columns if column.name != hidden and folded(column.name) not in known]
    if missing:
        for column in missing:
            _add_column(connection, table, column)
        table = read_table(connection, schema.stream)
        known = {folded(column.name): column for column in table.columns}
    skipped = tuple(c.name for c in schema.columns if c.name != hidden and known[folded(c.name)].generated)
    columns = tuple(name for name in schema.column_names if name not in skipped)
    return Target(
        table=table,
        columns=columns,
        key=schema.primary_keys,
        conflict=_conflict_terms(connection, table, schema.primary_keys, hidden),
        kept=_kept(table, schema.primary_keys, hidden),
        skipped=skipped,
        covers_table={folded(c.name) for c in table.data_columns} <= {folded(name) for name in columns},
        encoding=encoding_of(connection),
        source_encoding=str(native.get("encoding", "UTF-8")),
    )


def sqlite_native(schema: StreamSchema) -> Mapping[str, object]:
    """Return what an SQLite source says about the stream; empty for another source."""
    native = schema.native.get("sqlite")
    return native if isinstance(native, Mapping) else {}


def _existing_table(connection: apsw.Connection, name: str) -> Table | None:
    if is_reserved(name):
        raise ConfigurationError(f"Stream {name} cannot be loaded: the name is reserved; leave it out with --exclude")
    rows = connection.execute("SELECT name, type FROM pragma_table_list WHERE schema = 'main'").fetchall()
    for found, kind in rows:
        if folded(str(found)) == folded(name):
            if (found, kind) != (name, "table"):
                raise ConfigurationError(
                    f"Stream {name} cannot be loaded: the destination has a {kind} {found} in its place; rename that, "
                    "or leave the stream out with --exclude"
                )
            return read_table(connection, name)
    return None


def create_statement(schema: StreamSchema, native: Mapping[str, object]) -> str:
    """Return the statement that makes the stream's table; ConfigurationError when the source's own cannot be used."""
    if native:
        return check_create_table(native.get("create_table"), schema.stream)
    columns = [
        f"{quoted(column.name)} {_TYPES.get(column.type, '')}"
        f"{'' if column.nullable and column.name not in schema.primary_keys else ' NOT NULL'}"
        for column in schema.columns
    ]
    key = f"PRIMARY KEY ({', '.join(map(quoted, schema.primary_keys))})"
    return f"CREATE TABLE {quoted(schema.stream)} ({', '.join([*columns, key, *foreign_key_clauses(schema)])})"


def _hidden_rowid(table: Table, schema: StreamSchema, native: Mapping[str, object]) -> str | None:
    """Return the column of the stream that is the table's hidden row number, if there is one."""
    name = native.get("rowid")
    if not isinstance(name, str):
        return None
    if table.rowid != name or schema.primary_keys != (name,):
        raise ConfigurationError(
            f"Table {table.name} of the destination cannot take this stream: its rows have no key but their {name}, and "
            "the table there has none; drop or rename that table"
        )
    return name


def _add_column(connection: apsw.Connection, table: Table, column: Column) -> None:
    """Add a column that has appeared, as near to its declaration as ALTER TABLE allows.

    SQLite cannot add NOT NULL without a default that is not NULL, nor a default that is no constant
    (https://www.sqlite.org/lang_altertable.html); these are left out. Keys and UNIQUE do not come along either.
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


def _conflict_terms(connection: apsw.Connection, table: Table, key: tuple[str, ...], hidden: str | None) -> str:
    if hidden is not None or (table.rowid_column is not None and key == (table.rowid_column,)):
        return quoted(key[0])
    wanted = {folded(name) for name in key}
    for (index,) in connection.execute(
        "SELECT name FROM pragma_index_list(?, 'main') WHERE \"unique\" AND NOT partial ORDER BY origin <> 'pk', seq",
        (table.name,),
    ).fetchall():
        terms = connection.execute(
            "SELECT name, coll FROM pragma_index_xinfo(?, 'main') WHERE key ORDER BY seqno", (index,)
        ).fetchall()
        if None not in (name for name, _ in terms) and {folded(str(name)) for name, _ in terms} == wanted:
            return ", ".join(f"{quoted(str(name))} COLLATE {quoted(str(collation))}" for name, collation in terms)
    names = ", ".join(map(quoted, key))
    raise ConfigurationError(
        f"Table {table.name} of the destination has no unique index on the stream's key ({names}), so rows could come "
        f"in twice; make one: CREATE UNIQUE INDEX {quoted(table.name + '_key')} ON {quoted(table.name)} ({names})"
    )


def _kept(table: Table, key: tuple[str, ...], hidden: str | None) -> frozenset[str]:
    """The key columns where equal means the same: row numbers, and text compared byte by byte.

    Numbers are not among them: 1 and 1.0 are equal keys and not the same value.
    """
    same = {folded(c.name) for c in table.columns if c.affinity == "text" and c.collation == "BINARY"}
    rowids = {name for name in (hidden, table.rowid_column) if name is not None}
    return frozenset(name for name in key if name in rowids or folded(name) in same)
