"""Tables that follow their source: one that was made here is made anew when the source declares it otherwise.

A table that somebody else made, or has changed since, only ever gets more columns (`target.py`). One of ours becomes what
the source's is now: columns that were dropped, renamed or declared anew, another key, other constraints. Its rows are
carried over; where a new constraint does not hold for them yet, that is tried again when all records are in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import apsw
import orjson

from pipeline.connectors.sql.identifiers import quoted
from pipeline.connectors.sqlite.loading.constraints_out import index_statements
from pipeline.connectors.sqlite.loading.rejections import REFUSALS
from pipeline.connectors.sqlite.loading.target import create_statement, sqlite_native
from pipeline.connectors.sqlite.schema.tables import folded, read_table
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import Violation

_OWN_TABLE = """
CREATE TABLE IF NOT EXISTS _pipeline_tables (
    name TEXT PRIMARY KEY, sql TEXT NOT NULL, made_from TEXT NOT NULL, wanted TEXT NOT NULL, indexes TEXT NOT NULL,
    as_of TEXT NOT NULL
) WITHOUT ROWID
"""
_FORMER = "_pipeline_former"
_CANNOT: tuple[type[Exception], ...] = (*REFUSALS, apsw.SQLError)


@dataclass(frozen=True, slots=True)
class Following:
    """What is known of a table that was made here.

    `sql` is how it stood in the schema when it was last changed from here: if it stands otherwise, it is not ours any
    more. `made_from` is the statement that it was made with, empty since a column was added; `wanted` the one that the
    latest Event File, exported at `as_of`, asks for, and `indexes` the indexes.
    """

    name: str
    sql: str
    made_from: str
    wanted: str
    indexes: tuple[str, ...]
    as_of: str


@dataclass(frozen=True, slots=True)
class Found:
    """How a table was found before a load: `sql` as it stood, None where there was none; `ours` if it was made here.

    `is_latest` says that no later schema of the stream has been seen: files that are applied side by side may have been
    exported before and after a change.
    """

    sql: str | None
    ours: Following | None
    is_latest: bool


class ManagedTables:
    """The tables made here. Its methods are called within a transaction."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def prepare(self, schema: StreamSchema, exported: datetime) -> Found:
        """Let the stream's table follow what its source declares now, if it is there and ours."""
        self._connection.execute(_OWN_TABLE).fetchall()
        known, sql = self._read(schema.stream), self._sql_of(schema.stream)
        if known is None or known.sql != sql:
            return Found(sql, None, is_latest=True)
        if _moment(exported) < known.as_of:
            return Found(sql, known, is_latest=False)
        indexes = _indexes(schema)
        self._drop_indexes(known, indexes)
        known = replace(known, wanted=_declaration(schema) or known.wanted, indexes=indexes, as_of=_moment(exported))
        self._write(known)
        if known.made_from not in ("", known.wanted) and self._rebuild(known) is None:
            known = self._read(schema.stream)
        return Found(self._sql_of(schema.stream), known, is_latest=True)

    def note(self, found: Found, schema: StreamSchema, exported: datetime) -> None:
        """Remember how the table stands after it was made or widened."""
        sql = self._sql_of(schema.stream)
        if sql is None or sql == found.sql:
            return
        if found.sql is None:
            made_from = _declaration(schema) or ""
            self._write(Following(schema.stream, sql, made_from, made_from, _indexes(schema), _moment(exported)))
        elif found.ours is not None:
            self._write(replace(found.ours, sql=sql, made_from=""))

    def catch_up(self, streams: Sequence[StreamName]) -> Iterator[Violation]:
        """Let tables follow that could not while records were missing. One that still cannot is a violation."""
        for stream in streams:
            known, sql = self._read_if_any(stream), self._sql_of(stream)
            if known is None or known.sql != sql or known.made_from == known.wanted:
                continue
            reason = self._rebuild(known)
            if reason is not None:
                yield Violation(stream, f"the table cannot be made as the source declares it now: {reason}")

    def _rebuild(self, known: Following) -> str | None:
        """Make the table anew with the rows it has; return why not, with nothing changed."""
        if strange := self._made_by_others(known):
            return f"{strange} on it was not made by the pipeline, and would be lost; take it off"
        self._connection.execute("SAVEPOINT pipeline_rebuild; PRAGMA legacy_alter_table = ON").fetchall()
        try:
            self._replace(known)
        except _CANNOT as refusal:
            self._connection.execute("ROLLBACK TO pipeline_rebuild; RELEASE pipeline_rebuild").fetchall()
            return str(refusal)
        finally:
            self._connection.execute("PRAGMA legacy_alter_table = OFF").fetchall()
        self._connection.execute("RELEASE pipeline_rebuild").fetchall()
        return None

    def _replace(self, known: Following) -> None:
        """Rename, make, copy, drop. The old way of renaming leaves alone what refers to the table by its name."""
        name = quoted(known.name)
        before = read_table(self._connection, known.name)
        self._connection.execute(f"ALTER TABLE main.{name} RENAME TO {_FORMER}").fetchall()
        self._connection.execute(known.wanted).fetchall()
        after = read_table(self._connection, known.name)
        there = {folded(column.name) for column in before.data_columns}
        columns = [quoted(column.name) for column in after.data_columns if folded(column.name) in there]
        into, chosen = list(columns), list(columns)
        if not before.key_is_never_null and not after.key_is_never_null and before.rowid and after.rowid:
            into.append(after.rowid)
            chosen.append(before.rowid)
        if columns:
            self._connection.execute(
                f"INSERT OR ABORT INTO main.{name}({', '.join(into)}) SELECT {', '.join(chosen)} FROM main.{_FORMER}"
            ).fetchall()
        self._connection.execute(f"DROP TABLE main.{_FORMER}").fetchall()
        self._write(replace(known, sql=self._sql_of(StreamName(known.name)) or "", made_from=known.wanted))

    def _made_by_others(self, known: Following) -> str | None:
        """Return what on the table would be lost with it: a trigger, or an index that the source does not have."""
        for kind, name, sql in self._connection.execute(
            "SELECT type, name, sql FROM sqlite_schema WHERE tbl_name = ? AND type IN ('trigger', 'index') "
            "AND sql IS NOT NULL",
            (known.name,),
        ).fetchall():
            if sql not in known.indexes:
                return f"the {kind} {name}"
        return None

    def _drop_indexes(self, known: Following, wanted: Sequence[str]) -> None:
        """Drop indexes of ours that the source has no more: what they forbid may be allowed now."""
        for statement in set(known.indexes) - set(wanted):
            rows = self._connection.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = ? AND sql = ?",
                (known.name, statement),
            ).fetchall()
            for (name,) in rows:
                self._connection.execute(f"DROP INDEX main.{quoted(str(name))}").fetchall()

    def _sql_of(self, stream: StreamName) -> str | None:
        sql = self._connection.execute("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?", (stream,)).get
        return sql if isinstance(sql, str) else None

    def _read_if_any(self, stream: StreamName) -> Following | None:
        found = self._connection.execute("SELECT 1 FROM sqlite_schema WHERE name = '_pipeline_tables'").fetchall()
        return self._read(stream) if found else None

    def _read(self, stream: StreamName) -> Following | None:
        rows = self._connection.execute(
            "SELECT name, sql, made_from, wanted, indexes, as_of FROM _pipeline_tables WHERE name = ?", (stream,)
        ).fetchall()
        if not rows:
            return None
        name, sql, made_from, wanted, indexes, as_of = map(str, rows[0])
        return Following(name, sql, made_from, wanted, tuple(orjson.loads(indexes)), as_of)

    def _write(self, known: Following) -> None:
        indexes = orjson.dumps(known.indexes).decode()
        self._connection.execute(
            "INSERT OR REPLACE INTO _pipeline_tables VALUES (?, ?, ?, ?, ?, ?)",
            (known.name, known.sql, known.made_from, known.wanted, indexes, known.as_of),
        ).fetchall()


def _moment(exported: datetime) -> str:
    """Return the time as text that sorts as times do."""
    return exported.astimezone(UTC).isoformat(timespec="microseconds")


def _indexes(schema: StreamSchema) -> tuple[str, ...]:
    native = sqlite_native(schema)
    statements = native.get("indexes") if native else index_statements(schema)
    return tuple(map(str, statements)) if isinstance(statements, list) else ()


def _declaration(schema: StreamSchema) -> str | None:
    """Return the statement that makes the stream's table, or None when there is none that can be used."""
    try:
        return create_statement(schema, sqlite_native(schema))
    except ConfigurationError:
        return None
