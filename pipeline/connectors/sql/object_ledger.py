"""The schema objects of a Flow in the import ledger: as the source wants them, and as the Flow created them here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pipeline.connectors.sql.schema_objects import ObjectId, SchemaObject
from pipeline.connectors.sql.schema_stream import decode_object, encode_object
from pipeline.domain.ids import FlowName

Execute = Callable[[str, Sequence[object]], Iterable[Sequence[Any]]]
"""Runs a statement with parameters, which are marked by ?, and returns its rows."""

COLUMNS = """flow text NOT NULL, kind text NOT NULL, name text NOT NULL, technology text NOT NULL, rank integer NOT NULL,
    wanted text, created text, PRIMARY KEY (flow, kind, name)"""


class ObjectLedger:
    """The table of schema objects of one Flow: `table` is its name as SQL, with `COLUMNS`."""

    def __init__(self, execute: Execute, table: str, flow: FlowName) -> None:
        self._execute = execute
        self._table = table
        self._flow = flow

    def store(self, records: Iterable[tuple[ObjectId, SchemaObject | None]], technology: str) -> tuple[int, int]:
        """Store records of the stream `@schema`; None deletes. Return how many were upserts and deletes."""
        upserts = deletes = 0
        for (kind, name), one in records:
            if one is None:
                self._execute(
                    f"UPDATE {self._table} SET wanted = NULL WHERE flow = ? AND kind = ? AND name = ?",
                    (self._flow, kind, name),
                )
                deletes += 1
                continue
            self._execute(
                f"INSERT INTO {self._table} (flow, kind, name, technology, rank, wanted) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (flow, kind, name) DO UPDATE SET technology = excluded.technology, rank = excluded.rank, "
                "wanted = excluded.wanted",
                (self._flow, kind, name, technology, one.rank, encode_object(one)),
            )
            upserts += 1
        return upserts, deletes

    def wanted(self) -> dict[str, list[SchemaObject]]:
        """Return the objects that the source has, by technology and in creation order."""
        found: dict[str, list[SchemaObject]] = {}
        for technology, kind, name, rank, definition in self._execute(
            f"SELECT technology, kind, name, rank, wanted FROM {self._table} WHERE flow = ? AND wanted IS NOT NULL",
            (self._flow,),
        ):
            found.setdefault(technology, []).append(decode_object(kind, name, rank, definition))
        return {technology: sorted(objects, key=lambda it: (it.rank, *it.id)) for technology, objects in found.items()}

    def created(self) -> dict[ObjectId, SchemaObject]:
        """Return the objects that the Flow created, as it created them."""
        rows = self._execute(
            f"SELECT kind, name, rank, created FROM {self._table} WHERE flow = ? AND created IS NOT NULL", (self._flow,)
        )
        found = [decode_object(*row) for row in rows]
        return {one.id: one for one in found}

    def remember_created(self, before: Mapping[ObjectId, SchemaObject], after: Mapping[ObjectId, SchemaObject]) -> None:
        """Store what was created since `before`, and forget what was dropped."""
        for kind, name in before.keys() | after.keys():
            old, new = before.get((kind, name)), after.get((kind, name))
            if old != new:
                self._execute(
                    f"UPDATE {self._table} SET created = ? WHERE flow = ? AND kind = ? AND name = ?",
                    (None if new is None else encode_object(new), self._flow, kind, name),
                )
        self._execute(f"DELETE FROM {self._table} WHERE flow = ? AND wanted IS NULL AND created IS NULL", (self._flow,))
