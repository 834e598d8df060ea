"""The tables of a database, as SQLite describes them."""

from __future__ import annotations

from dataclasses import dataclass

import apsw

from pipeline.domain.errors import ConfigurationError

_OWN_TABLES = {
    b"_pipeline_marks": "event_file",
    b"_pipeline_rejected": "event_file",
    b"_pipeline_streams": "schema",
    b"_pipeline_fences": "movement",
    b"_pipeline_tables": "made_from",
    b"_pipeline_objects": "wanted",
}
"""The tables of the import ledger. Each has a column here that an app's table of the same name does not have."""
ROWID_ALIASES = ("rowid", "_rowid_", "oid")
_GENERATED = (2, 3)


@dataclass(frozen=True, slots=True)
class TableColumn:
    """A column of a table. `key_position` is its 1-based position in the PRIMARY KEY, 0 outside it."""

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

    `rowid` is a name for its hidden row number: None for a WITHOUT ROWID table, and for one whose columns hide all three
    names. `rowid_column` is the column that is the row number (INTEGER PRIMARY KEY).
    """

    name: str
    columns: tuple[TableColumn, ...]
    has_rowid: bool
    strict: bool
    rowid: str | None
    rowid_column: str | None

    @property
    def data_columns(self) -> tuple[TableColumn, ...]:
        """The columns that are not generated."""
        return tuple(column for column in self.columns if not column.generated)

    @property
    def declared_key(self) -> tuple[TableColumn, ...]:
        """The columns of the PRIMARY KEY, in its order."""
        return tuple(sorted((c for c in self.columns if c.key_position), key=lambda c: c.key_position))

    @property
    def key_is_never_null(self) -> bool:
        """Whether the PRIMARY KEY identifies every row: SQLite allows NULL in the columns of an old-style one."""
        key = self.declared_key
        if not self.has_rowid or self.rowid_column is not None:
            return True
        return bool(key) and (self.strict or all(column.not_null for column in key))


def table_names(connection: apsw.Connection) -> list[str]:
    """Return the names of the tables that hold rows, sorted: ordinary and shadow tables, but not SQLite's or our own."""
    rows = connection.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type IN ('table', 'shadow')"
    ).fetchall()
    names = [str(name) for (name,) in rows]
    return sorted(name for name in names if not (folded(name).startswith(b"sqlite_") or is_own(connection, name)))


def folded(name: str) -> bytes:
    """Return the form in which SQLite compares names: it folds the case of ASCII letters and of no others."""
    return name.encode().lower()


def is_reserved(name: str) -> bool:
    """Whether the name is one of SQLite's tables or of the import ledger's, so that no stream can have it."""
    return folded(name).startswith(b"sqlite_") or folded(name) in _OWN_TABLES


def is_own(connection: apsw.Connection, table: str) -> bool:
    """Whether an existing table belongs to the import ledger."""
    mark = _OWN_TABLES.get(folded(table))
    return mark is not None and bool(
        connection.execute("SELECT 1 FROM pragma_table_info(?, 'main') WHERE name = ?", (table, mark)).fetchall()
    )


def ensure_ledger_names(connection: apsw.Connection) -> None:
    """ConfigurationError when the app has a table with the name of one of the import ledger's."""
    for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')").fetchall():
        if folded(str(name)) in _OWN_TABLES and not is_own(connection, str(name)):
            raise ConfigurationError(
                f"The destination has a table {name} of its own, and the pipeline keeps its import ledger under this name; "
                "rename that table"
            )


def read_table(connection: apsw.Connection, name: str) -> Table:
    """Return the existing table `name`, in whatever case it is written."""
    found, without_rowid, strict = connection.execute(
        "SELECT name, wr, strict FROM pragma_table_list(?) WHERE schema = 'main'", (name,)
    ).fetchall()[0]
    name = str(found)
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
    """Return the INTEGER PRIMARY KEY. One that has an index (`INTEGER PRIMARY KEY DESC`) is an ordinary column."""
    key = [column for column in columns if column.key_position]
    if len(key) != 1 or key[0].declared_type.upper() != "INTEGER":
        return None
    indexed = connection.execute("SELECT 1 FROM pragma_index_list(?, 'main') WHERE origin = 'pk'", (table,)).fetchall()
    return None if indexed else key[0].name


def create_sql(connection: apsw.Connection, table: str) -> str | None:
    """Return the CREATE TABLE statement of a table, in whatever case it is written; None when there is none."""
    query = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ? COLLATE NOCASE"
    sql = connection.execute(query, (table,)).get
    return sql if isinstance(sql, str) else None


def encoding_of(connection: apsw.Connection) -> str:
    """Return the encoding of text in the database: `UTF-8`, `UTF-16le` or `UTF-16be`."""
    return str(connection.execute("PRAGMA encoding").get)


def sequence_of(connection: apsw.Connection, table: str) -> int | None:
    """Return the last number that an AUTOINCREMENT table has given out, or None for another table."""
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'").fetchall():
        return None
    rows = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchall()
    return int(str(rows[0][0])) if rows else None
