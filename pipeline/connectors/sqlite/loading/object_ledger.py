"""The schema objects of a Flow in the import ledger: as the source wants them, and as the Flow created them here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import apsw

from pipeline.connectors.sql.schema_objects import ObjectId, SchemaObject
from pipeline.connectors.sql.schema_stream import decode_object, encode_object
from pipeline.domain.ids import FlowName

_TABLE = """
CREATE TABLE IF NOT EXISTS _pipeline_objects (
    flow TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, technology TEXT NOT NULL, rank INTEGER NOT NULL,
    wanted TEXT, created TEXT, PRIMARY KEY (flow, kind, name)
) WITHOUT ROWID
"""


class ObjectLedger:
    """The table `_pipeline_objects` of one Flow."""

    def __init__(self, connection: apsw.Connection, flow: FlowName) -> None:
        self._connection = connection
        self._flow = flow

    def exists(self) -> bool:
        """Whether the table exists; the first schema object creates it."""
        return bool(self._connection.execute("SELECT 1 FROM sqlite_schema WHERE name = '_pipeline_objects'").fetchall())

    def store(self, records: Iterable[tuple[ObjectId, SchemaObject | None]], technology: str) -> tuple[int, int]:
        """Store records of the stream `@schema`; None deletes. Return how many were upserts and deletes."""
        self._connection.execute(_TABLE)
        upserts = deletes = 0
        for (kind, name), one in records:
            if one is None:
                self._connection.execute(
                    "UPDATE _pipeline_objects SET wanted = NULL WHERE flow = ? AND kind = ? AND name = ?",
                    (self._flow, kind, name),
                )
                deletes += 1
                continue
            self._connection.execute(
                "INSERT INTO _pipeline_objects (flow, kind, name, technology, rank, wanted) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (flow, kind, name) DO UPDATE SET technology = excluded.technology, rank = excluded.rank, "
                "wanted = excluded.wanted",
                (self._flow, kind, name, technology, one.rank, encode_object(one)),
            )
            upserts += 1
        return upserts, deletes

    def wanted(self) -> dict[str, list[SchemaObject]]:
        """Return the objects that the source has, by technology."""
        found: dict[str, list[SchemaObject]] = {}
        rows = self._connection.execute(
            "SELECT technology, kind, name, rank, wanted FROM _pipeline_objects WHERE flow = ? AND wanted IS NOT NULL "
            "ORDER BY rank, kind, name",
            (self._flow,),
        )
        for technology, kind, name, rank, definition in rows.fetchall():
            found.setdefault(str(technology), []).append(_decoded(kind, name, rank, definition))
        return found

    def created(self) -> dict[ObjectId, SchemaObject]:
        """Return the objects that the Flow created, as it created them."""
        rows = self._connection.execute(
            "SELECT kind, name, rank, created FROM _pipeline_objects WHERE flow = ? AND created IS NOT NULL",
            (self._flow,),
        )
        found = [_decoded(*row) for row in rows.fetchall()]
        return {one.id: one for one in found}

    def remember_created(self, before: Mapping[ObjectId, SchemaObject], after: Mapping[ObjectId, SchemaObject]) -> None:
        """Store what was created since `before`, and forget what was dropped."""
        for kind, name in before.keys() | after.keys():
            old, new = before.get((kind, name)), after.get((kind, name))
            if old != new:
                self._connection.execute(
                    "UPDATE _pipeline_objects SET created = ? WHERE flow = ? AND kind = ? AND name = ?",
                    (None if new is None else encode_object(new), self._flow, kind, name),
                )
        self._connection.execute(
            "DELETE FROM _pipeline_objects WHERE flow = ? AND wanted IS NULL AND created IS NULL", (self._flow,)
        )


def _decoded(kind: object, name: object, rank: object, definition: object) -> SchemaObject:
    return decode_object(str(kind), str(name), int(str(rank)), str(definition))
