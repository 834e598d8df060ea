"""Compaction of one stream: of each key only the last record counts; earlier ones are dropped.

The history is read from its end to its start, so the first record found for a key is the one that counts. Only the
keys are remembered, in a temporary file when there are many; no more than one Event File of records is in memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from anyio.to_thread import run_sync

from pipeline.codec.event_files.event_file import EventFileWriter
from pipeline.codec.event_files.record_keys import KeyedLines, KeyReader
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.event_file import FileEntry, Header
from pipeline.domain.ids import EventFileId, FlowName, Phase
from pipeline.domain.schema import StreamSchema
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.storage.event_files import open_event_file, store_event_file
from pipeline.engine.storage.key_set import KeySet


class CompactedFiles:
    """Writes the Event Files of one phase of a compacted stream."""

    def __init__(
        self, context: EngineContext, flow: FlowName, movement: int, schema: StreamSchema, phase: Phase
    ) -> None:
        self._context, self._flow, self._movement, self._schema, self._phase = context, flow, movement, schema, phase
        self._writer = EventFileWriter(level=context.limits.zstd_level)
        self.entries: list[FileEntry] = []

    async def add(self, lines: Sequence[bytes]) -> None:
        """Add records, as lines without line feeds, and store each Event File that is full."""
        limits, start = self._context.limits, 0
        while start < len(lines):
            end = min(len(lines), start + limits.event_file_rows - self._writer.records)
            await run_sync(self._add, lines[start:end])
            start = end
            if self._writer.records >= limits.event_file_rows or self._writer.line_bytes >= limits.event_file_bytes:
                await self._store()

    def _add(self, lines: Sequence[bytes]) -> None:
        upserts = len(lines) if self._phase is Phase.FULL else 0
        self._writer.add(b"\n".join([*lines, b""]), upserts=upserts, deletes=len(lines) - upserts)

    async def finish(self, *, even_if_empty: bool) -> Sequence[FileEntry]:
        """Store the last Event File and return all entries. With `even_if_empty` there is one, to carry the schema."""
        if self._writer.records or (even_if_empty and not self.entries):
            await self._store()
        return self.entries

    async def _store(self) -> None:
        writer, self._writer = self._writer, EventFileWriter(level=self._context.limits.zstd_level)
        header = Header(
            flow=self._flow,
            id=EventFileId(self._movement, self._schema.stream, self._phase, len(self.entries)),
            schema=self._schema,
            row_count=writer.records,
            export_time=self._context.clock.now(),
        )
        data = await run_sync(lambda: writer.finish(header))
        self.entries.append(
            await store_event_file(self._context.store, header, data, upserts=writer.upserts, deletes=writer.deletes)
        )


class StreamCompactor:
    """Compacts the `history` of one stream into Event Files of the Movement `movement`."""

    def __init__(self, context: EngineContext, flow: FlowName, movement: int, history: Sequence[FileEntry]) -> None:
        self._context, self._flow, self._movement, self._history = context, flow, movement, history
        self._seen = KeySet()

    async def run(self) -> Sequence[FileEntry]:
        """Store the deletes and the snapshot; return their entries in the order in which they apply.

        ConfigurationError when the primary key has changed, because records then cannot be matched by key.
        """
        schema = await self._latest_schema()
        deletes = CompactedFiles(self._context, self._flow, self._movement, schema, Phase.INCREMENTAL)
        snapshot = CompactedFiles(self._context, self._flow, self._movement, schema, Phase.FULL)
        with self._seen:
            for place in range(len(self._history) - 1, -1, -1):
                await self._compact(place, schema, deletes, snapshot)
        return [*await deletes.finish(even_if_empty=False), *await snapshot.finish(even_if_empty=True)]

    def _is_first(self, place: int) -> bool:
        """Whether no earlier file can have keys of this one, so that its keys need not be remembered."""
        entry = self._history[place]
        if not entry.is_snapshot:
            return place == 0 and bool(entry.replaces)
        return all(
            other.id.movement == entry.id.movement and (other.is_snapshot or bool(entry.replaces))
            for other in self._history[:place]
        )

    async def _latest_schema(self) -> StreamSchema:
        """Return the schema stored last. It is one of the last Movement's, whose files need not be listed by time."""
        movement = self._history[-1].id.movement
        headers = [await _read_header(self._context, entry) for entry in self._history if entry.id.movement == movement]
        return max(headers, key=lambda header: (header.export_time, header.id.chunk)).schema

    async def _compact(
        self, place: int, schema: StreamSchema, deletes: CompactedFiles, snapshot: CompactedFiles
    ) -> None:
        entry, remember = self._history[place], not self._is_first(place)
        async with open_event_file(self._context.store, entry) as opened:
            keys = opened.header.schema.primary_keys
            if keys != schema.primary_keys:
                raise ConfigurationError(
                    f"its primary key has changed, from {', '.join(keys)} to {', '.join(schema.primary_keys)}"
                )
            reader = KeyReader(keys, f"Event File {entry.id}")
            if entry.is_snapshot:  # each key occurs once, so the order of the blocks does not matter
                async for block in opened.blocks:
                    await self._add_new(await run_sync(reader.read, block), deletes, snapshot, remember=remember)
                return
            blocks = [await run_sync(reader.read, block) async for block in opened.blocks]
        for records in reversed(blocks):
            await self._add_new(await run_sync(_reverse, records), deletes, snapshot, remember=remember)

    async def _add_new(
        self, records: KeyedLines, deletes: CompactedFiles, snapshot: CompactedFiles, *, remember: bool
    ) -> None:
        def find_new() -> list[bool]:
            seen = self._seen
            return seen.add_new(records.keys) if remember else [key not in seen for key in records.keys]

        new = await run_sync(find_new)
        await deletes.add(records.chosen(new, deletes=True))
        await snapshot.add(records.chosen(new, deletes=False))


def _reverse(records: KeyedLines) -> KeyedLines:
    """Return the records from the last to the first: if a key occurs twice, the last record counts."""
    return KeyedLines(records.lines[::-1], records.keys[::-1], records.deletes[::-1])


async def _read_header(context: EngineContext, entry: FileEntry) -> Header:
    async with open_event_file(context.store, entry) as opened:
        return opened.header
