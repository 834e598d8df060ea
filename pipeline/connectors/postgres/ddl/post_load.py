"""After the load: create what is better created last (constraints, indexes, sequence values), and check the rest.

Each thing is created by itself, so that none holds its locks for longer than it needs. What the rows or the server do
not allow is a violation; nothing is removed for it, and it is tried again the next time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set

import psycopg

from pipeline.connectors.postgres.ddl.across.defaults import default_here
from pipeline.connectors.postgres.ddl.constraints_out import create_constraints
from pipeline.connectors.postgres.ddl.create_table import (
    OLDEST_WITH_NOT_NULL_NAMES,
    Native,
    identity_clause,
    identity_sequence,
    name_of,
    run_single,
)
from pipeline.connectors.postgres.ddl.ensure_table import postgres_native
from pipeline.connectors.postgres.ddl.evolution.constraints import present_definitions
from pipeline.connectors.postgres.ddl.evolution.names import ALREADY_EXISTS, NameOwners
from pipeline.connectors.postgres.ddl.evolution.partition_indexes import misnamed_indexes
from pipeline.connectors.postgres.ddl.evolution.partitions import checks_to_inherit
from pipeline.connectors.postgres.ddl.foreign_keys import create_foreign_key
from pipeline.connectors.postgres.ddl.present_tables import PresentTables
from pipeline.connectors.postgres.ddl.sequences import advance_own_sequences, advance_sequences, sequence_of
from pipeline.connectors.postgres.schema.catalog_queries import Row
from pipeline.connectors.postgres.schema.definitions import nameless
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.postgres.session.errors import server_message
from pipeline.connectors.sql.identifiers import qualified, quoted
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import Violation

READ_TABLES = 200
"""The columns and constraints of this many tables are read, and kept in memory, at once."""
_ABOUT_THE_STATEMENT = ("0A", "22", "23", "2B", "2F", "38", "39", "42", "54", "55000", "P0")
"""SQLSTATEs, or their classes, that say that something cannot be created; any other is about the server."""


def finish_streams(
    connection: Connection,
    schemas: Sequence[StreamSchema],
    streams: Set[StreamName],
    ours: Set[StreamName],
    owners: NameOwners,
) -> list[Violation]:
    """Create what concerns these of the Flow's streams, whose `schemas` are given.

    `ours` are those whose tables were empty before the Flow's first load. `owners` have the names of what is created.
    """
    every = [_Table(connection, schema.stream, postgres_native(schema), owners) for schema in schemas]
    wanted = [table for table in every if table.stream in streams]
    related = {name for table in every if table.parents for name in (table.name, *table.parents)}
    violations: list[Violation] = []
    for table in wanted:
        violations += table.inherit()
    for table in _with_present(connection, wanted, related):
        violations += table.create_constraints(renames=table.stream in ours)
        if table.stream in ours:
            violations += table.forbid_nulls()
            violations += table.set_defaults()
            violations += table.name_sequences()
            violations += table.name_partition_indexes()
            violations += table.set_persistence()
        violations += table.advance_sequences()
    names = {table.name for table in wanted}
    referring = [table for table in every if table.refers_to(names)]
    for table in _with_present(connection, referring, related):
        violations += table.create_foreign_keys(names)
    violations += create_constraints(connection, schemas, streams)
    return violations


def _with_present(connection: Connection, tables: Sequence[_Table], related: Set[tuple[str, str]]) -> Iterator[_Table]:
    """Give the tables, some at a time with what they have. Those `related` by inheritance change with each other."""
    for start in range(0, len(tables), READ_TABLES):
        some = tables[start : start + READ_TABLES]
        present = PresentTables(connection, [table.name for table in some if table.name not in related])
        for table in some:
            table.present = present
            yield table


class _Table:
    """Creates what one table lacks of its description. `present` tells what it has."""

    def __init__(self, connection: Connection, stream: StreamName, native: Native, owners: NameOwners) -> None:
        self._connection = connection
        self._owners = owners
        self.stream = stream
        self._native = native
        self.name = name_of(native)
        self.parents = [(schema, name) for schema, name in native.get("inherits", ())]
        self._sql = qualified(*self.name)
        self.present = PresentTables(connection, [])
        self._names_not_null = connection.info.server_version >= OLDEST_WITH_NOT_NULL_NAMES

    def inherit(self) -> Iterator[Violation]:
        """Let the table inherit from its parents."""
        for parent in self.parents:
            present = self._connection.execute(
                "SELECT FROM pg_inherits WHERE inhrelid = to_regclass(%s) AND inhparent = to_regclass(%s)",
                (self._sql, qualified(*parent)),
            )
            if not present.rowcount:
                for check, definition in checks_to_inherit(self._connection, self._sql, qualified(*parent)):
                    statement = f"ALTER TABLE {self._sql} ADD CONSTRAINT {quoted(check)} {definition}"
                    yield from self._create(f"the constraint {check}", statement)
                statement = f"ALTER TABLE {self._sql} INHERIT {qualified(*parent)}"
                yield from self._create(f"the inheritance from {parent[1]}", statement)

    def create_constraints(self, *, renames: bool) -> Iterator[Violation]:
        """Create the constraints and indexes of the table and its partitions, unless one of that name exists.

        Nor is one created where an equal one has a name that nothing has at the source. Two that are equal there are two here.
        """
        for native in self._every():
            table = qualified(*name_of(native))
            if renames:
                yield from self._rename_equal(native)
            definitions = self.present.definitions(name_of(native))
            has_key = any(text.startswith("PRIMARY KEY") for text in definitions[0].values())
            names = {it["name"] for it in (*native.get("constraints", ()), *native.get("indexes", ()))}
            constraints, indexes = (_texts(found, without=names) for found in definitions)
            for it in native.get("constraints", ()):
                if (has_key and it["kind"] == "primary") or (it["kind"] == "not null" and not self._names_not_null):
                    continue
                if constraints.isdisjoint((it["name"], it["definition"])):
                    statement = f"ALTER TABLE {table} ADD CONSTRAINT {quoted(it['name'])} {it['definition']}"
                    yield from self._create(f"the constraint {it['name']}", statement, native, it["name"])
            for it in native.get("indexes", ()):
                if indexes.isdisjoint((it["name"], nameless(it["name"], it["definition"]))):
                    yield from self._create(f"the index {it['name']}", it["definition"], native, it["name"])

    def _rename_equal(self, native: Native) -> Iterator[Violation]:
        """Give constraints that are equal to the source's the names that they have there; indexes in tables of ours."""
        table, schema = qualified(*name_of(native)), native["schema"]
        constraints, indexes = self.present.definitions(name_of(native))
        for was, name in self._renames(
            {it["name"]: it["definition"] for it in native.get("constraints", ())}, constraints
        ):
            statement = f"ALTER TABLE {table} RENAME CONSTRAINT {quoted(was)} TO {quoted(name)}"
            yield from self._create(f"the constraint {name}", statement, native, name)
        if native is self._native and self._sql in self._owners.created:
            wanted = {it["name"]: nameless(it["name"], it["definition"]) for it in native.get("indexes", ())}
            alone = {name: text for name, text in indexes.items() if name not in constraints}
            for was, name in self._renames(wanted, alone):
                statement = f"ALTER INDEX {qualified(schema, was)} RENAME TO {quoted(name)}"
                yield from self._create(f"the index {name}", statement, native, name)

    def _renames(self, wanted: Mapping[str, str], present: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """Give what is present under a name that is not wanted, and its name at the source. Both map names to definitions."""
        others = {text: name for name, text in present.items() if name not in wanted}
        for name, text in wanted.items():
            if name not in present and text in others and self._owners.is_of(self._native, (self.name[0], name)):
                yield others.pop(text), name

    def name_sequences(self) -> Iterator[Violation]:
        """Give the sequences of identity columns of a table of ours the source's names."""
        for sequence in self._native.get("sequences", ()) if self._sql in self._owners.created else ():
            schema, name = sequence["schema"], sequence["name"]
            present = sequence_of(self._connection, self._sql, sequence["column"]) if sequence["identity"] else None
            if present is not None and schema == self.name[0] and not self._is_called(present, qualified(schema, name)):
                statement = f"ALTER SEQUENCE {present} RENAME TO {quoted(name)}"
                yield from self._create(f"the sequence {name}", statement, self._native, name)

    def name_partition_indexes(self) -> Iterator[Violation]:
        """Give the indexes that partitions of ours have for those of their parents the source's names."""
        for index in misnamed_indexes(self._connection, self._native, self._owners.created):
            yield from self._create(f"the index {index.name}", index.renamed(index.name), index.partition, index.name)

    def _is_called(self, relation: str, name: str) -> bool:
        row = self._connection.execute("SELECT to_regclass(%s) = to_regclass(%s)", (relation, name)).fetchone()
        return row == (True,)

    def forbid_nulls(self) -> Iterator[Violation]:
        """Set NOT NULL on columns that could not have it when they were added to a table with rows."""
        for native, columns in self._with_columns():
            for column in native["columns"]:
                if column.get("not_null") and column["name"] in columns and not columns[column["name"]]["not_null"]:
                    statement = f"{_alter_column(native, column)} SET NOT NULL"
                    if column.get("not_null_here") and self._names_not_null:
                        clause = (
                            f"CONSTRAINT {quoted(column['not_null_name'])} NOT NULL {quoted(column['name'])} NO INHERIT"
                        )
                        statement = f"ALTER TABLE {qualified(*name_of(native))} ADD {clause}"
                    yield from self._create(f"NOT NULL of {column['name']}", statement)
                    columns = self.present.columns(name_of(native))
                was, name = (it.get("not_null_name") for it in (columns.get(column["name"], {}), column))
                if was and name and was != name and native is self._native:  # in a partition it cannot be renamed
                    statement = (
                        f"ALTER TABLE {qualified(*name_of(native))} RENAME CONSTRAINT {quoted(was)} TO {quoted(name)}"
                    )
                    yield from self._create(f"the constraint {name}", statement)

    def set_defaults(self) -> Iterator[Violation]:
        """Set the defaults and identities that columns have at the source and not here, in partitions their own."""
        for native, columns in self._with_columns():
            for column in native["columns"]:
                present = columns.get(column["name"])
                if present is None or present["generated"] or present["identity"]:
                    continue
                default = default_here(column, present["type"])
                alter = _alter_column(native, column)
                if present["expression"] == default and not column.get("identity"):
                    continue
                if column.get("identity") and (present["expression"] is not None or native.get("row_numbers")):
                    continue  # the app's own table, which numbers its rows in its own way
                if column.get("identity"):
                    statement = f"{alter} ADD {identity_clause(column, native)}"
                    sequence = identity_sequence(column["name"], native)
                    name = None if sequence is None else sequence["name"]
                    if sequence is not None and self._is_serial(native, column["name"], sequence):
                        former = qualified(sequence["schema"], sequence["name"])
                        yield from self._create(f"the sequence {name}", f"DROP SEQUENCE {former}")
                    yield from self._create(f"the identity of {column['name']}", statement, native, name)
                elif default is not None and (present["expression"] is None or native is not self._native):
                    yield from self._create(f"the default of {column['name']}", f"{alter} SET DEFAULT {default}")
                elif native is not self._native:
                    yield from self._create(f"the default of {column['name']}", f"{alter} DROP DEFAULT")

    def _is_serial(self, native: Native, column: str, sequence: Native) -> bool:
        """Whether a column without an identity still owns a sequence of this name, which its default took numbers from."""
        row = self._connection.execute(
            "SELECT to_regclass(pg_get_serial_sequence(%s, %s)) = to_regclass(%s)",
            (qualified(*name_of(native)), column, qualified(sequence["schema"], sequence["name"])),
        ).fetchone()
        return row == (True,)

    def _with_columns(self) -> Iterator[tuple[Native, Mapping[str, Row]]]:
        """Give the descriptions of the table and of partitions with columns of their own, each with its columns here."""
        for native in self._every():
            if native.get("columns"):
                yield native, self.present.columns(name_of(native))

    def _every(self) -> Iterator[Native]:
        """Give the descriptions of the table and its partitions."""
        yield self._native
        yield from self._native.get("partitions", ())

    def set_persistence(self) -> Iterator[Violation]:
        """Make the table LOGGED or UNLOGGED. Partitions are left as they are: the source does not tell."""
        wanted = bool(self._native.get("unlogged"))
        present = self.present.is_unlogged(self.name)
        if present not in (None, wanted) and "unlogged" in self._native:
            word = "UNLOGGED" if wanted else "LOGGED"
            yield from self._create(f"{word} of the table", f"ALTER TABLE {self._sql} SET {word}")

    def advance_sequences(self) -> Iterator[Violation]:
        """Advance the table's sequences to those of the source, and those that it has beside to its last numbers."""
        try:
            advance_sequences(self._connection, self._native)
            if self._sql not in self._owners.created:
                advance_own_sequences(self._connection, self._native)
        except psycopg.errors.InsufficientPrivilege as error:
            message = f"its sequence cannot be set to the last number: {error.diag.message_primary}"
            yield Violation(self.stream, message)

    def refers_to(self, tables: Set[tuple[str, str]]) -> bool:
        """Whether the table or a partition has a foreign key from or to these tables."""
        return any(self._foreign_keys(native, tables) for native in self._every())

    def _foreign_keys(self, native: Native, tables: Set[tuple[str, str]]) -> Sequence[Native]:
        keys = native.get("foreign_keys", ())
        return [key for key in keys if self.name in tables or tuple(key["references"]) in tables]

    def create_foreign_keys(self, tables: Set[tuple[str, str]]) -> Iterator[Violation]:
        """Create missing foreign keys from and to these tables."""
        for native in self._every():
            wanted = self._foreign_keys(native, tables)
            present = _texts(self.present.definitions(name_of(native))[0]) if wanted else set()
            for key in wanted:
                if present.isdisjoint((key["name"], key["definition"])):
                    not_created = create_foreign_key(self._connection, name_of(native), key)
                    if not_created is not None and not (not_created.unsupported and self._is_left_over(native, key)):
                        yield Violation(self.stream, not_created.reason, not_created.columns)

    def _is_left_over(self, native: Native, key: Native) -> bool:
        """Whether the source has dropped the table of a foreign key that its tables do not allow.

        Both tables are as the source describes them, which has no such key then; ours is empty, and stays for its name.
        """
        table = qualified(*name_of(native))
        if not {table, qualified(*key["references"])} <= self._owners.created:
            return False
        return self._connection.execute(f"SELECT NOT EXISTS (SELECT FROM {table})".encode()).fetchone() == (True,)

    def _create(
        self, what: str, statement: str, native: Native | None = None, name: str | None = None
    ) -> Iterator[Violation]:
        """Run a statement. A name that it gives to a part of `native`'s table is taken from a table that has lost it."""
        try:
            run_single(self._connection, statement)
            if not statement.startswith("CREATE"):  # what an index adds is not asked for again
                self.present.forget(self.name)
        except ALREADY_EXISTS as error:
            if native is not None and name is not None:
                if self._has(native, name):  # another process has created it in the meantime
                    return
                if self._owners.take(self._native, (native["schema"], name)):
                    self.present.forget_all()
                    yield from self._create(what, statement, native, name)
                    return
            yield Violation(
                self.stream, f"{what} cannot be created: {server_message(error)}; rename that, and move again"
            )
        except psycopg.Error as error:
            if not (error.sqlstate or "").startswith(_ABOUT_THE_STATEMENT):
                raise
            yield Violation(self.stream, f"{what} cannot be created: {server_message(error)}")

    def _has(self, native: Native, name: str) -> bool:
        return any(name in found for found in present_definitions(self._connection, qualified(*name_of(native))))


def _alter_column(native: Native, column: Native) -> str:
    return f"ALTER TABLE {qualified(*name_of(native))} ALTER COLUMN {quoted(column['name'])}"


def _texts(present: Mapping[str, str], *, without: Set[str] = frozenset()) -> Set[str]:
    """Return all names, and definitions but for those of names in `without`.

    An index may have the name of a constraint that is none of its own.
    """
    return {*present, *(text for name, text in present.items() if name not in without)}
