"""All that one Movement stores of a stream: what has changed, and the deletes that were withheld until they were counted."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from pipeline.domain.comparison.diff import HASH_BYTES, GoneRows, StateRange, count_up_to
from pipeline.domain.ids import StreamName
from pipeline.domain.keys import Key, OrderedKey, order
from pipeline.domain.schema import StreamSchema
from pipeline.engine.export.attempt import ExportAttempt, StoredFiles
from pipeline.engine.export.chunk_writer import ChunkWriter
from pipeline.engine.export.group_listing import GroupListing
from pipeline.engine.export.state_builder import RangeRows
from pipeline.engine.export.stream_export import AllowsDeletes, OpenRows, StreamExport
from pipeline.engine.storage.snapshot_state import SnapshotState


class StreamChanges:
    """Exports the changes of one stream. `stored` begins with what earlier attempts of the Movement have stored."""

    def __init__(self, attempt: ExportAttempt, stream: StreamName, carried: StoredFiles, adopted: StoredFiles) -> None:
        self._attempt, self._stream, self._carried = attempt, stream, carried
        self.stored = list(adopted)

    @property
    def state(self) -> SnapshotState:
        """What the Flow has stored of the stream by now."""
        return self._attempt.state(self._stream, self._carried, self.stored)

    async def export(
        self, schema: StreamSchema, rows: OpenRows | None, allows: AllowsDeletes, listing: GroupListing | None = None
    ) -> None:
        """Export how `rows` differ from the stored state, without the deletes if those are not allowed."""
        before = self.state
        writer = self._writer(schema, listing)
        export = StreamExport(self._attempt, schema, before, writer)
        try:
            allowed = await export.run(rows, allows)
        finally:
            self.stored += writer.stored
        if allowed and writer.withheld:
            deleting = self._writer(schema)
            await _write_withheld(before, export.gone, self.state, deleting)
            self.stored += deleting.stored

    async def store_schema(self, schema: StreamSchema) -> None:
        """Store a schema that the Flow does not know yet, of a stream without changes, in an Event File without records."""
        writer, state = self._writer(schema), self.state
        if state.complete or state.chunks:
            await writer.store_schema()
        else:
            await writer.cut(None, even_if_empty=True)
        self.stored += writer.stored

    def _writer(self, schema: StreamSchema, listing: GroupListing | None = None) -> ChunkWriter:
        return ChunkWriter(self._attempt, schema, tuple(self.stored), listing)


async def _write_withheld(old: SnapshotState, gone: GoneRows, now: SnapshotState, writer: ChunkWriter) -> None:
    """Delete the rows of `old` that are `gone`, as far as the state `now` still has them, and store the state without them.

    A crash in between loses none: the rows that are not deleted yet are still in the stored state.
    """
    async with aclosing(_keys(old, gone)) as batches, aclosing(now.ranges()) as ranges:
        keys = _Keys(batches)
        async for part in ranges:
            wanted = set(map(order, await keys.take_up_to(part.until)))
            rows, deleted = _divided(part, wanted) if wanted else (RangeRows(), RangeRows())
            if deleted.keys:
                writer.add_rows(rows, deleted)
                writer.end_range(part.until)
            else:
                writer.add_unchanged_range(part)
            if writer.full:
                await writer.cut(part.until, deleting=True)
    await writer.cut(None, deleting=True)


async def _keys(old: SnapshotState, gone: GoneRows) -> AsyncGenerator[Sequence[Key], None]:
    """Yield the keys of the rows that are gone, range by range."""
    number = 0
    async with aclosing(old.ranges()) as ranges:
        async for part in ranges:
            if positions := gone.positions(number):
                keys = part.load_keys()
                yield [keys[at] for at in positions]
            number += 1


class _Keys:
    """Keys in key order, taken up to one bound after the other."""

    def __init__(self, batches: AsyncGenerator[Sequence[Key], None]) -> None:
        self._batches = batches
        self._next: Sequence[Key] = ()

    async def take_up_to(self, until: Key) -> Sequence[Key]:
        """Return the next keys that are not after `until`."""
        taken: list[Key] = []
        while True:
            if not self._next and (batch := await anext(self._batches, None)) is not None:
                self._next = batch
            end = count_up_to(self._next, until)
            taken += self._next[:end]
            self._next = self._next[end:]
            if self._next or not end:
                return taken


def _divided(part: StateRange, wanted: set[OrderedKey]) -> tuple[RangeRows, RangeRows]:
    """Return the rows of a range whose keys are not wanted, and those whose keys are."""
    rows, deleted = RangeRows(), RangeRows()
    for at, key in enumerate(part.load_keys()):
        row = part.hashes[at * HASH_BYTES : (at + 1) * HASH_BYTES]
        (deleted if order(key) in wanted else rows).add([key], row)
    return rows, deleted
