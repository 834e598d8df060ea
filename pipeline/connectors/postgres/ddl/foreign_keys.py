"""Foreign keys at the end of a load: made where the rows keep them, and looked at where nobody enforced them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from pipeline.connectors.postgres.ddl.ensure_table import run_one
from pipeline.connectors.postgres.schema.catalog_types import Row, fetch
from pipeline.connectors.postgres.session.connection import Connection, qualified, quoted
from pipeline.connectors.sql.constraints import EXAMPLE_ROWS, broken_reference
from pipeline.domain.ids import StreamName
from pipeline.ports.destination import Violation

ALREADY_THERE = (psycopg.errors.DuplicateObject, psycopg.errors.DuplicateTable)
"""Another process has made it in the meantime."""
_KEYS = """
SELECT k.conname AS name, n.nspname AS schema, c.relname AS "table", c.relkind = 'p' AS partitioned,
       pn.nspname AS parent_schema, p.relname AS parent, p.relkind = 'p' AS parent_partitioned,
       ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u(number, place)
             JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.number ORDER BY u.place) AS columns,
       ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u(number, place)
             JOIN pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = u.number ORDER BY u.place) AS parent_columns,
       ARRAY(SELECT format('OPERATOR(%%I.%%s)', m.nspname, o.oprname) FROM unnest(k.conpfeqop) WITH ORDINALITY AS u(oid, place)
             JOIN pg_operator AS o ON o.oid = u.oid JOIN pg_namespace AS m ON m.oid = o.oprnamespace ORDER BY u.place) AS operators
FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_class AS p ON p.oid = k.confrelid JOIN pg_namespace AS pn ON pn.oid = p.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0
  AND (k.conrelid = ANY (%(tables)s::regclass[]) OR k.confrelid = ANY (%(tables)s::regclass[]))
ORDER BY n.nspname, c.relname, k.conname
"""


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key that is there: from `columns` of a table to `parent_columns` of another, compared by `operators`.

    `table` and `parent` are for a FROM clause that wants their own rows alone, `parent_name` is the parent's name as SQL.
    """

    name: str
    owner: tuple[str, str]
    table: str
    parent: str
    parent_name: str
    columns: Sequence[str]
    parent_columns: Sequence[str]
    operators: Sequence[str]

    def broken(self, alias: str, parents: Sequence[str]) -> str:
        """Return the condition that a row called `alias` refers to what none of `parents` has."""
        columns = [f"{alias}.{quoted(name)}" for name in self.columns]
        pairs = zip(self.parent_columns, self.operators, columns, strict=True)
        same = " AND ".join(f"p.{quoted(name)} {operator} {column}" for name, operator, column in pairs)
        given = [f"{column} IS NOT NULL" for column in columns]
        return " AND ".join([*given, *(f"NOT EXISTS (SELECT FROM {parent} AS p WHERE {same})" for parent in parents)])


def read_foreign_keys(connection: Connection, tables: Sequence[str]) -> list[ForeignKey]:
    """Return the foreign keys from and to these tables, named as SQL, that are there."""
    return [_foreign_key(row) for row in fetch(connection, _KEYS, {"tables": list(tables)})]


def read_foreign_key(connection: Connection, table: str, name: str) -> ForeignKey | None:
    """Return one foreign key from or to a table."""
    return next((key for key in read_foreign_keys(connection, [table]) if key.name == name), None)


def _foreign_key(row: Row) -> ForeignKey:
    child, parent = qualified(row["schema"], row["table"]), qualified(row["parent_schema"], row["parent"])
    return ForeignKey(
        name=row["name"],
        owner=(row["schema"], row["table"]),
        table=child if row["partitioned"] else f"ONLY {child}",
        parent=parent if row["parent_partitioned"] else f"ONLY {parent}",
        parent_name=parent,
        columns=row["columns"],
        parent_columns=row["parent_columns"],
        operators=row["operators"],
    )


@dataclass(frozen=True, slots=True)
class NotMade:
    """Why a foreign key cannot be made. `unfit` says why the tables themselves do not allow it, if it is not their rows."""

    reason: str
    unfit: str | None = None


def make_foreign_key(connection: Connection, table: tuple[str, str], key: Mapping[str, Any]) -> NotMade | None:
    """Make a foreign key that is not there; return why it cannot be made, if it cannot."""
    statement = f"ALTER TABLE {qualified(*table)} ADD CONSTRAINT {quoted(key['name'])} {key['definition']}"
    try:
        run_one(connection, statement)
    except ALREADY_THERE:
        return None
    except psycopg.errors.ForeignKeyViolation as error:
        broken = _look_closer(connection, table, key["name"], statement)
        return NotMade(broken or f"the foreign key {key['name']} cannot be made: {error.diag.message_detail}")
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return NotMade(
            f"the foreign key {key['name']} cannot be made: there is no table {'.'.join(key['references'])} here"
        )
    except psycopg.errors.ProgrammingError as error:  # class 42: a type, a privilege, an index that is missing
        words = f"{error.diag.message_primary}; {error.diag.message_detail or ''}".removesuffix("; ")
        unfit = None if isinstance(error, psycopg.errors.InsufficientPrivilege) else words
        return NotMade(f"the foreign key {key['name']} cannot be made: {error.diag.message_primary}", unfit)
    return None


def _look_closer(connection: Connection, table: tuple[str, str], name: str, statement: str) -> str | None:
    """Return how many rows break a foreign key that could not be made: it is made unchecked, asked, and undone."""
    try:
        with connection.transaction(force_rollback=True):
            run_one(connection, f"{statement} NOT VALID")
            key = read_foreign_key(connection, qualified(*table), name)
            return None if key is None else _broken(connection, key)
    except psycopg.errors.ProgrammingError:  # what NOT VALID does not go with
        return None


def broken_keys(
    connection: Connection, tables: set[tuple[str, str]], streams: Mapping[tuple[str, str], StreamName]
) -> Iterator[Violation]:
    """Check the foreign keys of these tables, and of tables that refer to them."""
    there = [name for name in (qualified(*table) for table in sorted(tables)) if _is_there(connection, name)]
    for key in read_foreign_keys(connection, there):
        reason = _broken(connection, key)
        if reason is not None:
            yield Violation(streams.get(key.owner, StreamName(key.owner[1])), reason)


def _is_there(connection: Connection, name: str) -> bool:
    return connection.execute("SELECT to_regclass(%s)", (name,)).fetchone() != (None,)


def _broken(connection: Connection, key: ForeignKey) -> str | None:
    """Return how many rows break the foreign key, with some of their values; None if none does."""
    values = ", ".join(f"c.{quoted(name)}" for name in key.columns)
    row = connection.execute(
        f"SELECT count(*), (array_agg(concat_ws(', ', {values})))[:{EXAMPLE_ROWS}] FROM {key.table} AS c "
        f"WHERE {key.broken('c', [key.parent])}"
    ).fetchone()
    if row is None or not row[0]:
        return None
    count, named = row
    return broken_reference(count, key.columns, key.parent_name, named)
