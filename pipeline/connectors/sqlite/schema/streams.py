"""The tables of a source as streams: their columns, their keys, and the statements that create them."""

from __future__ import annotations

from collections.abc import Mapping

import apsw

from pipeline.codec.event_files.constraints import MEMBER, constraints_to_json
from pipeline.connectors.sql.identifiers import quoted
from pipeline.connectors.sqlite.schema.constraints import read_constraints
from pipeline.connectors.sqlite.schema.tables import (
    Table,
    TableColumn,
    create_sql,
    encoding_of,
    sequence_of,
    table_names,
)
from pipeline.domain.ids import Label, StreamName
from pipeline.domain.schema import Column, StreamSchema


def stream_schema(connection: apsw.Connection, table: Table, *, generated: bool = False) -> StreamSchema:
    """Return the table as a stream, with its `generated` columns if they are to be compared.

    The PRIMARY KEY identifies a row, or else its row number.
    The row number then is an additional first column under the name that `native` gives as `rowid`. A table without
    either (see `Table.rowid`) is listed with all its columns as the key; it cannot be read.
    """
    shown = {column.name for column in table.columns if generated and _can_be_read(connection, table, column)}
    chosen = [column for column in table.columns if not column.generated or column.name in shown]
    columns = tuple(map(_column, chosen))
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


def _can_be_read(connection: apsw.Connection, table: Table, column: TableColumn) -> bool:
    """Whether a generated column can be computed here: it may call a function that only the app knows."""
    try:
        connection.execute(f"SELECT {quoted(column.name)} FROM main.{quoted(table.name)} LIMIT 0")
    except apsw.SQLError:
        return False
    return True


def read_definitions(connection: apsw.Connection) -> Mapping[StreamName, Mapping[str, str]]:
    """Return the indexes of each table, and the last number that an AUTOINCREMENT table has given out."""
    found: dict[StreamName, dict[str, str]] = {}
    rows = connection.execute("SELECT tbl_name, name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL")
    for table, name, sql in rows.fetchall():
        found.setdefault(StreamName(str(table)), {})[f"index {name}"] = str(sql)
    for table in table_names(connection):
        if (last := sequence_of(connection, table)) is not None:
            name = f"AUTOINCREMENT number {last}"
            found.setdefault(StreamName(table), {})[name] = name
    return found


def sqlite_native(schema: StreamSchema) -> Mapping[str, object]:
    """Return what an SQLite source has written about the stream; empty for another source."""
    native = schema.native.get("sqlite")
    return native if isinstance(native, Mapping) else {}


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
    indexes = connection.execute(
        "SELECT sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = ? ORDER BY name",
        (table.name,),
    ).fetchall()
    return {
        "create_table": create_sql(connection, table.name),
        "indexes": [sql for (sql,) in indexes],
        "rowid": rowid,
        "encoding": encoding_of(connection),
        "autoincrement_sequence": sequence_of(connection, table.name),
        MEMBER: constraints_to_json(read_constraints(connection, table)),
    }
