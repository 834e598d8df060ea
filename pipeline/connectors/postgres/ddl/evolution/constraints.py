"""Constraints, indexes and foreign keys that the source has no more, or has with another definition or name.

They go before the rows that they would not allow. What replaces them is created after the load (post_load.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Set

import psycopg

from pipeline.connectors.postgres.ddl.create_table import Native, name_of, run_single
from pipeline.connectors.postgres.ddl.evolution.names import ALREADY_EXISTS
from pipeline.connectors.postgres.ddl.foreign_keys import read_foreign_keys
from pipeline.connectors.postgres.ddl.mapped_types import fitting
from pipeline.connectors.postgres.ddl.target_table import table_oid
from pipeline.connectors.postgres.schema.definitions import nameless
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import qualified, quoted

ForeignKeyName = tuple[str, str, str]
"""Schema and name of a table, and the name of its foreign key."""

_DEFINITIONS = """
WITH given AS MATERIALIZED (SELECT name, to_regclass(name)::oid AS oid FROM unnest(%s::text[]) AS name)
SELECT g.name, k.conname, pg_get_constraintdef(k.oid), false
FROM given AS g JOIN pg_constraint AS k ON k.conrelid = g.oid
UNION ALL
SELECT g.name, c.relname, CASE WHEN c.relispartition THEN '' ELSE pg_get_indexdef(c.oid) END, true
FROM given AS g JOIN pg_index AS i ON i.indrelid = g.oid JOIN pg_class AS c ON c.oid = i.indexrelid
"""


_CHILD_CHECKS = """
WITH RECURSIVE children AS (
    SELECT inhrelid AS oid FROM pg_inherits WHERE inhparent = to_regclass(%(table)s)
    UNION SELECT i.inhrelid FROM children AS c JOIN pg_inherits AS i ON i.inhparent = c.oid
)
SELECT n.nspname::text, c.relname::text
FROM children JOIN pg_class AS c USING (oid) JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_constraint AS k ON k.conrelid = c.oid AND k.contype = 'c' AND k.conname = %(name)s AND k.coninhcount = 0
"""
_WITH_AN_INDEX = ("PRIMARY KEY", "UNIQUE", "EXCLUDE")
"""Constraints whose index has their name; one of another kind and an index may share a name by chance."""


Definitions = tuple[dict[str, str], dict[str, str]]
"""Those of a table's constraints, and those of its indexes without their names, by name.

An index that a partition has for one of its parent has an empty one: it comes and goes with that.
"""


def present_definitions(connection: Connection, table: str) -> Definitions:
    """Return the definitions of a table, whose name is SQL."""
    return definitions_by_table(connection, [table])[table]


def definitions_by_table(connection: Connection, tables: Collection[str]) -> Mapping[str, Definitions]:
    """Return the definitions of each of these tables."""
    found: dict[str, Definitions] = {table: ({}, {}) for table in tables}
    for table, name, definition, is_index in connection.execute(_DEFINITIONS, (list(tables),)):
        found[table][is_index][name] = nameless(name, definition) if is_index else definition
    return found


def drop_former_constraints(
    connection: Connection,
    before: Native,
    now: Native,
    keys: Callable[[], Set[ForeignKeyName]],
    natives: Callable[[], Sequence[Native]],
    earlier: Mapping[str, Definitions],
) -> None:
    """Drop or rename what the description `before` has and `now` has not, of the table and its partitions.

    `earlier` has the definitions of these tables before columns were renamed, if any was: a definition of the same text may be of
    another column now. What the source's rows may contradict is dropped, too: all rows may come again.

    Foreign keys among `keys()` go with the key that they refer to; post_load.py creates them again. So do checks of child
    tables that `natives()` describe without them: these have got them from the table.
    """
    partitions = {name_of(partition): partition for partition in now.get("partitions", ())}
    _Evolution(connection, name_of(now), keys, natives).run(before, now, earlier)
    for partition in before.get("partitions", ()):
        if (name := name_of(partition)) in partitions:
            _Evolution(connection, name, keys, natives).run(partition, partitions[name], earlier)


class _Evolution:
    """Drops and renames the constraints and indexes of one table."""

    def __init__(
        self,
        connection: Connection,
        table: tuple[str, str],
        keys: Callable[[], Set[ForeignKeyName]],
        natives: Callable[[], Sequence[Native]],
    ) -> None:
        self._connection, self._natives = connection, natives
        self._table = table
        self._sql = qualified(*table)
        self._keys = keys

    def run(self, before: Native, now: Native, earlier: Mapping[str, Definitions]) -> None:
        former, wanted = _definitions(before), _definitions(now)
        if former == wanted and not earlier and not any(map(_is_unchecked, wanted[0].values())):
            return
        constraints, indexes = present_definitions(self._connection, self._sql)
        present = (
            constraints,
            {
                name: text
                for name, text in indexes.items()
                if text and not constraints.get(name, "").startswith(_WITH_AN_INDEX)
            },
        )
        known = earlier.get(self._sql, present)
        for old, new, here, was, is_index in zip(former, wanted, present, known, (False, True), strict=True):
            for name in old.keys() & here.keys():
                is_same = old[name] == new.get(name) and here[name] == was.get(name)
                if (is_same or here[name] == new.get(name)) and not _is_unchecked(here[name]):
                    continue
                renamed = next((it for it, text in new.items() if text == here[name] and it not in here), None)
                if renamed is None:
                    self._drop(name, is_index=is_index)
                else:
                    here[renamed] = here[name]
                    self._rename_or_free(name, renamed, is_index=is_index)

    def _rename_or_free(self, name: str, renamed: str, *, is_index: bool) -> None:
        """Give a new name; while another table's has it, one that frees the old name (post_load.py tries again)."""
        try:
            with self._connection.transaction():
                run_single(self._connection, self._rename(name, renamed, is_index=is_index))
        except ALREADY_EXISTS:
            run_single(
                self._connection, self._rename(name, fitting(f"{renamed}_of_{self._table[1]}"), is_index=is_index)
            )

    def _rename(self, name: str, renamed: str, *, is_index: bool) -> str:
        if is_index:
            return f"ALTER INDEX {qualified(self._table[0], name)} RENAME TO {quoted(renamed)}"
        return f"ALTER TABLE {self._sql} RENAME CONSTRAINT {quoted(name)} TO {quoted(renamed)}"

    def _drop(self, name: str, *, is_index: bool) -> None:
        index = qualified(self._table[0], name)
        drop = f"DROP INDEX {index}" if is_index else f"ALTER TABLE {self._sql} DROP CONSTRAINT {quoted(name)}"
        try:
            with self._connection.transaction():
                run_single(self._connection, drop)
        except psycopg.errors.DependentObjectsStillExist:
            for key in read_foreign_keys(self._connection, [table_oid(self._connection, *self._table) or 0]):
                if (*key.owner, key.name) in self._keys() and key.parent_name == self._sql:
                    run_single(
                        self._connection, f"ALTER TABLE {qualified(*key.owner)} DROP CONSTRAINT {quoted(key.name)}"
                    )
            run_single(self._connection, drop)
        children = (
            [] if is_index else self._connection.execute(_CHILD_CHECKS, {"name": name, "table": self._sql}).fetchall()
        )
        described = {name_of(it): it for it in self._natives()} if children else {}
        for child in children:
            if child in described and all(it["name"] != name for it in described[child].get("constraints", ())):
                run_single(self._connection, f"ALTER TABLE {qualified(*child)} DROP CONSTRAINT {quoted(name)}")


def _is_unchecked(definition: str) -> bool:
    """Whether rows may contradict a constraint. It takes no time to create it again."""
    return definition.endswith(" NOT VALID")


def _definitions(native: Native) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Return the definitions of constraints, and those of other indexes without their names, by name."""
    constraints = [*native.get("constraints", ()), *native.get("foreign_keys", ())]
    return (
        {it["name"]: it["definition"] for it in constraints},
        {it["name"]: nameless(it["name"], it["definition"]) for it in native.get("indexes", ())},
    )
