"""Foreign keys at the end of a load: created if the rows satisfy them, and checked if they were not enforced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

import psycopg

from pipeline.connectors.postgres.ddl.create_table import Native, run_single
from pipeline.connectors.postgres.ddl.target_table import table_oid, table_oids
from pipeline.connectors.postgres.schema import catalog_queries as queries
from pipeline.connectors.postgres.schema.catalog_queries import Row, fetch
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.postgres.session.errors import server_message
from pipeline.connectors.sql.constraints import EXAMPLE_ROWS, broken_reference
from pipeline.connectors.sql.identifiers import qualified, quoted
from pipeline.domain.ids import StreamName
from pipeline.ports.destination import Violation


@dataclass(frozen=True, slots=True)
class ExistingKey:
    """A foreign key of the database, a row of `catalog_queries.FOREIGN_KEYS`."""

    row: Row

    @property
    def name(self) -> str:
        return str(self.row["name"])

    @property
    def owner(self) -> tuple[str, str]:
        """Schema and name of its table."""
        return self.row["schema"], self.row["child"]

    @property
    def child(self) -> str:
        """Its table in a FROM clause, without tables that inherit from it."""
        return ("" if self.row["partitioned"] else "ONLY ") + self.child_name

    @property
    def child_name(self) -> str:
        """Its table, as SQL."""
        return qualified(*self.owner)

    @property
    def parent_name(self) -> str:
        """The table that it refers to, as SQL."""
        return qualified(self.row["parent_schema"], self.row["parent"])

    def broken(self, alias: str, stage: str | None = None) -> str:
        """Return the condition that a row called `alias` refers to a row that neither the parent nor `stage` has."""
        same = self.refers(alias, "p")
        parents = [("" if self.row["parent_partitioned"] else "ONLY ") + self.parent_name, *([stage] if stage else [])]
        missing = [f"NOT EXISTS (SELECT FROM {parent} AS p WHERE {same})" for parent in parents]
        return " AND ".join([*(f"{alias}.{quoted(name)} IS NOT NULL" for name in self.row["columns"]), *missing])

    def refers(self, child: str, parent: str) -> str:
        """Return the condition that a row called `child` refers to one called `parent`."""
        pairs = zip(self.row["parent_columns"], self.row["operators"], self.row["columns"], strict=True)
        return " AND ".join(
            f"{parent}.{quoted(its)} {operator} {child}.{quoted(name)}" for its, operator, name in pairs
        )


def read_foreign_keys(connection: Connection, oids: Sequence[int]) -> list[ExistingKey]:
    """Return the foreign keys from and to these tables."""
    return list(map(ExistingKey, fetch(connection, queries.FOREIGN_KEYS, oids)))


def read_foreign_key(connection: Connection, oid: int, name: str) -> ExistingKey | None:
    """Return one foreign key from or to a table."""
    return next((key for key in read_foreign_keys(connection, [oid]) if key.name == name), None)


@dataclass(frozen=True, slots=True)
class NotCreated:
    """Why a foreign key cannot be created. `unsupported` says what of the tables, not of their rows, prevents it.

    `columns` are those of the key if rows break it.
    """

    reason: str
    unsupported: str | None = None
    columns: tuple[str, ...] = ()


def create_foreign_key(connection: Connection, table: tuple[str, str], key: Native) -> NotCreated | None:
    """Create a foreign key as `native` describes it; return why it cannot be created, if it cannot."""
    statement = f"ALTER TABLE {qualified(*table)} ADD CONSTRAINT {quoted(key['name'])} {key['definition']}"
    failed = f"the foreign key {key['name']} cannot be created"
    try:
        run_single(connection, statement)
    except psycopg.errors.DuplicateObject:  # another process has created it: the name is one of this table alone
        return None
    except psycopg.errors.ForeignKeyViolation as error:
        broken = _count_broken(connection, table, key["name"], statement)
        return broken or NotCreated(f"{failed}: {error.diag.message_detail}")
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return NotCreated(f"{failed}: there is no table {'.'.join(key['references'])} here")
    except psycopg.errors.InsufficientPrivilege as error:
        return NotCreated(f"{failed}: {error.diag.message_primary}")
    except psycopg.errors.ProgrammingError as error:  # class 42: types do not match, an index is missing
        return NotCreated(f"{failed}: {error.diag.message_primary}", server_message(error))
    return None


def _count_broken(connection: Connection, table: tuple[str, str], name: str, statement: str) -> NotCreated | None:
    """Return how many rows break a foreign key that cannot be created: create it unchecked, count, and roll back."""
    try:
        with connection.transaction(force_rollback=True):
            run_single(connection, f"{statement} NOT VALID")
            oid = table_oid(connection, *table)
            key = None if oid is None else read_foreign_key(connection, oid, name)
            reason = None if key is None else _broken(connection, key)
            return None if key is None or reason is None else NotCreated(reason, columns=tuple(key.row["columns"]))
    except psycopg.errors.ProgrammingError:  # the definition cannot be combined with NOT VALID
        return None


def broken_foreign_keys(
    connection: Connection,
    tables: Set[tuple[str, str]],
    streams: Mapping[tuple[str, str], StreamName],
    natives: Mapping[tuple[str, str], Native],
) -> Iterator[Violation]:
    """Check the foreign keys from and to these tables, except those that rows of the source may break, too."""
    oids = table_oids(connection, sorted(tables))
    for key in read_foreign_keys(connection, list(oids.values())):
        reason = None if _may_be_broken(key, natives.get(key.owner, {})) else _broken(connection, key)
        if reason is not None:
            columns = tuple(key.row["columns"])
            yield Violation(streams.get(key.owner, StreamName(key.owner[1])), reason, columns)


def _may_be_broken(key: ExistingKey, native: Native) -> bool:
    """Whether nothing enforces the key, or it is NOT VALID also in the source's description `native` of the table."""
    definitions = {it["name"]: it["definition"] for it in native.get("foreign_keys", ())}
    return not key.row["enforced"] or definitions.get(key.name, "").endswith(" NOT VALID")


def _broken(connection: Connection, key: ExistingKey) -> str | None:
    """Return how many rows break the foreign key, with some of their values; None if none does."""
    columns = key.row["columns"]
    values = ", ".join(f"c.{quoted(name)}" for name in columns)
    row = connection.execute(
        f"SELECT count(*), (array_agg(concat_ws(', ', {values})))[:{EXAMPLE_ROWS}] FROM {key.child} AS c "
        f"WHERE {key.broken('c')}"
    ).fetchone()
    return broken_reference(row[0], columns, key.parent_name, row[1]) if row and row[0] else None
