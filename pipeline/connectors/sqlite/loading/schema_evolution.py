"""Schema evolution: a table that was created here is rebuilt when the source declares it differently.

A table that the user created, or has changed since, only gets more columns (`ensure_table.py`). A managed table becomes
what the source's is now: columns dropped, renamed or declared differently, another key, other constraints. Its rows are
carried over. Where they violate a new constraint, the table has no constraints until all records are loaded; then the
rebuild is retried.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import apsw
import orjson

from pipeline.connectors.sql.identifiers import quoted, quoted_list
from pipeline.connectors.sqlite.app_code import accept_collations, run_with_functions
from pipeline.connectors.sqlite.loading.binding import REJECTING_ERRORS
from pipeline.connectors.sqlite.loading.constraints_out import index_statements
from pipeline.connectors.sqlite.loading.ensure_table import create_statement, ensure_own_names, ensure_table
from pipeline.connectors.sqlite.loading.target import Target
from pipeline.connectors.sqlite.schema.streams import sqlite_native
from pipeline.connectors.sqlite.schema.tables import create_sql, folded, read_table
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import Violation

_LEDGER = """
CREATE TABLE IF NOT EXISTS _pipeline_tables (
    name TEXT PRIMARY KEY, sql TEXT NOT NULL, made_from TEXT NOT NULL, wanted TEXT NOT NULL, indexes TEXT NOT NULL,
    as_of TEXT NOT NULL
) WITHOUT ROWID
"""
HOLDER = "FROM sqlite_schema WHERE name = ? COLLATE NOCASE AND type <> 'trigger'"
"""What has a name. A trigger may have that of a table."""
_FORMER = "_pipeline_former"
_NOT_REBUILT: tuple[type[Exception], ...] = (*REJECTING_ERRORS, apsw.SQLError)


@dataclass(frozen=True, slots=True)
class ManagedTable:
    """A table that was created here.

    `sql` is its statement in the schema after the last change made here; if the schema has another, the table is no
    longer managed. `made_from` is the statement it was created with, empty since a column was added. `wanted` is the
    statement that the latest Event File, exported at `as_of`, asks for, and `indexes` its indexes.
    """

    name: str
    sql: str
    made_from: str
    wanted: str
    indexes: tuple[str, ...]
    as_of: str


class ManagedTables:
    """The tables that were created here. Methods are called within a transaction."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def ensure(self, schema: StreamSchema, exported: datetime) -> tuple[Target, bool]:
        """Return the stream's table, created or changed as needed, and whether this is the latest schema of the stream.

        Files that are applied side by side may have been exported before and after a change.
        """
        ensure_own_names(self._connection, schema)
        self._connection.execute(_LEDGER).fetchall()
        managed, is_latest = self._read(schema.stream), True
        if managed is not None:
            is_latest = _timestamp(exported) >= managed.as_of
            if is_latest:
                managed = self._evolve(managed, schema, exported)
        before = create_sql(self._connection, schema.stream)
        target = ensure_table(self._connection, schema)
        sql = create_sql(self._connection, schema.stream) or ""
        if before is None:
            made_from = _create_statement(schema) or ""
            indexes, as_of = _indexes(schema), _timestamp(exported)
            self._write(ManagedTable(schema.stream, sql, made_from, made_from, indexes, as_of))
        elif managed is not None and sql != before:
            self._write(replace(managed, sql=sql, made_from=""))
        return target, is_latest

    def _evolve(self, managed: ManagedTable, schema: StreamSchema, exported: datetime) -> ManagedTable:
        """Change a table into what its source declares now, if its rows allow it."""
        wanted, indexes = _create_statement(schema) or managed.wanted, _indexes(schema)
        self._drop_indexes(managed, indexes)
        managed = replace(managed, wanted=wanted, indexes=indexes, as_of=_timestamp(exported))
        self._write(managed)
        if managed.made_from == wanted:
            return managed
        if not managed.made_from or self._rebuild(managed, managed.wanted) is not None:
            self._relax(managed, schema)
        return self._read(schema.stream) or managed

    def _relax(self, managed: ManagedTable, schema: StreamSchema) -> None:
        """Let the table have no constraint but its key until it can be rebuilt.

        Its rows may break what the source declares now until theirs come: a column that was renamed has no value under
        its new name yet. And the rows to come may break what the source declared before.
        """
        statement = _relaxed(managed, schema)
        if managed.sql != statement:
            self._rebuild(managed, statement)

    def retry_rebuilds(self, streams: Sequence[StreamName]) -> Iterator[Violation]:
        """Rebuild tables that could not be rebuilt while records were missing. One that still cannot is a violation."""
        if not self._connection.table_exists("main", "_pipeline_tables"):
            return
        for stream in streams:
            managed = self._read(stream)
            if managed is None or managed.made_from == managed.wanted:
                continue
            reason = self._rebuild(managed, managed.wanted)
            if reason is not None:
                yield Violation(stream, f"the table cannot be changed to what the source declares now: {reason}")

    def frees_index(self, name: str, stream: StreamName) -> bool:
        """Return whether an index of this name can be made for a stream's table, which may have it already.

        An index that was made here for another table, which has no rows, is dropped: that table is gone at the source or
        has another name there. ConfigurationError when something else has the name.
        """
        held = self._connection.execute(f"SELECT type, tbl_name, sql {HOLDER}", (name,)).get
        if held is None:
            return True
        kind, table, sql = map(str, held)
        if kind == "index" and folded(table) == folded(stream):
            return False
        if self.drops_former(name):
            return True
        other = self._read(StreamName(table)) if kind == "index" else None
        if other is None or sql not in other.indexes:
            raise ConfigurationError(
                f"the index {name} cannot be made: its name is in use by another {kind} of the destination"
                f"{f', on the table {table}' if kind == 'index' else ''}. Rename or drop that"
            )
        if self._is_empty(table):
            self._connection.execute(f"DROP INDEX main.{quoted(name)}").fetchall()
            return True
        if self._is_empty(stream):
            return False  # the source has given the index to the other table
        raise ConfigurationError(
            f"the index {name} cannot be made: the table {table} still has it, and has rows that the source has under "
            "another name. Allow their deletes with --allow-deletes, or drop the index"
        )

    def drops_former(self, name: str) -> bool:
        """Drop the table or index of a name that something else has at the source, if it was made here and holds no row.

        The names of tables, views, virtual tables and indexes are one set, so the source has it no more.
        """
        if not self._connection.table_exists("main", "_pipeline_tables"):
            return False
        query = f"SELECT type, name, tbl_name, sql {HOLDER}"
        held = self._connection.execute(query, (name,)).get
        kind, found, table, sql = map(str, held) if held else ("", "", "", "")
        managed = self._read(StreamName(table)) if kind in ("table", "index") else None
        if managed is None:
            return False
        if kind == "index":
            if sql not in managed.indexes:
                return False
            self._connection.execute(f"DROP INDEX main.{quoted(found)}").fetchall()
            return True
        rejected = "SELECT 1 FROM _pipeline_rejected WHERE stream = ? COLLATE NOCASE LIMIT 1"
        if (
            not self._is_empty(found)
            or self._foreign_object(managed)
            or self._connection.execute(rejected, (found,)).fetchall()
        ):
            return False
        self._connection.execute(f"DROP TABLE main.{quoted(found)}").fetchall()
        for ledger, column in (("_pipeline_tables", "name"), ("_pipeline_streams", "stream")):
            self._connection.execute(f"DELETE FROM {ledger} WHERE {column} = ? COLLATE NOCASE", (found,)).fetchall()
        return True

    def _is_empty(self, table: str) -> bool:
        return self._connection.execute(f"SELECT 1 FROM main.{quoted(table)} LIMIT 1").get is None

    def _rebuild(self, managed: ManagedTable, statement: str) -> str | None:
        """Create the table again with the rows it has; return why not, with nothing changed."""
        if foreign := self._foreign_object(managed):
            return f"{foreign} was not made by the pipeline and would be lost; drop it"
        self._connection.execute("SAVEPOINT pipeline_rebuild; PRAGMA legacy_alter_table = ON").fetchall()
        try:
            self._replace(managed, statement)
        except _NOT_REBUILT as error:
            self._connection.execute("ROLLBACK TO pipeline_rebuild; RELEASE pipeline_rebuild").fetchall()
            return str(error)
        finally:
            self._connection.execute("PRAGMA legacy_alter_table = OFF").fetchall()
        self._connection.execute("RELEASE pipeline_rebuild").fetchall()
        return None

    def _replace(self, managed: ManagedTable, statement: str) -> None:
        """Rename, create, copy, drop. Legacy renaming does not change what refers to the table by its name."""
        name, former_name = quoted(managed.name), quoted(self._free_name())
        triggers = self._triggers(managed)
        before = read_table(self._connection, managed.name)
        self._connection.execute(f"ALTER TABLE main.{name} RENAME TO {former_name}").fetchall()
        run_with_functions(self._connection, statement)
        after = read_table(self._connection, managed.name)
        former = {folded(column.name) for column in before.data_columns}
        columns = [quoted(column.name) for column in after.data_columns if folded(column.name) in former]
        into, chosen = list(columns), list(columns)
        if not before.key_is_never_null and not after.key_is_never_null and before.rowid and after.rowid:
            into.append(after.rowid)
            chosen.append(before.rowid)
        if columns:
            self._connection.execute(
                f"INSERT OR ABORT INTO main.{name}({', '.join(into)}) SELECT {', '.join(chosen)} FROM main.{former_name}"
            ).fetchall()
        self._connection.execute(f"DROP TABLE main.{former_name}").fetchall()
        for sql in triggers:
            self._connection.execute(sql).fetchall()
        sql = create_sql(self._connection, managed.name) or ""
        self._write(replace(managed, sql=sql, made_from=statement if statement == managed.wanted else ""))

    def _free_name(self) -> str:
        name = _FORMER
        while self._connection.execute("SELECT 1 FROM sqlite_schema WHERE name = ? COLLATE NOCASE", (name,)).fetchall():
            name += "_"
        return name

    def _foreign_object(self, managed: ManagedTable) -> str | None:
        """Return a trigger on the table, or an index that the source does not have: it would be lost with the table."""
        known = {*managed.indexes, *self._created_triggers()}
        for kind, name, sql in self._connection.execute(
            "SELECT type, name, sql FROM sqlite_schema WHERE tbl_name = ? AND type IN ('trigger', 'index') "
            "AND sql IS NOT NULL",
            (managed.name,),
        ).fetchall():
            if sql not in known:
                return f"the {kind} {name}"
        return None

    def _triggers(self, managed: ManagedTable) -> list[str]:
        """Return the statements of the triggers on a table."""
        rows = self._connection.execute(
            "SELECT sql FROM sqlite_schema WHERE tbl_name = ? AND type = 'trigger'", (managed.name,)
        )
        return [str(sql) for (sql,) in rows.fetchall()]

    def _created_triggers(self) -> set[str]:
        """Return the statements of the triggers that were created here."""
        if not self._connection.table_exists("main", "_pipeline_objects"):
            return set()
        rows = self._connection.execute(
            "SELECT json_extract(created, '$.create[0]') FROM _pipeline_objects WHERE kind = 'trigger' AND created IS NOT NULL"
        )
        return {str(sql) for (sql,) in rows.fetchall()}

    def _drop_indexes(self, managed: ManagedTable, wanted: Sequence[str]) -> None:
        """Drop indexes that the source no longer has: rows that they forbid may be allowed now."""
        for statement in set(managed.indexes) - set(wanted):
            rows = self._connection.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = ? AND sql = ?",
                (managed.name, statement),
            ).fetchall()
            for (name,) in rows:
                self._connection.execute(f"DROP INDEX main.{quoted(str(name))}").fetchall()

    def _read(self, stream: StreamName) -> ManagedTable | None:
        """Return what is stored of a table that is still as the last change made here left it."""
        rows = self._connection.execute(
            "SELECT name, sql, made_from, wanted, indexes, as_of FROM _pipeline_tables WHERE name = ? COLLATE NOCASE",
            (stream,),
        ).fetchall()
        if not rows or rows[0][1] != create_sql(self._connection, stream):
            return None
        name, sql, made_from, wanted, indexes, as_of = map(str, rows[0])
        return ManagedTable(name, sql, made_from, wanted, tuple(orjson.loads(indexes)), as_of)

    def _write(self, managed: ManagedTable) -> None:
        indexes = orjson.dumps(managed.indexes).decode()
        self._connection.execute(
            "INSERT OR REPLACE INTO _pipeline_tables VALUES (?, ?, ?, ?, ?, ?)",
            (managed.name, managed.sql, managed.made_from, managed.wanted, indexes, managed.as_of),
        ).fetchall()


def _relaxed(managed: ManagedTable, schema: StreamSchema) -> str:
    """Return the statement of a table with the columns that the source declares now, and no constraint but its key."""
    with closing(apsw.Connection(":memory:")) as scratch:
        accept_collations(scratch)
        run_with_functions(scratch, managed.wanted)
        table = read_table(scratch, managed.name)
    columns = [column for column in table.columns if not column.generated or column.name in schema.column_names]
    names = {column.name for column in columns}
    declared = tuple(column.name for column in table.declared_key)
    keys = dict.fromkeys(key for key in (declared, schema.primary_keys) if key and names.issuperset(key))
    parts = [f"{quoted(one.name)} {one.declared_type} COLLATE {quoted(one.collation)}" for one in columns]
    parts += [f"{'PRIMARY KEY' if key == declared else 'UNIQUE'} ({quoted_list(key)})" for key in keys]
    return f"CREATE TABLE {quoted(managed.name)} ({', '.join(parts)}){' STRICT' if table.strict else ''}"


def _timestamp(exported: datetime) -> str:
    """Return the time as text that sorts by time."""
    return exported.astimezone(UTC).isoformat(timespec="microseconds")


def _indexes(schema: StreamSchema) -> tuple[str, ...]:
    native = sqlite_native(schema)
    statements = native.get("indexes") if native else index_statements(schema)
    return tuple(map(str, statements)) if isinstance(statements, list) else ()


def _create_statement(schema: StreamSchema) -> str | None:
    """Return the statement that creates the stream's table, or None when it cannot be used."""
    try:
        return create_statement(schema)
    except ConfigurationError:
        return None
