"""The schema objects of a Flow in the import ledger: as the source wants them, and as the Flow created them here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.schema_objects import ObjectId, SchemaObject
from pipeline.connectors.sql.schema_stream import decode_object, encode_object
from pipeline.domain.ids import FlowName


class ObjectLedger:
    """The table `_pipeline.objects` of one Flow, through one connection."""

    def __init__(self, connection: Connection, flow: FlowName) -> None:
        self._connection = connection
        self._flow = flow

    def store(self, records: Iterable[tuple[ObjectId, SchemaObject | None]], technology: str) -> tuple[int, int]:
        """Store records of the stream `@schema`; None deletes. Return how many were upserts and deletes."""
        upserts = deletes = 0
        for (kind, name), one in records:
            if one is None:
                self._connection.execute(
                    "UPDATE _pipeline.objects SET wanted = NULL WHERE flow = %s AND kind = %s AND name = %s",
                    (self._flow, kind, name),
                )
                deletes += 1
                continue
            self._connection.execute(
                "INSERT INTO _pipeline.objects (flow, kind, name, technology, rank, wanted) VALUES (%s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (flow, kind, name) DO UPDATE SET technology = excluded.technology, rank = excluded.rank, "
                "wanted = excluded.wanted",
                (self._flow, kind, name, technology, one.rank, encode_object(one)),
            )
            upserts += 1
        return upserts, deletes

    def wanted(self) -> dict[str, list[SchemaObject]]:
        """Return the objects that the source has, by technology."""
        found: dict[str, list[SchemaObject]] = {}
        for technology, kind, name, rank, definition in self._connection.execute(
            "SELECT technology, kind, name, rank, wanted FROM _pipeline.objects WHERE flow = %s AND wanted IS NOT NULL "
            'ORDER BY rank, kind, name COLLATE "C"',
            (self._flow,),
        ):
            found.setdefault(technology, []).append(decode_object(kind, name, rank, definition))
        return found

    def created(self) -> dict[ObjectId, SchemaObject]:
        """Return the objects that the Flow created, as it created them."""
        rows = self._connection.execute(
            "SELECT kind, name, rank, created FROM _pipeline.objects WHERE flow = %s AND created IS NOT NULL",
            (self._flow,),
        )
        found = [decode_object(*row) for row in rows]
        return {one.id: one for one in found}

    def remember_created(self, before: Mapping[ObjectId, SchemaObject], after: Mapping[ObjectId, SchemaObject]) -> None:
        """Store what was created since `before`, and forget what was dropped."""
        for kind, name in before.keys() | after.keys():
            old, new = before.get((kind, name)), after.get((kind, name))
            if old != new:
                self._connection.execute(
                    "UPDATE _pipeline.objects SET created = %s WHERE flow = %s AND kind = %s AND name = %s",
                    (None if new is None else encode_object(new), self._flow, kind, name),
                )
        self._connection.execute(
            "DELETE FROM _pipeline.objects WHERE flow = %s AND wanted IS NULL AND created IS NULL", (self._flow,)
        )
