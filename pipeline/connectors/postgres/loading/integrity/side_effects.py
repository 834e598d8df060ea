"""Triggers and rules of a table, which would change rows that no record names: suspended while rows are loaded.

So is row-level security that its owner has to obey (FORCE), of the table and those that foreign keys connect with it: it
hides rows.

`session_replication_role` suspends most of them for superusers. The owner of the table, who is rarely one, disables them in
the transaction of the load, so nobody else ever sees them disabled. That locks the table against other writers (for a rule
also against readers) until the transaction ends, so it happens only where there are any.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psycopg

from pipeline.connectors.postgres.session.connection import Connection

_WORDS = {"O": "ENABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA"}

_FOUND = """
WITH RECURSIVE tables AS (
    SELECT oid AS root, oid::regclass AS relid FROM unnest(%s::oid[]) AS oid UNION
    SELECT t.root, i.inhrelid::regclass FROM tables AS t JOIN pg_inherits AS i ON i.inhparent = t.relid
    JOIN pg_class AS c ON c.oid = i.inhrelid AND c.relispartition)
SELECT t.root, t.relid::text, 'TRIGGER', quote_ident(g.tgname), g.tgenabled::text, pg_has_role(c.relowner, 'USAGE')
FROM tables AS t JOIN pg_class AS c ON c.oid = t.relid JOIN pg_trigger AS g ON g.tgrelid = t.relid
WHERE NOT g.tgisinternal AND g.tgtype & 28 <> 0
UNION ALL
SELECT t.root, t.relid::text, 'RULE', quote_ident(r.rulename), r.ev_enabled::text, pg_has_role(c.relowner, 'USAGE')
FROM tables AS t JOIN pg_class AS c ON c.oid = t.relid JOIN pg_rewrite AS r ON r.ev_class = t.relid
WHERE r.ev_type IN ('2', '3', '4')
UNION ALL
SELECT DISTINCT t.root, c.oid::regclass::text, 'FORCE', '', 'A', true
FROM tables AS t CROSS JOIN LATERAL (
    SELECT t.relid::oid AS oid
    UNION SELECT k.confrelid FROM pg_constraint AS k WHERE k.contype = 'f' AND k.conrelid = t.relid
    UNION SELECT k.conrelid FROM pg_constraint AS k WHERE k.contype = 'f' AND k.confrelid = t.relid
) AS related JOIN pg_class AS c USING (oid)
WHERE c.relrowsecurity AND c.relforcerowsecurity AND row_security_active(c.oid) AND pg_has_role(c.relowner, 'USAGE')
ORDER BY 1, 2, 3, 4
"""
"""Triggers of tables and their partitions for INSERT, UPDATE or DELETE (the bits 4, 8 and 16), and rules for them.

`pg_partition_tree` would lock the table, and two loads could then wait for each other.
"""


@dataclass(frozen=True, slots=True)
class SideEffect:
    """A trigger, a rule, or FORCE ROW LEVEL SECURITY, which has no name.

    `table` and `name` are SQL; `enabled` is the catalog's letter; `is_ours`: we own the table.
    """

    table: str
    kind: str
    name: str
    enabled: str
    is_ours: bool

    def __str__(self) -> str:
        if self.kind == "FORCE":
            return f"FORCE ROW LEVEL SECURITY of {self.table}"
        return f"the {self.kind.lower()} {self.name} of {self.table}"


def read_side_effects(connection: Connection, oids: Collection[int], *, as_replica: bool) -> Mapping[int, SideEffects]:
    """Return what would act on rows of each of these tables. `as_replica`: the session is one that replicates."""
    found: dict[int, list[SideEffect]] = {oid: [] for oid in oids}
    for oid, *row in connection.execute(_FOUND, (list(oids),)):
        found[oid].append(SideEffect(*row))
    return {oid: SideEffects(connection, effects, as_replica=as_replica) for oid, effects in found.items()}


class SideEffects:
    """What would act on rows while one table is loaded: those of its triggers and rules that are active."""

    def __init__(self, connection: Connection, found: Sequence[SideEffect], *, as_replica: bool) -> None:
        self._connection = connection
        firing = "AR" if as_replica else "AO"
        self.active: Sequence[SideEffect] = [one for one in found if one.enabled in firing]
        self.has_rules = any(one.kind == "RULE" for one in found)
        self._suspended: list[SideEffect] = []

    @property
    def act(self) -> bool:
        """Whether some stay active though they are suspended."""
        return any(not one.is_ours for one in self.active)

    def suspend(self) -> None:
        """Disable them until the end of the transaction, as far as we own the tables."""
        with suppress(psycopg.errors.InsufficientPrivilege), self._connection.transaction():
            self._disable()
            self._suspended = [one for one in self.active if one.is_ours]

    def _disable(self) -> None:
        """Disable those of our tables. InsufficientPrivilege where a policy of the hosting company forbids even that."""
        for one in self.active:
            if one.is_ours:
                self._alter(one, "DISABLE")

    def resume(self) -> None:
        """Enable them again, before the transaction ends. A transaction that is rolled back never disabled them."""
        for one in self._suspended:
            self._alter(one, _WORDS[one.enabled])
        self._suspended.clear()

    def _alter(self, one: SideEffect, word: str) -> None:
        change = f"{word} {one.kind} {one.name}"
        if one.kind == "FORCE":
            change = "NO FORCE ROW LEVEL SECURITY" if word == "DISABLE" else "FORCE ROW LEVEL SECURITY"
        self._connection.execute(f"ALTER TABLE ONLY {one.table} {change}".encode())

    def violations(self) -> list[str]:
        """Return what to say of those that cannot be suspended: they may change rows that no record names."""
        is_refused = any(one.is_ours for one in self.active) and self._is_refused()
        return [
            f"{one} acts while rows are loaded, and may change or drop rows: "
            + (
                f"the server does not let its owner disable it, so have the administrator disable the {one.kind.lower()}"
                if one.is_ours
                else f"let the table's owner run the pipeline, or disable the {one.kind.lower()}"
            )
            for one in self.active
            if is_refused or not one.is_ours
        ]

    def _is_refused(self) -> bool:
        """Whether the server does not let us disable those of our tables. One that is locked now was disabled before."""
        try:
            with suppress(psycopg.errors.LockNotAvailable), self._connection.transaction(force_rollback=True):
                self._connection.execute("SET LOCAL lock_timeout = '100ms'")  # before a deadlock is looked for
                self._disable()
        except psycopg.errors.InsufficientPrivilege:
            return True
        return False
