"""Cutting a stream's changes into Event Files: gathers records and state, and stores a chunk when it is large enough."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import anyio.to_thread
import orjson
from anyio.abc import TaskGroup
from blake3 import blake3

from pipeline.codec.event_files.event_file import EventFileWriter
from pipeline.codec.values import key_to_json
from pipeline.domain import object_keys
from pipeline.domain.comparison.diff import StateRange
from pipeline.domain.errors import ConflictError
from pipeline.domain.event_file import FileEntry, Header, KeyRange
from pipeline.domain.ids import EventFileId, Phase
from pipeline.domain.keys import Key
from pipeline.domain.schema import StreamSchema
from pipeline.engine.export.attempt import ExportAttempt, StoredFiles
from pipeline.engine.export.group_listing import GroupListing
from pipeline.engine.export.state_builder import ChunkState, RangeRows
from pipeline.engine.storage.event_files import store_event_file
from pipeline.ports.object_store import PutCondition
from pipeline.ports.reporter import EventFileStored

LARGE_PART = 4
"""A Movement is large once a stream has a quarter of an Event File: a helper is then ready when the first is stored."""
MAX_PART_BYTES = 8_000_000
"""A chunk is stored before its state part grows larger than this, however few its records are."""
FIRST_CONTENT_BYTES, MAX_CONTENT_BYTES = 32_000_000, 256_000_000
"""A chunk is stored when its Binary Files have as many bytes: the first, and any. Each later one may have twice as many.

So an import begins early, and what is to be loaded again after a kill stays small; long trees have no more chunks than need be.
"""
MAX_UNCOMPRESSED_BYTES = 8_000_000
"""The most bytes of lines that may wait to be compressed, if reading is faster than compressing."""


class ChunkWriter:
    """Writes the Event Files of one stream in one Movement.

    What is added covers the keys in order, without a gap. A chunk replaces the state of its key range, so its state has
    all rows, changed or not. After each chunk but the last, `listing` (if given) grows by what is stored by now, of
    which `adopted` is what earlier attempts had stored.

    The deletes of a chunk wait until it is cut, and are then written with it or `withheld`: its state keeps their rows.
    """

    def __init__(
        self,
        attempt: ExportAttempt,
        schema: StreamSchema,
        adopted: StoredFiles,
        listing: GroupListing | None = None,
    ) -> None:
        self._attempt, self._schema, self._adopted, self._listing = attempt, schema, adopted, listing
        self._limits, self._store = attempt.context.limits, attempt.context.store
        self._numbers = _next_numbers(adopted)
        self._phase = Phase.INCREMENTAL
        self._after: Key | None = None
        self._writer = EventFileWriter(level=self._limits.zstd_level)
        self._compressing = anyio.Lock()
        self._reset()
        self.stored: list[tuple[Header, FileEntry]] = []
        self.withheld = False

    def _reset(self) -> None:
        if self._writer.records:  # a new one costs as much time as the comparison of some hundred rows
            self._writer = EventFileWriter(level=self._limits.zstd_level)
        self._uncompressed: list[bytes] = []
        self._deletes = bytearray()
        self._delete_count = 0
        self._state = ChunkState(self._limits.range_rows)
        self._contents_before = self._attempt.binaries.given_bytes

    @property
    def full(self) -> bool:
        """Whether the current chunk should be stored now."""
        records = self._writer.records + self._delete_count
        return (
            self._writer.line_bytes + len(self._deletes) >= self._limits.event_file_bytes
            or records >= self._limits.event_file_rows
            or (records > 0 and (self._state.size >= MAX_PART_BYTES or self._content_bytes >= self._max_content_bytes))
        )

    @property
    def _content_bytes(self) -> int:
        return self._attempt.binaries.given_bytes - self._contents_before

    @property
    def _max_content_bytes(self) -> int:
        return min(FIRST_CONTENT_BYTES << min(self._numbers.get(self._phase, 0), 8), MAX_CONTENT_BYTES)

    async def begin_phase(self, phase: Phase, at: Key | None) -> None:
        """Begin chunks of `phase`; the chunk before ends at `at`."""
        if phase is not self._phase:
            await self.cut(at)
            self._phase = phase

    def takes_arrays(self) -> bool:
        """Return whether upserts may be arrays of values: the importer of this process reads them."""
        return self._attempt.takes_arrays(self._schema.stream)

    def add_upserts(self, lines: bytes, count: int, *, arrays: bool = False) -> None:
        """Add whole upsert lines."""
        self._writer.arrays = self._writer.arrays or arrays
        self._add(lines, upserts=count)

    def add_rows(self, present: RangeRows, gone: RangeRows | None = None) -> None:
        """Add rows to the state, and a delete record for each row that is `gone`."""
        self._state.add_rows(present, gone)
        if gone is not None:
            names = self._schema.primary_keys
            records = [{"delete": dict(zip(names, key_to_json(key), strict=True))} for key in gone.keys]
            lines = [orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records]
            self._deletes += b"".join(lines)  # orjson's bytes hold 4 kB each
            self._delete_count += len(lines)

    def end_range(self, until: Key) -> None:
        """End a range of the state."""
        self._state.end_range(until)

    def _add(self, lines: bytes, *, upserts: int = 0, deletes: int = 0) -> None:
        self._writer.count(lines, upserts=upserts, deletes=deletes)
        self._uncompressed.append(lines)
        if (
            LARGE_PART * self._writer.line_bytes >= self._limits.event_file_bytes
            or LARGE_PART * self._writer.records >= self._limits.event_file_rows
            or self._max_content_bytes // 2 <= self._content_bytes < self._max_content_bytes  # not one large file
        ):
            self._attempt.large.set()

    def add_unchanged_range(self, unchanged: StateRange) -> None:
        """Add a whole range of unchanged rows to the state; before the first record of a chunk, leave it out."""
        if self._writer.records or self._deletes:
            self._state.add_range(unchanged)
        else:
            self._reset()
            self._after = unchanged.until

    async def compress(self) -> None:
        """Compress all added lines, and those added meanwhile, in a thread that holds no lock while it computes.

        Reading and encoding need the interpreter's lock, and go on at the same time (docs/decisions/0004).
        """
        async with self._compressing:
            while self._uncompressed:
                added, self._uncompressed = self._uncompressed, []
                await anyio.to_thread.run_sync(self._writer.compress, added)

    async def compress_in(self, tasks: TaskGroup) -> None:
        """Compress the added lines in a task of `tasks`; if many lines wait, wait for it."""
        if sum(map(len, self._uncompressed)) > MAX_UNCOMPRESSED_BYTES:
            await self.compress()
        elif self._uncompressed and not self._compressing.locked():
            tasks.start_soon(self.compress, name="compress")

    async def cut(self, until: Key | None, *, deleting: bool = False, even_if_empty: bool = False) -> None:
        """Store the current chunk, if it has records, with its deletes if `deleting`.

        It covers the keys up to `until` (None: to the end).
        """
        if deleting and self._deletes:
            self._add(bytes(self._deletes), deletes=self._delete_count)
        self.withheld = self.withheld or (bool(self._deletes) and not deleting)
        if self._writer.records or even_if_empty:
            await self.compress()
            self._state.end_range(until)
            part = self._state.part(deleting=deleting)
            name = object_keys.state_part_name(self._attempt.movement.number, blake3(part).hexdigest())
            await self._attempt.binaries.flush()
            await self._store_part(name, part)
            await self._store_chunk(KeyRange(self._after, until), name)
        self._after = until
        self._reset()

    async def store_schema(self) -> None:
        """Store a chunk without records, which covers no keys, because the schema has changed and no row has."""
        await self._store_chunk(KeyRange(), None)
        self._reset()

    async def _store_part(self, name: str, part: bytes) -> None:
        key = object_keys.state_part_key(self._attempt.movement.flow, self._schema.stream, name)
        with suppress(ConflictError):  # the key has the content's digest: what is stored is the same
            await self._store.put(key, part, PutCondition.ABSENT)
        self._attempt.recent.remember(key, part)  # the state of the stream is made of it next

    async def _store_chunk(self, covers: KeyRange, state: str | None) -> None:
        number = self._numbers.get(self._phase, 0)
        self._numbers[self._phase] = number + 1
        writer, movement, context = self._writer, self._attempt.movement, self._attempt.context
        header = Header(
            flow=movement.flow,
            id=EventFileId(movement.number, self._schema.stream, self._phase, number),
            schema=self._schema,
            row_count=writer.records,
            export_time=context.clock.now(),
            covers=covers,
            state=state,
            arrays=writer.arrays,
        )
        with context.tracer.span("store file", file=str(header.id)):
            data = await anyio.to_thread.run_sync(lambda: writer.finish(header))
            entry = await store_event_file(self._store, header, data, upserts=writer.upserts, deletes=writer.deletes)
        self.stored.append((header, entry))
        stored = EventFileStored(entry.label, entry.id, entry.size, entry.upserts, entry.deletes)
        context.reporter.report(replace(stored, content_bytes=self._content_bytes))
        if self._listing is not None and covers.until is not None:  # after the last chunk, the complete list follows
            await self._listing.grow([entry for _, entry in (*self._adopted, *self.stored)])


def _next_numbers(stored: StoredFiles) -> dict[Phase, int]:
    """Return the next chunk number of each phase."""
    numbers: dict[Phase, int] = {}
    for header, _ in stored:
        numbers[header.id.phase] = max(numbers.get(header.id.phase, 0), header.id.chunk + 1)
    return numbers
