"""What the tables of other technologies promise, kept here after the load: unique constraints, indexes, foreign keys.

What a table has already, under whatever name, is not made again. What PostgreSQL cannot keep is told, and left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count

import psycopg

from pipeline.codec.event_files.constraints import constraints_of
from pipeline.connectors.postgres.ddl.ensure_table import run_one
from pipeline.connectors.postgres.ddl.foreign_keys import ALREADY_THERE, make_foreign_key
from pipeline.connectors.postgres.ddl.mapped_types import SCHEMA, fitting
from pipeline.connectors.postgres.schema import catalog_queries as queries
from pipeline.connectors.postgres.schema.catalog_types import Row, fetch
from pipeline.connectors.postgres.session.connection import Connection, qualified, quoted
from pipeline.connectors.sql.constraints import warn_unsupported
from pipeline.domain.constraints import ForeignKey, Index, UnsupportedConstraint
from pipeline.domain.ids import StreamName
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import Violation

_NOT_HERE = ("0A", "42")
"""Classes of SQLSTATE that say that the table is not made for an index: a type without an order, a column that is missing."""
_CAN_BE_MENDED = ("23", "54", "42501")
"""Those that say that a row does not go into it, a value that is there twice or is too long; and that a privilege is missing.

For a plain index, which holds of any rows and promises nothing of them, even that is no more than worth telling.
"""
_NAMES = """
SELECT conname FROM pg_constraint WHERE conrelid = %(table)s UNION ALL
SELECT tgname FROM pg_trigger WHERE tgrelid = %(table)s UNION ALL
SELECT attname FROM pg_attribute WHERE attrelid = %(table)s AND attnum > 0 AND NOT attisdropped UNION ALL
SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid WHERE i.indrelid = %(table)s
"""
_CHECKS = "SELECT FROM pg_constraint WHERE conrelid = %s AND contype = 'c'"
_TAKEN = "SELECT FROM pg_class WHERE relnamespace = %s::regnamespace AND relname = %s"


def create_constraints(
    connection: Connection, schemas: Sequence[StreamSchema], wanted: set[StreamName]
) -> Iterator[Violation]:
    """Make what the tables of the streams `wanted` lack, and foreign keys of all `schemas` that refer to them.

    What is left out of a table is told when it is among those wanted.
    """
    keepers = [_Keeper(connection, schema) for schema in schemas if _is_concerned(schema, wanted)]
    there = [keeper for keeper in keepers if keeper.oid is not None]
    for keeper in there:
        if keeper.stream in wanted:
            yield from keeper.make_indexes()
    for keeper in there:
        yield from keeper.make_foreign_keys(wanted)
    for keeper in there:
        if keeper.stream in wanted:
            keeper.tell()


def _is_concerned(schema: StreamSchema, wanted: set[StreamName]) -> bool:
    if "postgresql" in schema.native:
        return False
    return schema.stream in wanted or any(key.references in wanted for key in constraints_of(schema).foreign_keys)


class _Keeper:
    """Makes what one table lacks, and remembers what cannot be made of it. `oid` is None where the table is missing."""

    def __init__(self, connection: Connection, schema: StreamSchema) -> None:
        self._connection = connection
        self.stream = schema.stream
        self._constraints = constraints_of(schema)
        self._name = qualified(SCHEMA, schema.stream)
        found = connection.execute("SELECT to_regclass(%s)::oid", (self._name,)).fetchone()
        self.oid: int | None = found[0] if found else None
        self._unsupported = list(self._constraints.unsupported)

    def make_indexes(self) -> Iterator[Violation]:
        """Make what is not there; what the rows forbid is a violation."""
        for index in self._constraints.indexes:
            if not self._serves(index):
                yield from self._make_index(index)

    def _serves(self, wanted: Index) -> bool:
        """Whether the table has an index of the same columns, or another one of that name."""
        rows = fetch(self._connection, queries.INDEX_TERMS, ([self.oid],))
        return any(row["name"] == fitting(wanted.name) or _is_as_good(row, wanted) for row in rows)

    def _make_index(self, index: Index) -> Iterator[Violation]:
        name = self._free_name(index.name or self._named_after(index.column_names, "key" if index.unique else "idx"))
        columns = ", ".join(quoted(column.name) + (" DESC" if column.descending else "") for column in index.columns)
        if index.constraint and not any(column.descending for column in index.columns):
            what, statement = "constraint", f"ALTER TABLE {self._name} ADD CONSTRAINT {quoted(name)} UNIQUE ({columns})"
        else:
            unique = "UNIQUE " if index.unique else ""
            what, statement = "index", f"CREATE {unique}INDEX {quoted(name)} ON {self._name} ({columns})"
        try:
            run_one(self._connection, statement)
        except ALREADY_THERE:
            return
        except psycopg.Error as error:
            state = error.sqlstate or ""
            words = "; ".join(filter(None, (error.diag.message_primary, error.diag.message_detail)))
            if index.unique and state.startswith(_CAN_BE_MENDED):
                yield Violation(self.stream, f"the {what} {name} cannot be made: {words}")
            elif state.startswith((*_CAN_BE_MENDED, *_NOT_HERE)):
                self._unsupported.append(UnsupportedConstraint(what, name, words))
            else:
                raise

    def make_foreign_keys(self, wanted: set[StreamName]) -> Iterator[Violation]:
        """Make those from and to the tables of these streams that are not there; what the rows forbid is a violation."""
        for key in self._constraints.foreign_keys:
            if (self.stream in wanted or key.references in wanted) and not self._refers(key):
                yield from self._make_foreign_key(key)

    def _make_foreign_key(self, key: ForeignKey) -> Iterator[Violation]:
        name = self._free_constraint_name(key.name or self._named_after(key.columns, "fkey"))
        definition = (
            f"FOREIGN KEY ({', '.join(map(quoted, key.columns))}) REFERENCES {qualified(SCHEMA, key.references)} "
            f"({', '.join(map(quoted, key.referenced_columns))}) "
            f"ON UPDATE {key.on_update.value} ON DELETE {key.on_delete.value}"
            f"{' DEFERRABLE INITIALLY DEFERRED' if key.deferred else ''}"
        )
        described = {"name": name, "definition": definition, "references": [SCHEMA, key.references]}
        not_made = make_foreign_key(self._connection, (SCHEMA, self.stream), described)
        if not_made is None:
            return
        if not_made.unfit is None:
            yield Violation(self.stream, not_made.reason)
        else:
            self._unsupported.append(UnsupportedConstraint("foreign key", str(key), not_made.unfit))

    def _refers(self, key: ForeignKey) -> bool:
        """Whether the table has a foreign key of these columns to that table."""
        return any(
            (row["parent_schema"], row["parent"], *row["columns"]) == (SCHEMA, key.references, *key.columns)
            for row in fetch(self._connection, queries.FOREIGN_KEYS, ([self.oid],))
        )

    def tell(self) -> None:
        """Name what is left out, and what nobody has made by hand."""
        warn_unsupported(self.stream, [one for one in self._unsupported if not self._is_made_by_hand(one)])

    def _is_made_by_hand(self, unsupported: UnsupportedConstraint) -> bool:
        if unsupported.kind == "check":
            return bool(self._connection.execute(_CHECKS, (self.oid,)).rowcount)
        names = {row[0] for row in self._connection.execute(_NAMES, {"table": self.oid})}
        return unsupported.name in names

    def _named_after(self, columns: Sequence[str], ending: str) -> str:
        return "_".join([self.stream, *columns, ending])

    def _free_name(self, wanted: str) -> str:
        """Return a name that nothing in the schema has: tables and indexes share one space of names there."""
        return self._free(wanted, lambda name: self._connection.execute(_TAKEN, (SCHEMA, name)).rowcount > 0)

    def _free_constraint_name(self, wanted: str) -> str:
        names = {row[0] for row in self._connection.execute(_NAMES, {"table": self.oid})}
        return self._free(wanted, names.__contains__)

    def _free(self, wanted: str, is_taken: Callable[[str], bool]) -> str:
        numbered = (fitting(wanted if number == 1 else f"{wanted}_{number}") for number in count(1))
        return next(name for name in numbered if not is_taken(name))


def _is_as_good(row: Row, wanted: Index) -> bool:
    """Whether an index that is there does what the one that is wanted would do."""
    sorts = list(zip(row["columns"], row["descending"], strict=True))
    is_plain = row["method"] == "btree" and not row["partial"]
    is_unique_enough = row["unique"] or not wanted.unique
    return is_plain and is_unique_enough and sorts == [(column.name, column.descending) for column in wanted.columns]
