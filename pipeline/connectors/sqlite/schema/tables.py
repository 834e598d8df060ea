"""The tables of a source as streams: their columns, their keys, and the statements that make them.

Left out are what is not data of its own: views, virtual tables and the shadow tables behind them, SQLite's own tables,
our own (`_pipeline_*`), and generated columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import apsw

from pipeline.codec.event_files.constraints import MEMBER, constraints_to_json
from pipeline.connectors.sql.identifiers import quoted
from pipeline.connectors.sqlite.schema.constraints import Outline, read_constraints
from pipeline.domain.ids import Label, StreamName
from pipeline.domain.schema import Column, StreamSchema

OWN_PREFIX = "_pipeline_"
ROWID_ALIASES = ("rowid", "_rowid_", "oid")
_GENERATED = (2, 3)


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column as `PRAGMA table_xinfo` and the parsed schema tell it. `key_position` is 1-based, 0 outside the key."""

    name: str
    declared_type: str
    collation: str
    not_null: bool
    default: str | None
    key_position: int
    generated: bool

    @property
    def affinity(self) -> str:
        """The affinity by the rules of https://www.sqlite.org/datatype3.html, section 3.1; in lower case."""
        declared = self.declared_type.upper()
        if "INT" in declared:
            return "integer"
        if any(word in declared for word in ("CHAR", "CLOB", "TEXT")):
            return "text"
        if not declared or "BLOB" in declared:
            return "blob"
        return "real" if any(word in declared for word in ("REAL", "FLOA", "DOUB")) else "numeric"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a database.

    `rowid` is the name under which its hidden row number can be used: None for a WITHOUT ROWID table, and for one
    whose columns hide all three names. `rowid_column` is the column that *is* the row number (INTEGER PRIMARY KEY).
    """

    name: str
    columns: tuple[TableColumn, ...]
    has_rowid: bool
    strict: bool
    rowid: str | None
    rowid_column: str | None

    @property
    def data_columns(self) -> tuple[TableColumn, ...]:
        """The columns that hold data of their own."""
        return tuple(column for column in self.columns if not column.generated)

    @property
    def declared_key(self) -> tuple[TableColumn, ...]:
        """The PRIMARY KEY's columns, in its order."""
        return tuple(sorted((c for c in self.columns if c.key_position), key=lambda c: c.key_position))

    @property
    def key_is_never_null(self) -> bool:
        """Whether the PRIMARY KEY identifies every row: SQLite lets the columns of an old-style one be NULL."""
        key = self.declared_key
        if not self.has_rowid or self.rowid_column is not None:
            return True
        return bool(key) and (self.strict or all(column.not_null for column in key))


def table_names(connection: apsw.Connection) -> list[str]:
    """Return the names of all ordinary tables of an app, in code point order."""
    rows = connection.execute("SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table'")
    names = [str(name) for (name,) in rows]
    return sorted(name for name in names if not is_reserved(name))


def folded(name: str) -> bytes:
    """Return what SQLite compares names by: it folds the case of ASCII letters and of no others."""
    return name.encode().lower()


def is_reserved(name: str) -> bool:
    """Whether a table of this name is SQLite's own or ours, and never an app's."""
    return folded(name).startswith((b"sqlite_", OWN_PREFIX.encode()))


def read_table(connection: apsw.Connection, name: str) -> Table:
    """Return the table `name`, which exists."""
    without_rowid, strict = connection.execute(
        "SELECT wr, strict FROM pragma_table_list WHERE schema = 'main' AND name = ?", (name,)
    ).fetchall()[0]
    columns = tuple(
        TableColumn(
            name=column,
            declared_type=declared,
            collation=(connection.column_metadata("main", name, column)[1] or "BINARY").upper(),
            not_null=bool(not_null),
            default=default,
            key_position=position,
            generated=hidden in _GENERATED,
        )
        for column, declared, not_null, default, position, hidden in connection.execute(
            'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?, ?)', (name, "main")
        )
    )
    taken = {folded(column.name) for column in columns}
    free = next((alias for alias in ROWID_ALIASES if alias.encode() not in taken), None)
    return Table(
        name=name,
        columns=columns,
        has_rowid=not without_rowid,
        strict=bool(strict),
        rowid=None if without_rowid else free,
        rowid_column=None if without_rowid else _rowid_column(connection, name, columns),
    )


def _rowid_column(connection: apsw.Connection, table: str, columns: tuple[TableColumn, ...]) -> str | None:
    """Return the INTEGER PRIMARY KEY. One that has an index (`INTEGER PRIMARY KEY DESC`) is a column like others."""
    key = [column for column in columns if column.key_position]
    if len(key) != 1 or key[0].declared_type.upper() != "INTEGER":
        return None
    indexed = connection.execute("SELECT 1 FROM pragma_index_list(?, 'main') WHERE origin = 'pk'", (table,)).fetchall()
    return None if indexed else key[0].name


def stream_schema(connection: apsw.Connection, table: Table) -> StreamSchema:
    """Return the table as a stream. A row is identified by the PRIMARY KEY, or else by its row number.

    The row number then is an additional first column under the name `native` gives as `rowid`. A table that has neither
    (see `Table.rowid`) is identified by all its columns, for the sake of a name in the list: it cannot be read.
    """
    columns = tuple(_column(column) for column in table.data_columns)
    rowid = None if table.key_is_never_null else table.rowid
    if rowid is not None:
        columns = (Column(rowid, "integer", nullable=False, native_type="INTEGER"), *columns)
        key: tuple[str, ...] = (rowid,)
    elif table.key_is_never_null:
        key = tuple(column.name for column in table.declared_key)
    else:
        key = tuple(column.name for column in columns)
    native = {"sqlite": _native(connection, table, rowid)}
    return StreamSchema(StreamName(table.name), Label(table.name), columns, key, native)


def _column(column: TableColumn) -> Column:
    names = {"integer": "integer", "real": "real", "text": "text", "blob": "bytes" if column.declared_type else "any"}
    return Column(
        name=column.name,
        type=names.get(column.affinity, "any"),
        nullable=not column.not_null,
        native_type=column.declared_type,
        default=column.default,
    )


def _native(connection: apsw.Connection, table: Table, rowid: str | None) -> dict[str, object]:
    create = connection.execute("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?", (table.name,)).get
    indexes = connection.execute(
        "SELECT sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = ? ORDER BY name",
        (table.name,),
    ).fetchall()
    return {
        "create_table": create,
        "indexes": [sql for (sql,) in indexes],
        "rowid": rowid,
        "encoding": encoding_of(connection),
        "autoincrement_sequence": sequence_of(connection, table.name),
        MEMBER: constraints_to_json(read_constraints(connection, _outline(table, rowid))),
    }


def _outline(table: Table, rowid: str | None) -> Outline:
    generated = frozenset(column.name for column in table.columns if column.generated)
    return Outline(table.name, generated, table.rowid_column or rowid, table.key_is_never_null)


def encoding_of(connection: apsw.Connection) -> str:
    """Return how the database writes text: `UTF-8`, `UTF-16le` or `UTF-16be`."""
    return str(connection.execute("PRAGMA encoding").get)


def sequence_of(connection: apsw.Connection, table: str) -> int | None:
    """Return the last number an AUTOINCREMENT table has given out, or None for another table."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'").fetchall():
        return None
    rows = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchall()
    return int(str(rows[0][0])) if rows else None


def order_terms(table: Table, schema: StreamSchema, *, text_is_utf8: bool, prefix: str = "t") -> str:
    """Return the terms of ORDER BY that give the order of `pipeline.domain.keys.order`.

    `COLLATE BINARY` stands only where it changes something, so that the key's own index serves otherwise. In a UTF-16
    database BINARY compares UTF-16 bytes, which is another order; there `pipeline_order` (rows.py) puts it right.
    """
    by_name = {column.name: column for column in table.columns}
    terms = []
    for name in schema.primary_keys:
        column, value = by_name.get(name), f"{prefix}.{quoted(name)}"
        if column is None or name == table.rowid_column:
            terms.append(value)
        elif text_is_utf8:
            terms.append(value if column.collation == "BINARY" else f"{value} COLLATE BINARY")
        else:
            terms.append(f"typeof({value}) = 'blob', typeof({value}) = 'text'")
            as_utf8 = f"pipeline_order(CAST({value} AS BLOB))"
            terms.append(f"CASE typeof({value}) WHEN 'text' THEN {as_utf8} ELSE {value} END")
    return ", ".join(terms)
