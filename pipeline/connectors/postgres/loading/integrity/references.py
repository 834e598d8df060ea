"""The foreign keys that refer to a table, for a user who cannot suspend them.

A parent that goes would take its children with it (CASCADE) or change them (SET NULL, SET DEFAULT), though no record says
so. What becomes of the children at the source comes as records of their own. So a parent goes only when no row refers to it:
a delete that comes too early is rejected, and retried when the other streams have arrived.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pipeline.connectors.postgres.ddl.foreign_keys import ExistingKey, read_foreign_keys
from pipeline.connectors.postgres.loading.rejection.reasons import RejectReason
from pipeline.connectors.postgres.loading.target import PLACE, Target, numbered
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.identifiers import qualified, quoted

_PARTS = """
WITH RECURSIVE parts(oid) AS (
    SELECT i.inhrelid FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid AND c.relispartition
    WHERE i.inhparent = %(oid)s
    UNION SELECT i.inhrelid FROM parts AS p JOIN pg_inherits AS i ON i.inhparent = p.oid)
SELECT c.oid, n.nspname, c.relname FROM parts AS p JOIN pg_class AS c ON c.oid = p.oid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
"""
"""The partitions of a table, to which foreign keys may refer by themselves. `pg_partition_tree` would lock the table."""
_CHANGES_ROWS = ("c", "n", "d")
"""The catalog's letters for CASCADE, SET NULL and SET DEFAULT."""


class References:
    """The foreign keys to one table. `stage`, below, is a temporary table of records, and `t` the table itself."""

    def __init__(self, connection: Connection, target: Target) -> None:
        self._connection = connection
        self._target = target
        parts = connection.execute(_PARTS, {"oid": target.table.oid}).fetchall()
        names = {target.sql, *(qualified(*name) for _, *name in parts)}
        keys = read_foreign_keys(connection, [target.table.oid, *(oid for oid, *_ in parts)])
        self._deferred: Collection[tuple[str, str, str]] = ()
        self._keys = [key for key in keys if key.parent_name in names and not key.row["period"]]

    def defer(self, keys: Sequence[ExistingKey]) -> None:
        """Let rows go to which others refer through these keys, if they have no action: they are checked later."""
        self._deferred = [(*key.owner, key.name) for key in keys if key.row["on_delete"] == "a"]

    def __bool__(self) -> bool:
        return bool(self._keys)

    def blocked_deletes(self, stage: str) -> dict[int, RejectReason]:
        """Return the records of deletes whose rows others refer to, by place, with the reason; lock all rows that go.

        Rows that go too do not count. No new reference can appear before the end of the transaction.
        """
        if not self._keys:
            return {}
        going = self._target.rows_that_go(stage)
        self._lock(going)
        queries = []
        for number, key in enumerate(self._keys):
            if (*key.owner, key.name) in self._deferred:
                continue
            query = self._children(number, going)
            if key.child == self._target.only:
                query += f" WHERE (c.tableoid, c.ctid) NOT IN (SELECT t.tableoid, t.ctid FROM {going})"
            queries.append(f"{query} GROUP BY 1")
        return self._blocked(queries, "it is deleted once they no longer do")

    def blocked_replacements(self, stage: str) -> dict[int, RejectReason]:
        """Return, likewise, the records of upserts whose rows cannot be deleted and inserted in one statement.

        Where rows refer with NO ACTION they can: it is checked at the end of the statement.
        """
        going = self._target.rows_replaced(stage)
        self._lock(going)
        numbers = [number for number, key in enumerate(self._keys) if key.row["on_delete"] != "a"]
        return self._blocked(
            [f"{self._children(number, going)} GROUP BY 1" for number in numbers], "it is replaced then"
        )

    def can_vacate(self, column: str) -> bool:
        """Whether a value of this column may change for a moment: no action of a foreign key would notice."""
        return all(
            column not in key.row["parent_columns"] or key.row["on_update"] not in _CHANGES_ROWS for key in self._keys
        )

    def _children(self, number: int, rows: str) -> str:
        """Return the query for the number of rows that refer to each of `rows` through one key, without GROUP BY."""
        key = self._keys[number]
        return (
            f"SELECT s.{PLACE} AS place, {number}, count(*) FROM {rows} JOIN {key.child} AS c ON {key.refers('c', 't')}"
        )

    def blocked_updates(self, stage: str, columns: Collection[str]) -> dict[int, RejectReason]:
        """Return the records of upserts that would change a value to which rows refer with ON UPDATE CASCADE or the like."""
        target = self._target
        queries, same_key = [], target.same_key("t", "s")
        for number, key in enumerate(self._keys):
            written = [name for name in key.row["parent_columns"] if name in columns and name not in target.kept]
            if key.row["on_update"] in _CHANGES_ROWS and written and target.row_key is None:
                changes = " OR ".join(f"t.{quoted(it)} IS DISTINCT FROM s.{quoted(it)}" for it in written)
                found = f"{target.only} AS t JOIN {numbered(stage)} AS s ON {same_key} AND ({changes})"
                self._lock(found)
                queries.append(f"{self._children(number, found)} GROUP BY 1")
        return self._blocked(queries, "the value changes once they no longer do")

    def _lock(self, rows: str) -> None:
        self._connection.execute(f"SELECT count(*) FROM (SELECT FROM {rows} FOR UPDATE OF t) AS locked".encode())

    def _blocked(self, queries: list[str], what_then: str) -> dict[int, RejectReason]:
        found: dict[int, RejectReason] = {}
        if queries:
            for place, number, count in self._connection.execute(" UNION ALL ".join(queries).encode()):
                key = self._keys[number]
                rows = "1 row of {} refers" if count == 1 else f"{count} rows of {{}} refer"
                columns = ", ".join(key.row["columns"])
                text = f"{rows.format(key.child_name)} to this row through {columns}; {what_then}"
                found[place] = RejectReason(text, blocked=True)
        return found

    def stays(self, old: str, new: str) -> str:
        """Return the condition that the row `new` takes the place of `old`: rows that refer to `old` then refer to `new`."""
        same = [
            " AND ".join(f"{old}.{quoted(name)} = {new}.{quoted(name)}" for name in key.row["parent_columns"])
            for key in self._keys
        ]
        kept = [
            f"({equal} OR NOT EXISTS (SELECT FROM {key.child} AS c WHERE {key.refers('c', old)}))"
            for equal, key in zip(same, self._keys, strict=True)
        ]
        return f"({' OR '.join(f'({it})' for it in same)}) AND {' AND '.join(kept)}"
