"""The guard against mass deletes: an emptied database, or a directory that is not mounted, must not empty the copy."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from pipeline.domain.errors import UnreadableError
from pipeline.domain.ids import StreamName
from pipeline.domain.movement import HeldDeletes, Movement
from pipeline.domain.planning.selection import matches, selected
from pipeline.domain.schema import SCHEMA_STREAM, SPECIAL_STREAMS, StreamSchema
from pipeline.ports.source import Snapshot, WholeListJudge, count_rows, has_rows

SHARE = 5
"""More than a fifth (1/5) of the rows of a stream are many."""


class DeleteGuard:
    """Decides whether the deletes of a stream are allowed. Those that are not are in `held`.

    Held are more than `rows` deletes that are more than a fifth of a stream, all of a tree of files, all of a source that
    has no row at all, and those of a stream of which the source says that it did not give all rows. Not held are
    deletes of a table that is gone while another one has its rows: it was renamed, or attached. Nor are those of a table
    a partition of which is a stream now: it was detached, and its rows come with that stream.
    """

    def __init__(self, movement: Movement, snapshot: Snapshot, schemas: Sequence[StreamSchema], rows: int) -> None:
        self._allowed = movement.allow_deletes
        self._snapshot = snapshot
        self._schemas = schemas
        self._selected = [one for one in schemas if selected(one.stream, movement.only, movement.exclude)]
        self._known = {*movement.states, *movement.unfinished}
        self._rows = rows
        self._empty: bool | None = None
        self.held: dict[StreamName, HeldDeletes] = {}

    async def allows(self, schema: StreamSchema, before: StreamSchema | None, deletes: int, rows: int) -> bool:
        """Return whether `deletes` of the `rows` of a stream that the destination has are allowed; if not, hold them.

        `before` is the schema that the stream had; None if the source no longer has the stream.
        """
        stream = schema.stream
        if not deletes or matches(stream, self._allowed):
            return True
        is_whole = not isinstance(self._snapshot, WholeListJudge) or self._snapshot.is_whole(stream)
        if is_whole and not await self._are_many(stream, deletes, rows):
            return True
        if await self._has_moved(schema, deletes) if before is None else self._is_detached(schema, before):
            return True
        self.held[stream] = HeldDeletes(deletes, rows, gone=before is None)
        return False

    def _is_detached(self, schema: StreamSchema, before: StreamSchema) -> bool:
        """Whether a partition of the stream is a stream of its own now."""
        parts = {*before.identities[1:]}.difference(schema.identities)
        return any(parts.intersection(one.identities[:1]) for one in self._schemas)

    async def _has_moved(self, schema: StreamSchema, rows: int) -> bool:
        """Whether another stream has the table now, renamed or as a partition, or a new one its columns; with as many rows."""
        for one in self._selected:
            is_new = one.stream not in self._known and one.column_names == schema.column_names
            if is_new or {*schema.identities[:1]}.intersection(one.identities):
                with suppress(UnreadableError):
                    if await count_rows(self._snapshot, one) >= rows:
                        return True
        return False

    async def _are_many(self, stream: StreamName, deletes: int, rows: int) -> bool:
        if deletes > self._rows and deletes * SHARE > rows:
            return True
        if stream != SCHEMA_STREAM and deletes < rows:
            return False
        return (stream.startswith("@") and stream not in SPECIAL_STREAMS) or await self._is_source_empty()

    async def _is_source_empty(self) -> bool:
        """Whether no readable stream of the source has a row. Reads until the first row, once a Movement at most."""
        if self._empty is None:
            self._empty = True
            for schema in self._schemas:
                with suppress(UnreadableError):
                    if schema.stream != SCHEMA_STREAM and await has_rows(self._snapshot, schema):
                        self._empty = False
                        break
        return self._empty
