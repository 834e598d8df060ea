"""The constraints of another technology's tables, created after the load: unique constraints, indexes, foreign keys.

What a table has already, under any name, is not created again. What PostgreSQL does not support is named in the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import count

import psycopg

from pipeline.codec.event_files.constraints import constraints_of
from pipeline.connectors.postgres.ddl.create_table import run_single
from pipeline.connectors.postgres.ddl.evolution.names import ALREADY_EXISTS
from pipeline.connectors.postgres.ddl.foreign_keys import create_foreign_key, read_foreign_keys
from pipeline.connectors.postgres.ddl.mapped_types import SCHEMA, fitting
from pipeline.connectors.postgres.ddl.target_table import table_oid, table_oids
from pipeline.connectors.postgres.schema import catalog_queries as queries
from pipeline.connectors.postgres.schema.catalog_queries import Row, fetch, fetch_by_table
from pipeline.connectors.postgres.schema.constraints import ACTIONS
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.postgres.session.errors import server_message
from pipeline.connectors.sql.constraints import foreign_key_clause, index_name, index_terms, warn_unsupported
from pipeline.connectors.sql.identifiers import qualified, quoted
from pipeline.domain.constraints import ForeignKey, Index, TableConstraints, UnsupportedConstraint
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import Violation

_UNSUPPORTED = ("0A", "42")
"""Classes of SQLSTATE that say that the table cannot have an index: a type without an order, a missing column."""
_CORRECTABLE = ("23", "54", "42501")
"""Those that say that a row is in the way (a duplicate, a value that is too long), or that a privilege is missing.

A plain index forbids nothing, so even then its absence is no violation.
"""
_LACKING = (queries.COLUMNS, queries.INDEX_TERMS, queries.FOREIGN_KEYS)
_NUMBERS = {"int2": 0, "int4": 0, "int8": 0, "numeric": 1, "float4": 2, "float8": 2}
"""Each can refer to one that is as high or higher, to which PostgreSQL converts it by itself."""
_TEXTS = frozenset({"text", "varchar", "bpchar"})
_NAMES = """
SELECT conname FROM pg_constraint WHERE conrelid = %(table)s UNION ALL
SELECT tgname FROM pg_trigger WHERE tgrelid = %(table)s UNION ALL
SELECT attname FROM pg_attribute WHERE attrelid = %(table)s AND attnum > 0 AND NOT attisdropped UNION ALL
SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid WHERE i.indrelid = %(table)s
"""
_CHECKS = "SELECT FROM pg_constraint WHERE conrelid = %s AND contype = 'c'"
_WITHOUT_CASE = """
SELECT FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid LEFT JOIN pg_collation AS c ON c.oid = a.attcollation
WHERE a.attrelid = %s AND lower(a.attname) = lower(%s) AND (t.typname = 'citext' OR NOT c.collisdeterministic)
"""
"""A column in which texts are equal that have other bytes."""
_TAKEN = "SELECT FROM pg_class WHERE relnamespace = %s::regnamespace AND relname = %s"


def create_constraints(
    connection: Connection, schemas: Sequence[StreamSchema], wanted: Set[StreamName]
) -> Iterator[Violation]:
    """Create what the tables of the streams `wanted` lack, and foreign keys of all `schemas` that refer to them.

    Unsupported constraints of the wanted tables are logged.
    """
    concerned = {(SCHEMA, schema.stream): schema for schema in schemas if _is_concerned(schema, wanted)}
    oids = table_oids(connection, concerned)
    tables = [_Table(connection, schema, oids[name]) for name, schema in concerned.items() if name in oids]
    for table in tables:
        if table.stream in wanted:
            yield from table.create_indexes()
    for table in tables:
        yield from table.create_foreign_keys(wanted)
    for table in tables:
        if table.stream in wanted:
            table.warn_unsupported()


def drop_former_constraints(
    connection: Connection, before: StreamSchema, now: StreamSchema, tables: Callable[[], Set[tuple[str, str]]]
) -> None:
    """Drop what was created for another technology's table that the source has no more, before rows it would not allow.

    Foreign keys of `tables()` go with the unique constraint that they need; those that are still wanted are created again.
    """
    former, oid = constraints_of(before), table_oid(connection, SCHEMA, now.stream)
    if oid is not None and former != constraints_of(now):
        _Table(connection, now, oid).drop_former(former, tables)


def unsupported_here(connection: Connection, schema: StreamSchema) -> list[UnsupportedConstraint]:
    """Return the constraints of another technology's stream, with the names here, that its table cannot have."""
    oid = table_oid(connection, SCHEMA, schema.stream) if constraints_of(schema).unsupported else None
    return [] if oid is None else _Table(connection, schema, oid).unsupported()


def lacking_constraints(
    connection: Connection, schemas: Sequence[StreamSchema]
) -> Iterator[tuple[StreamName, UnsupportedConstraint]]:
    """Give the constraints of other technologies' streams, with the names here, that PostgreSQL could not create.

    Not those that rows prevent, which are violations.
    """
    found = {schema.stream: constraints_of(schema) for schema in schemas}
    parents = {key.references for it in found.values() for key in it.foreign_keys}
    tables = {name for name, it in found.items() if it.indexes} | parents
    tables |= {name for name, it in found.items() if it.foreign_keys}
    oids = {name: oid for (_, name), oid in table_oids(connection, [(SCHEMA, name) for name in sorted(tables)]).items()}
    by_table = [fetch_by_table(connection, query, oids.values()) for query in _LACKING] if oids else []
    for stream, constraints in found.items() if oids else ():
        if stream in oids:
            present = _Present(*(rows.get(oids[stream], []) for rows in by_table))
            yield from ((stream, one) for one in present.lacking_indexes(stream, constraints.indexes))
            for key in constraints.foreign_keys:
                parent = oids.get(key.references)
                if parent is not None:
                    reason = present.why_not(key, _Present(*(rows.get(parent, []) for rows in by_table)))
                    yield from ((stream, UnsupportedConstraint("foreign key", str(key), why)) for why in reason)


@dataclass(frozen=True, slots=True)
class _Present:
    """The columns, indexes and foreign keys that a table has."""

    columns: Sequence[Row]
    indexes: Sequence[Row]
    foreign_keys: Sequence[Row]

    def lacking_indexes(self, stream: StreamName, wanted: Sequence[Index]) -> Iterator[UnsupportedConstraint]:
        """Give the indexes that the table lacks; unique ones only if their columns have no order."""
        unordered = {row["name"] for row in self.columns if row["base"] == "json"}
        for index in wanted:
            if any(row["name"] == fitting(index.name) or _is_equivalent(row, index) for row in self.indexes):
                continue
            if not unordered.isdisjoint(index.column_names):
                yield UnsupportedConstraint("index", index_name(stream, index), "json has no order")
            elif not index.unique:
                reason = "its values are too long for an index, or a privilege is missing"
                yield UnsupportedConstraint("index", index_name(stream, index), reason)

    def why_not(self, key: ForeignKey, parent: _Present) -> Iterator[str]:
        """Give the reason why the table cannot have a foreign key, if there is one other than the rows."""
        if any((row["parent"], tuple(row["columns"])) == (key.references, key.columns) for row in self.foreign_keys):
            return
        unique = [set(row["columns"]) for row in parent.indexes if row["unique"] and not row["partial"]]
        types = {row["name"]: row["base"] for row in self.columns}
        others = {row["name"]: row["base"] for row in parent.columns}
        if set(key.referenced_columns) not in unique:
            yield f"{', '.join(key.referenced_columns)} of {key.references} are no unique columns here"
        elif not all(
            _can_refer(types.get(name), others.get(other))
            for name, other in zip(key.columns, key.referenced_columns, strict=True)
        ):
            yield "its columns have other types here than those that it refers to"


def _can_refer(base: str | None, other: str | None) -> bool:
    """Whether a foreign key may be from a column of the type `base` to one of the type `other`."""
    if base in _NUMBERS and other in _NUMBERS:
        return _NUMBERS[base] <= _NUMBERS[other]
    return base == other or {base, other} <= _TEXTS


def _is_concerned(schema: StreamSchema, wanted: Set[StreamName]) -> bool:
    if "postgresql" in schema.native:
        return False
    return schema.stream in wanted or any(key.references in wanted for key in constraints_of(schema).foreign_keys)


class _Table:
    """Creates what one table lacks, and remembers what is unsupported."""

    def __init__(self, connection: Connection, schema: StreamSchema, oid: int) -> None:
        self._connection = connection
        self.stream = schema.stream
        self._oid = oid
        self._sql = qualified(SCHEMA, schema.stream)
        self._constraints = constraints_of(schema)
        self._unsupported = list(self._constraints.unsupported)

    def drop_former(self, former: TableConstraints, tables: Callable[[], Set[tuple[str, str]]]) -> None:
        """Drop the indexes and foreign keys of a former description that the present one has not."""
        gone = [key for key in former.foreign_keys if key not in self._constraints.foreign_keys]
        for row in fetch(self._connection, queries.FOREIGN_KEYS, [self._oid]):
            if row["table"] == self._oid and any(_is_made_from(row, key) for key in gone):
                self._drop_constraint((SCHEMA, self.stream), row["name"])
        for row in fetch(self._connection, queries.INDEX_TERMS, [self._oid]):
            made = [one for one in former.indexes if self._is_made_for(row, one)]
            if made and not any(self._is_made_for(row, one) for one in self._constraints.indexes):
                self._drop_index(row, tables)

    def _is_made_for(self, row: Row, index: Index) -> bool:
        name = index_name(self.stream, index)
        is_named = row["name"] == fitting(name) or row["name"].startswith(f"{name}_")  # another one had the name
        return is_named and row["unique"] == index.unique and _is_equivalent(row, index)

    def _drop_index(self, row: Row, tables: Callable[[], Set[tuple[str, str]]]) -> None:
        try:
            with self._connection.transaction():
                self._drop_made(row)
        except psycopg.errors.DependentObjectsStillExist:
            for key in read_foreign_keys(self._connection, [self._oid]):
                if key.row["parent_index"] == row["oid"] and key.owner in tables():
                    self._drop_constraint(key.owner, key.name)
            self._drop_made(row)

    def _drop_made(self, row: Row) -> None:
        if row["constraint"]:
            self._drop_constraint((SCHEMA, self.stream), row["name"])
        else:
            run_single(self._connection, f"DROP INDEX {qualified(SCHEMA, row['name'])}")

    def _drop_constraint(self, table: tuple[str, str], name: str) -> None:
        run_single(self._connection, f"ALTER TABLE {qualified(*table)} DROP CONSTRAINT {quoted(name)}")

    def create_indexes(self) -> Iterator[Violation]:
        """Create missing indexes; a unique one that the rows forbid is a violation."""
        for index in self._constraints.indexes:
            yield from self._create_index(index)

    def _create_index(self, index: Index) -> Iterator[Violation]:
        present = fetch(self._connection, queries.INDEX_TERMS, [self._oid])
        if any(row["name"] == fitting(index.name) or _is_equivalent(row, index) for row in present):
            return
        name = _free_name(index_name(self.stream, index), self._is_taken)
        if index.constraint and not any(column.descending for column in index.columns):
            what, statement = "constraint", f"ALTER TABLE {self._sql} ADD CONSTRAINT {quoted(name)} UNIQUE"
        else:
            unique = "UNIQUE " if index.unique else ""
            what, statement = "index", f"CREATE {unique}INDEX {quoted(name)} ON {self._sql}"
        try:
            run_single(self._connection, f"{statement} ({index_terms(index)})")
        except ALREADY_EXISTS:  # another process has taken the name meanwhile, for this index or for something else
            yield from self._create_index(index)
        except psycopg.Error as error:
            state, words = error.sqlstate or "", server_message(error)
            if index.unique and state.startswith(_CORRECTABLE):
                yield Violation(self.stream, f"the {what} {name} cannot be created: {words}")
            elif state.startswith((*_CORRECTABLE, *_UNSUPPORTED)):
                self._unsupported.append(UnsupportedConstraint(what, name, words))
            else:
                raise

    def create_foreign_keys(self, wanted: Set[StreamName]) -> Iterator[Violation]:
        """Create missing foreign keys from and to the tables of these streams; one that rows break is a violation."""
        for key in self._constraints.foreign_keys:
            if (self.stream in wanted or key.references in wanted) and not self._has_foreign_key(key):
                yield from self._create_foreign_key(key)

    def _create_foreign_key(self, key: ForeignKey) -> Iterator[Violation]:
        name = _free_name(key.name or "_".join([self.stream, *key.columns, "fkey"]), self._names().__contains__)
        definition = foreign_key_clause(key, qualified(SCHEMA, key.references))
        described = {"name": name, "definition": definition, "references": [SCHEMA, key.references]}
        not_created = create_foreign_key(self._connection, (SCHEMA, self.stream), described)
        if not_created is None:
            return
        if not_created.unsupported is None:
            yield Violation(self.stream, not_created.reason, not_created.columns)
        else:
            self._unsupported.append(UnsupportedConstraint("foreign key", str(key), not_created.unsupported))

    def _has_foreign_key(self, key: ForeignKey) -> bool:
        """Whether the table has a foreign key of these columns to that table."""
        rows = fetch(self._connection, queries.FOREIGN_KEYS, [self._oid])
        wanted = (self._oid, SCHEMA, key.references, *key.columns)
        return any((row["table"], row["parent_schema"], row["parent"], *row["columns"]) == wanted for row in rows)

    def warn_unsupported(self) -> None:
        """Log unsupported constraints, except those that the user has replaced by something of that name."""
        warn_unsupported(self.stream, self.unsupported())

    def unsupported(self) -> list[UnsupportedConstraint]:
        """Return unsupported constraints, as `warn_unsupported` has them."""
        return [one for one in self._unsupported if not self._is_replaced(one)]

    def _is_replaced(self, constraint: UnsupportedConstraint) -> bool:
        if constraint.kind == "check":
            return bool(self._connection.execute(_CHECKS, (self._oid,)).rowcount)
        if constraint.kind == "collation":
            return bool(self._connection.execute(_WITHOUT_CASE, (self._oid, constraint.name)).rowcount)
        return constraint.name in self._names()

    def _names(self) -> Set[str]:
        return {row[0] for row in self._connection.execute(_NAMES, {"table": self._oid})}

    def _is_taken(self, name: str) -> bool:
        """Whether a table or an index of the schema has this name, or a constraint of the table."""
        return self._connection.execute(_TAKEN, (SCHEMA, name)).rowcount > 0 or name in self._names()


def _free_name(wanted: str, is_taken: Callable[[str], bool]) -> str:
    numbered = (fitting(wanted if number == 1 else f"{wanted}_{number}") for number in count(1))
    return next(name for name in numbered if not is_taken(name))


def _is_made_from(row: Row, key: ForeignKey) -> bool:
    """Whether an existing foreign key is what a wanted one makes."""
    present = row["parent_schema"], row["parent"], *row["columns"], *row["parent_columns"]
    actions = ACTIONS[row["on_update"]], ACTIONS[row["on_delete"]]
    wanted = SCHEMA, key.references, *key.columns, *key.referenced_columns
    return present == wanted and actions == (key.on_update, key.on_delete) and row["deferred"] == key.deferred


def _is_equivalent(row: Row, wanted: Index) -> bool:
    """Whether an existing index does what the wanted one would do."""
    terms = list(zip(row["columns"], row["descending"], strict=True))
    is_plain = row["method"] == "btree" and not row["partial"]
    is_unique_enough = row["unique"] or not wanted.unique
    return is_plain and is_unique_enough and terms == [(column.name, column.descending) for column in wanted.columns]
