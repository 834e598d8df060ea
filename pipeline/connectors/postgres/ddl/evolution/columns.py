"""Columns that have changed at the source: renamed, dropped, of another type, generated, with or without NOT NULL.

The export of a change sends the rows whose values it altered. All others have the same text as before, so a cast by
text is right where no cast from type to type exists. A column that several tables inherit changes with its first parent.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from dataclasses import replace

import psycopg

from pipeline.connectors.postgres.ddl.across.defaults import default_here
from pipeline.connectors.postgres.ddl.across.widening import HELD
from pipeline.connectors.postgres.ddl.create_table import Native, column_definition, run_single
from pipeline.connectors.postgres.ddl.evolution.constraints import ForeignKeyName
from pipeline.connectors.postgres.ddl.evolution.dependents import DEPENDS, without_dependents
from pipeline.connectors.postgres.ddl.evolution.types import OLDEST_WITH_INPUT_IS_VALID
from pipeline.connectors.postgres.ddl.evolution.users import Used, without_users
from pipeline.connectors.postgres.ddl.foreign_keys import read_foreign_keys
from pipeline.connectors.postgres.ddl.target_table import TargetColumn, TargetTable
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.postgres.session.errors import server_message
from pipeline.connectors.sql.identifiers import literal, quoted
from pipeline.connectors.sql.schema_objects import ObjectId
from pipeline.domain.errors import ConfigurationError

_NO_CAST = (psycopg.errors.CannotCoerce, psycopg.errors.DatatypeMismatch)
_IMPOSSIBLE = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.NotSupportedError,
    psycopg.ProgrammingError,
    psycopg.errors.DependentObjectsStillExist,
)
"""A value cannot be cast, or something depends on the column: a view, a foreign key, a constraint, a partition key."""
_DECLARED_IN = """
WITH RECURSIVE parents(oid) AS (
    SELECT %(table)s::oid UNION SELECT i.inhparent FROM parents AS p JOIN pg_inherits AS i ON i.inhrelid = p.oid
)
SELECT format('%%I.%%I', n.nspname, c.relname)
FROM parents AS p JOIN pg_class AS c ON c.oid = p.oid JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = p.oid AND a.attname = %(column)s AND a.attinhcount = 0
"""
_ANCESTORS = """
WITH RECURSIVE parents(oid, depth) AS (
    SELECT %(table)s::oid, 0
    UNION SELECT i.inhparent, p.depth + 1 FROM parents AS p JOIN pg_inherits AS i ON i.inhrelid = p.oid
)
SELECT format('%%I.%%I', n.nspname, c.relname)
FROM parents AS p JOIN pg_class AS c ON c.oid = p.oid JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = p.oid AND a.attname = %(column)s AND a.attnotnull
WHERE NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conrelid = p.oid AND k.contype = 'n' AND k.connoinherit
                  AND k.conkey = ARRAY[a.attnum] AND p.depth > 0)
GROUP BY 1 ORDER BY max(p.depth) DESC
"""
"""The table and those from which it inherits the NOT NULL of a column, parents first: each has to give it up itself."""
_EXPRESSION = """
SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef AS d
JOIN pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum WHERE d.adrelid = %s AND a.attname = %s
"""
_OLDEST_WITH_SET_EXPRESSION = 170000
_KINDS = {"s": "STORED", "v": "VIRTUAL"}


class ColumnEvolution:
    """Changes columns from the description `before` to `now`. `is_same`: both are of one table, which keeps its numbers.

    `is_widened`: a column is widened when values come that it cannot hold. `objects` are the schema objects that the Flow
    has created, `keys()` its foreign keys. Each method works in the connection's transaction.
    ConfigurationError when something else depends on a column.
    """

    def __init__(
        self,
        connection: Connection,
        table: TargetTable,
        before: Native,
        now: Native,
        stream: str,
        *,
        is_same: bool,
        is_widened: bool,
        objects: Collection[ObjectId],
        keys: Callable[[], Set[ForeignKeyName]],
    ) -> None:
        self._keys = keys
        self._connection = connection
        self._table = table
        self._stream = stream
        self._is_widened = is_widened
        self._objects = objects
        self._now: Sequence[Native] = now["columns"]
        self._native = now
        self._columns = dict(table.columns)
        self._former = {column["name"]: column for column in before["columns"]}
        names = {column["number"]: column["name"] for column in self._now if is_same and column.get("number")}
        self._renamed = {
            name: new
            for name, column in self._former.items()
            if (new := names.get(column.get("number"), name)) != name and name in self._columns
        }

    @property
    def renamed(self) -> Mapping[str, str]:
        """The new names of columns that have other ones now, by their former names."""
        return self._renamed

    def rename_and_drop(self) -> None:
        """Give renamed columns their new names, and drop those that the source has no more."""
        for name in [name for name in self._renamed if self._columns[name].inherited]:
            self._rename_in_parent(name)
        renamed = [name for name in self._renamed if not self._columns[name].inherited]
        for number, name in enumerate(renamed):
            self._rename(name, f"_pipeline_{number}")  # the new name may be that of a column which goes, or is renamed
        kept = {column["name"] for column in self._now} - set(self._renamed.values())
        for name in self._former.keys() - self._renamed.keys() - kept:
            if name in self._columns and not self._columns[name].inherited:
                self._drop(name)
        for number, name in enumerate(renamed):
            self._rename(f"_pipeline_{number}", self._renamed[name])
        columns = {self._renamed.get(name, name): column for name, column in self._columns.items()}
        self._columns = {name: replace(column, name=name) for name, column in columns.items()}
        self._former = {self._renamed.get(name, name): column for name, column in self._former.items()}

    def alter(self) -> None:
        """Change what is declared for each column. One that cannot be altered is dropped, to be added again."""
        for column in self._now:
            was, present = self._former.get(column["name"]), self._columns.get(column["name"])
            if was is None or present is None:
                continue
            is_of_others = bool(column.get("generated")) and self.renamed and not self._computes(column)
            if _declared(was) == _declared(column) and not is_of_others:
                continue
            if was.get("generated") != column.get("generated") or is_of_others:
                if not present.inherited:
                    self._change_expression(column, present)
            elif not column.get("generated"):
                type_ = present.type if present.inherited else self._alter(column, was, present)
                self._alter_own(column, was, type_)

    def _computes(self, column: Native) -> bool:
        """Whether the column is computed here from the columns that have these names now."""
        row = self._connection.execute(_EXPRESSION, (self._table.oid, column["name"])).fetchone()
        return row is not None and row[0] == column["generated"]["expression"]

    def _alter(self, column: Native, was: Native, present: TargetColumn) -> str:
        """Change the type and the identity of a column; return the type that it has then."""
        is_widened = "version" not in self._native and was["type"] in HELD and present.type != was["type"]
        is_retyped = was["type"] != column["type"] and present.type != column["type"] and not is_widened
        if is_retyped or was.get("collation") != column.get("collation"):
            self._change_type(column, present)
        if was.get("identity") != column.get("identity"):
            self._run(self._identity_statements(column, present), f"Column {column['name']}")
        return str(column["type"]) if is_retyped else present.type

    def _alter_own(self, column: Native, was: Native, type_: str) -> None:
        """Change what a column of this type has of its own also where the table inherits it: its default, and NOT NULL."""
        if was.get("identity") == column.get("identity") and was.get("default") != column.get("default"):
            self._set_default(column, type_)
        what, name = f"Column {column['name']}", column["name"]
        here = [bool(it.get("not_null_here")) for it in (was, column)]
        if was.get("not_null") and not column.get("not_null"):
            tables = [
                row[0] for row in self._connection.execute(_ANCESTORS, {"table": self._table.oid, "column": name})
            ]
            alter = f"ALTER COLUMN {quoted(name)} DROP NOT NULL"
            self._run([f"ALTER TABLE {table} {alter}" for table in tables], what)
        elif was.get("not_null") and here[0] != here[1] and was.get("not_null_name"):
            alter = f"ALTER TABLE {self._table.sql} ALTER CONSTRAINT {quoted(was['not_null_name'])}"
            self._run([f"{alter} {'NO INHERIT' if here[1] else 'INHERIT'}"], what)

    def _identity_statements(self, column: Native, present: TargetColumn) -> Iterator[str]:
        """Give what takes an identity away or changes its kind. The end of the load adds one, after NOT NULL."""
        alter = self._alter_column(column["name"])
        if present.identity and column.get("identity"):
            yield f"{alter} SET GENERATED {column['identity']}"
        else:
            yield f"{alter} DROP IDENTITY IF EXISTS"
            yield f"{alter} DROP DEFAULT"

    def _set_default(self, column: Native, type_: str) -> None:
        """Set the default of a column of this type, or remove the former one: the end of the load tries that again."""
        alter = self._alter_column(column["name"])
        default = default_here(column, type_)
        run_single(self._connection, f"{alter} DROP DEFAULT")
        if default is not None:
            try:
                with self._connection.transaction():
                    run_single(self._connection, f"{alter} SET DEFAULT {default}")
            except (psycopg.ProgrammingError, psycopg.errors.UnsafeNewEnumValueUsage):
                return

    def _change_expression(self, column: Native, present: TargetColumn) -> None:
        """Change what a column is computed from, or whether it is computed. Values come from the source or are computed."""
        generated, name = column.get("generated"), column["name"]
        if generated is None and present.generated == "s":
            self._run([f"{self._alter_column(name)} DROP EXPRESSION"], f"Column {name}")
        elif generated is not None and self._needs_new_columns(generated):
            self._drop(name)  # it is added after them
        elif generated is not None and self._can_set_expression(generated, present):
            self._run([f"{self._alter_column(name)} SET EXPRESSION AS ({generated['expression']})"], f"Column {name}")
        else:
            definition = column_definition(column, self._native, self._connection.info.server_version)
            place = f"ALTER TABLE {self._table.sql}"
            self._run([f"{place} DROP COLUMN {quoted(name)}", f"{place} ADD COLUMN {definition}"], f"Column {name}")

    def _needs_new_columns(self, generated: Mapping[str, str]) -> bool:
        return any(it["name"] in generated["expression"] for it in self._now if it["name"] not in self._columns)

    def _can_set_expression(self, generated: Mapping[str, str], present: TargetColumn) -> bool:
        is_new_enough = self._connection.info.server_version >= _OLDEST_WITH_SET_EXPRESSION
        return is_new_enough and _KINDS.get(present.generated) == generated["kind"]

    def _rename(self, name: str, to: str) -> None:
        statement = f"ALTER TABLE {self._table.sql} RENAME COLUMN {quoted(name)} TO {quoted(to)}"
        self._run([statement], f"Column {name}")

    def _rename_in_parent(self, name: str) -> None:
        """Rename an inherited column where it is first declared, unless that has happened."""
        row = self._connection.execute(_DECLARED_IN, {"table": self._table.oid, "column": name}).fetchone()
        if row is not None:
            statement = f"ALTER TABLE {row[0]} RENAME COLUMN {quoted(name)} TO {quoted(self._renamed[name])}"
            self._run([statement], f"Column {name}")

    def _drop(self, name: str) -> None:
        self._run([f"ALTER TABLE {self._table.sql} DROP COLUMN {quoted(name)}"], f"Column {name}")
        del self._columns[name]

    def _alter_column(self, name: str) -> str:
        return f"ALTER TABLE {self._table.sql} ALTER COLUMN {quoted(name)}"

    def _run(self, statements: Iterator[str] | Sequence[str], what: str) -> None:
        """Run all statements, or none of them."""
        try:
            self._run_all(list(statements))
        except psycopg.errors.InsufficientPrivilege:
            raise
        except _IMPOSSIBLE as error:
            raise ConfigurationError(
                f"{what} of stream {self._stream} has changed at the source, but the destination's table {self._table.sql} "
                f"cannot follow (PostgreSQL: {server_message(error)}). Drop what depends on the column, and move again"
            ) from error

    def _run_all(self, statements: Sequence[str]) -> None:
        """Run all statements, or none of them; if views depend on the column, without these for the time."""
        try:
            with self._connection.transaction():
                for statement in statements:
                    run_single(self._connection, statement)
        except DEPENDS:
            with (
                self._connection.transaction(),
                without_dependents(self._connection, [self._table.oid], self._objects),
                without_users(self._connection, Used.TABLE, self._table.sql, self._objects),
            ):
                for statement in statements:
                    run_single(self._connection, statement)

    def _change_type(self, column: Native, present: TargetColumn) -> None:
        name, table = quoted(column["name"]), self._table.sql
        if present.identity and not column.get("identity"):  # only a column of integers can have one
            self._run([f"{self._alter_column(column['name'])} DROP IDENTITY"], f"Column {column['name']}")
        try:
            try:
                self._cast(column, present)
            except psycopg.errors.DatatypeMismatch:
                if not self._drop_foreign_keys(column["name"]):
                    raise
                self._cast(column, present)
        except psycopg.errors.InsufficientPrivilege:
            raise
        except _IMPOSSIBLE as error:
            raise ConfigurationError(
                f"Column {column['name']} of stream {self._stream} has become {column['type']} at the source, but the column "
                f"of the destination's table {table} cannot be changed from {present.type} (PostgreSQL: {server_message(error)}). "
                f"Drop what depends on it, change it with ALTER TABLE {table} ALTER COLUMN {name} TYPE {column['type']} "
                "USING …, and move again"
            ) from error

    def _cast(self, column: Native, present: TargetColumn) -> None:
        """Change the type. A value that cannot be cast becomes NULL: the source has another one, which is sent."""
        name, type_ = quoted(column["name"]), column["type"]
        try:
            try:
                self._run_all(list(self._type_statements(column, f"{name}::{type_}")))
            except _NO_CAST:
                self._run_all(list(self._type_statements(column, f"{name}::text::{type_}")))
        except psycopg.DataError:
            if self._is_widened and present.type in HELD:
                return  # its values stay; new ones that it cannot hold widen it
            if self._connection.info.server_version < OLDEST_WITH_INPUT_IS_VALID:
                raise
            valid = f"CASE WHEN pg_input_is_valid({name}::text, {literal(type_)}) THEN {name}::text::{type_} END"
            nullable = f"{self._alter_column(column['name'])} DROP NOT NULL"
            self._run_all([nullable, *self._type_statements(column, valid)])

    def _drop_foreign_keys(self, column: str) -> bool:
        """Drop the Flow's foreign keys from and to a column: the column at their other end changes, too. Return whether any is.

        The end of the load creates them again.
        """
        found = [
            key
            for key in read_foreign_keys(self._connection, [self._table.oid])
            if (key.child_name == self._table.sql and column in key.row["columns"])
            or (key.parent_name == self._table.sql and column in key.row["parent_columns"])
        ]
        ours = self._keys() if found else set()
        found = [key for key in found if (*key.owner, key.name) in ours]
        for key in found:
            run_single(self._connection, f"ALTER TABLE {key.child_name} DROP CONSTRAINT {quoted(key.name)}")
        return bool(found)

    def _type_statements(self, column: Native, value: str) -> Iterator[str]:
        """Give what changes the type. The default is dropped first: it may have no cast to the new type."""
        alter = self._alter_column(column["name"])
        collation = f" COLLATE {column['collation']}" if column.get("collation") else ""
        if not column.get("identity"):
            yield f"{alter} DROP DEFAULT"
        yield f"{alter} TYPE {column['type']}{collation} USING {value}"
        if column.get("default") is not None:
            yield f"{alter} SET DEFAULT {column['default']}"


def _declared(column: Native) -> Native:
    """Return what is declared for a column, without what says which one it is."""
    return {name: value for name, value in column.items() if name not in ("name", "number") and value}
