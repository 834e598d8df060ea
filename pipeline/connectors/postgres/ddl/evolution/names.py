"""Names of indexes, constraints, identity sequences and partitions that pass from one table of a Flow to another.

The source has renamed a table, say: the new table wants names that the former one still has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial

import psycopg

from pipeline.connectors.postgres.ddl.create_table import Native, name_of, run_single
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import qualified, quoted

ALREADY_EXISTS = (psycopg.errors.DuplicateObject, psycopg.errors.DuplicateTable)
"""Errors that say that a name is in use: of this table or, for all but a check or a foreign key, of anything in the schema."""

_HOLDER = """
SELECT c.oid, c.relkind::text, coalesce(d.deptype = 'a', false), n.nspname, o.relname
FROM pg_class AS c
LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
LEFT JOIN pg_depend AS d ON c.relkind = 'S' AND d.classid = 'pg_class'::regclass AND d.objid = c.oid
    AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
JOIN pg_class AS o ON o.oid = coalesce(i.indrelid, d.refobjid, c.oid) JOIN pg_namespace AS n ON n.oid = o.relnamespace
WHERE c.oid = to_regclass(%s) AND (o.oid <> c.oid OR c.relispartition)
"""
_INDEXES = """
SELECT n.nspname, c.relname, c.oid FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE i.indrelid = %s
"""
_KINDS = {"S": "SEQUENCE", "i": "INDEX", "I": "INDEX", "r": "TABLE", "p": "TABLE"}

RelationName = tuple[str, str]
"""Schema and name of a table, an index or a sequence: one name is never that of two."""


def given_up(oid: int) -> str:
    """Return the name of what had to give up its own."""
    return f"former_{oid}"


def take_name(
    connection: Connection, name: RelationName, tables: Callable[[], Set[str]], *, shares_sequence: bool = False
) -> bool:
    """Rename what has a name, if it is a part of one of `tables()`, given as SQL; return whether it was one.

    The indexes of a partition give up their names with it: those of its successor are made from its name.
    `shares_sequence`: a sequence that a table merely owns keeps its name, since another table may go on with it.
    """
    row = connection.execute(_HOLDER, (qualified(*name),)).fetchone()
    if row is None or qualified(*row[3:]) not in tables():
        return False
    oid, kind, is_owned = row[:3]
    if shares_sequence and is_owned:
        return False
    if _KINDS[kind] == "TABLE":
        for schema, index, number in connection.execute(_INDEXES, (oid,)).fetchall():
            run_single(connection, f"ALTER INDEX {qualified(schema, index)} RENAME TO {quoted(given_up(number))}")
    run_single(connection, f"ALTER {_KINDS[kind]} {qualified(*name)} RENAME TO {quoted(given_up(oid))}")
    return True


def belongs_elsewhere(connection: Connection, sequence: RelationName, tables: Callable[[], Set[str]]) -> bool:
    """Whether a sequence of this name is one of a table other than `tables()`, given as SQL."""
    row = connection.execute(_HOLDER, (qualified(*sequence),)).fetchone()
    return row is not None and row[1] == "S" and qualified(*row[3:]) not in tables()


def names_at_creation(native: Native) -> Iterator[RelationName]:
    """Give the names that the parts of a table get with it: its identity sequences and its key."""
    yield from ((it["schema"], it["name"]) for it in native.get("sequences", ()) if it["identity"])
    if native.get("key") is not None:
        yield native["schema"], native["key"]["name"]


def names_of_parts(native: Native) -> Iterator[RelationName]:
    """Give the names that the description of a table has for its parts."""
    yield from names_at_creation(native)
    yield from map(name_of, native.get("partitions", ()))
    for it in (native, *native.get("partitions", ())):
        parts = (*it.get("constraints", ()), *it.get("indexes", ()), *it.get("inherited_indexes", ()))
        yield from ((it["schema"], part["name"]) for part in parts)


@dataclass(frozen=True, slots=True)
class NameOwners:
    """Which table has a name, by the latest descriptions of the Flow's tables, in the order of their export.

    `created` are the tables and partitions, as SQL, that the Flow has created. `ours()` returns those that had no rows
    before its first load: these give up names.
    """

    connection: Connection
    natives: Sequence[Native]
    created: Set[str]
    ours: Callable[[], Set[str]]

    def is_of(self, table: Native, name: RelationName) -> bool:
        """Whether a table has a name at the source. Where two descriptions have it, the later one is right."""
        owners = (name_of(it) for it in reversed(self.natives) if name in set(names_of_parts(it)))
        return next(owners, None) == name_of(table)

    def take(self, table: Native, name: RelationName) -> bool:
        """Take a name that a table has at the source from another one; return whether that has given it up."""
        others = partial(self._others, table)
        return self.is_of(table, name) and take_name(self.connection, name, others)

    def _others(self, table: Native) -> Set[str]:
        return self.ours() - {qualified(*name_of(table))}
