"""Cutting a stream's changes into Event Files: gathers records and state, stores a chunk when it is large enough."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import anyio.to_thread
import orjson
from anyio.abc import TaskGroup
from blake3 import blake3

from pipeline.codec.event_files.event_file import EventFileWriter
from pipeline.codec.state import encode_range, encode_stored
from pipeline.codec.values import key_to_json
from pipeline.domain import object_keys
from pipeline.domain.comparison.diff import HASH_BYTES, StateRange
from pipeline.domain.errors import ConflictError
from pipeline.domain.event_file import FileEntry, Header, KeyRange
from pipeline.domain.ids import EventFileId, Phase
from pipeline.domain.keys import Key
from pipeline.domain.movement import Movement
from pipeline.domain.schema import StreamSchema
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.storage.binaries import BinaryFiles
from pipeline.engine.storage.event_files import store_event_file
from pipeline.ports.object_store import PutCondition
from pipeline.ports.reporter import EventFileStored

LARGE_PART = 4
"""A stream is large once a quarter of an Event File is in hand: early enough to have help when the first one is stored."""
MAX_PART_BYTES = 8_000_000
"""The largest state part kept in memory before its chunk is stored, however few its records are."""

MAX_UNCOMPRESSED_BYTES = 8_000_000
"""So many bytes of lines may wait to be compressed, should that take longer than reading them."""

StoredFiles = Sequence[tuple[Header, FileEntry]]
OnStored = Callable[[StoredFiles], Awaitable[None]]


@dataclass(slots=True)
class _OpenRange:
    """Rows of the range in hand. One that has a `digest` takes no more."""

    keys: list[Key] = field(default_factory=list)
    hashes: bytearray = field(default_factory=bytearray)
    digest: bytes | None = None


class ChunkWriter:
    """Writes the Event Files of one stream in one Movement.

    `numbers` holds the next chunk number of each phase; `binaries` are flushed before a chunk is stored; `on_stored` is called
    with all that is stored after each chunk, and `on_large` as soon as there is enough for a good part of one. What is added
    covers the keys in order, without a gap: rows that changed and rows that did not both have to be remembered, because
    a chunk replaces the state of its range.
    """

    def __init__(
        self,
        context: EngineContext,
        movement: Movement,
        schema: StreamSchema,
        numbers: dict[Phase, int],
        binaries: BinaryFiles,
        on_stored: OnStored,
        on_large: Callable[[], object],
    ) -> None:
        self._context, self._movement, self._schema, self._numbers = context, movement, schema, numbers
        self._binaries = binaries
        self._on_stored, self._on_large = on_stored, on_large
        self._phase = Phase.INCREMENTAL
        self._after: Key | None = None
        self._writer = EventFileWriter(level=context.limits.zstd_level)
        self._compressing = anyio.Lock()
        self._reset()
        self.stored: list[tuple[Header, FileEntry]] = []

    def _reset(self) -> None:
        if self._writer.records:  # to make one takes as long as to compare some hundred rows
            self._writer = EventFileWriter(level=self._context.limits.zstd_level)
        self._uncompressed: list[bytes] = []
        self._frames: list[bytes] = []
        self._frame_bytes = 0
        self._range = _OpenRange()

    @property
    def max_rows(self) -> int:
        """The most rows that an Event File may hold."""
        return self._context.limits.event_file_rows

    @property
    def range_rows(self) -> int:
        """The rows of a range of state."""
        return self._context.limits.range_rows

    @property
    def full(self) -> bool:
        """Whether the chunk in hand should be stored now."""
        return (
            self._writer.line_bytes >= self._context.limits.event_file_bytes
            or self._writer.records >= self._context.limits.event_file_rows
            or (self._writer.records > 0 and self._frame_bytes >= MAX_PART_BYTES)
        )

    async def begin_phase(self, phase: Phase, at: Key | None) -> None:
        """Begin chunks of `phase`; those of the phase before end at `at`."""
        if phase is not self._phase:
            await self.cut(at)
            self._phase = phase

    def add_upserts(self, lines: bytes, count: int) -> None:
        """Add whole upsert lines."""
        self._add(lines, upserts=count)

    def add_deletes(self, keys: Sequence[Key]) -> None:
        """Add a delete record for each key."""
        if not keys:
            return
        names = self._schema.primary_keys
        records = [{"delete": dict(zip(names, key_to_json(key), strict=True))} for key in keys]
        lines = [orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records]
        self._add(b"".join(lines), deletes=len(keys))

    def _add(self, lines: bytes, *, upserts: int = 0, deletes: int = 0) -> None:
        self._writer.count(lines, upserts=upserts, deletes=deletes)
        self._uncompressed.append(lines)
        limits, writer = self._context.limits, self._writer
        if (
            LARGE_PART * writer.line_bytes >= limits.event_file_bytes
            or LARGE_PART * writer.records >= limits.event_file_rows
        ):
            self._on_large()

    async def compress(self) -> None:
        """Compress what was added and is not yet, in a thread that holds no lock while it computes.

        What is added meanwhile is compressed, too. It may run while more is added, read, and encoded, which all need the
        interpreter's lock (docs/decisions/0004).
        """
        async with self._compressing:
            while self._uncompressed:
                added, self._uncompressed = self._uncompressed, []
                await anyio.to_thread.run_sync(self._writer.compress, added)

    async def compress_beside(self, tasks: TaskGroup) -> None:
        """Have what was added compressed by a task of its own; wait for it where much is left to be done."""
        if sum(map(len, self._uncompressed)) > MAX_UNCOMPRESSED_BYTES:
            await self.compress()
        elif self._uncompressed and not self._compressing.locked():
            tasks.start_soon(self.compress, name="compress")

    def remember(self, keys: Sequence[Key], hashes: bytes, digest: bytes | None = None) -> None:
        """Take present rows into the state, changed or not. With their `digest` they are a range, if of a fair size."""
        if not keys:
            return
        most = self._context.limits.range_rows
        is_range = digest is not None and most // 4 <= len(keys) <= most + most // 2
        if self._range.keys and (is_range or self._range.digest):
            self.close_range(self._range.keys[-1])
        if is_range:
            self._range = _OpenRange(list(keys), bytearray(hashes), digest)
            return
        for start in range(0, len(keys), most):
            chunk = keys[start : start + most]
            self._range.keys.extend(chunk)
            self._range.hashes += hashes[start * HASH_BYTES : (start + len(chunk)) * HASH_BYTES]
            if len(self._range.keys) >= most:
                self.close_range(self._range.keys[-1])

    def remember_unchanged(self, part: StateRange) -> None:
        """Take a whole range as it was. With nothing to store before it, it need not be written again."""
        if self._writer.records == 0:
            self._reset()
            self._after = part.until
            return
        self._add_frame(encode_stored(part))

    def close_range(self, until: Key) -> None:
        """End the range in hand at `until`, which need not be the key of a row."""
        if self._range.keys:
            done = self._range
            self._add_frame(encode_range(until, done.keys, bytes(done.hashes), done.digest))
            self._range = _OpenRange()

    def _add_frame(self, frame: bytes) -> None:
        self._frames.append(frame)
        self._frame_bytes += len(frame)

    async def cut(self, until: Key | None, *, even_if_empty: bool = False) -> None:
        """Store the chunk in hand, which covers the keys up to `until` (None: to the end). Nothing when nothing changed."""
        if self._writer.records == 0 and not even_if_empty:
            self._reset()
            self._after = until
            return
        await self.compress()
        if self._range.keys:
            self.close_range(until if until is not None else self._range.keys[-1])
        part = b"".join(self._frames)
        digest = blake3(part).hexdigest()
        await self._binaries.flush()
        await self._store_part(digest, part)
        await self._store_chunk(KeyRange(self._after, until), digest)
        self._after = until
        self._reset()

    async def mention_schema(self) -> None:
        """Store a chunk without records, to tell of a schema that has changed while no row did. It covers nothing."""
        await self._store_chunk(KeyRange(), None)
        self._reset()

    async def _store_part(self, digest: str, part: bytes) -> None:
        key = object_keys.state_part_key(self._movement.flow, self._schema.stream, digest)
        try:
            await self._context.store.put(key, part, PutCondition.ABSENT)
        except ConflictError:
            return  # named by its content: what is there is the same

    async def _store_chunk(self, covers: KeyRange, state: str | None) -> None:
        number = self._numbers.get(self._phase, 0)
        self._numbers[self._phase] = number + 1
        header = Header(
            flow=self._movement.flow,
            id=EventFileId(self._movement.number, self._schema.stream, self._phase, number),
            schema=self._schema,
            row_count=self._writer.records,
            export_time=self._context.clock.now(),
            covers=covers,
            state=state,
        )
        writer = self._writer
        data = await anyio.to_thread.run_sync(lambda: writer.finish(header))
        entry = await store_event_file(
            self._context.store, header, data, upserts=writer.upserts, deletes=writer.deletes
        )
        self.stored.append((header, entry))
        self._context.reporter.report(EventFileStored(entry.label, entry.id, entry.size, entry.upserts, entry.deletes))
        await self._on_stored(self.stored)
