"""The stored keys and row hashes of one stream: the state of the last Movement, overlaid by the chunks stored since.

The same ranges serve the diff of a new export, an export that resumes after a crash, and the state that the Movement
stores for the next one.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from pipeline.codec.state import StateReader, encode_state_head, encode_stored
from pipeline.domain import object_keys
from pipeline.domain.comparison.diff import HASH_BYTES, StateRange, count_up_to, restrict
from pipeline.domain.errors import TAKEN_AWAY, AbsentError, ConflictError
from pipeline.domain.event_file import Header, KeyRange
from pipeline.domain.ids import FlowName, ObjectKey, StreamName
from pipeline.domain.keys import Key, order
from pipeline.domain.planning.overlay import segments
from pipeline.domain.schema import StreamSchema
from pipeline.engine.storage.recent_objects import SMALL_BYTES, RecentObjects
from pipeline.ports.object_store import ObjectStore, PutCondition


@dataclass(frozen=True, slots=True)
class SnapshotState:
    """The state of a stream: the `base` of the last Movement that finished it, and the Event Files stored since.

    `recent` has what this process has read or stored of it just now.
    """

    store: ObjectStore
    flow: FlowName
    stream: StreamName
    base: ObjectKey | None
    chunks: tuple[Header, ...] = ()
    recent: RecentObjects = field(default_factory=RecentObjects, compare=False)

    @property
    def complete(self) -> bool:
        """Whether the state covers every key of the stream, so that a key without state is new."""
        return self.base is not None or any(chunk.state and chunk.covers.until is None for chunk in self.chunks)

    async def schema(self) -> StreamSchema | None:
        """Return the schema that was stored last, or None."""
        if self.chunks:
            return max(self.chunks, key=lambda chunk: (chunk.export_time, chunk.id.chunk)).schema
        if self.base is None:
            return None
        reader, size = StateReader(headed=True, what=self.base), 0
        async with self._open(self.base) as pieces, aclosing(pieces):
            async for piece in pieces:
                size += len(piece)
                if reader.schema is None:
                    next(reader.feed(piece), None)
                if reader.schema is not None and size > SMALL_BYTES:
                    break  # the rest of a small one comes at no cost, and its ranges are asked for next
        return reader.schema

    async def ranges(self) -> AsyncGenerator[StateRange, None]:
        """Yield the ranges in key order; each begins where the one before ended.

        While the state is not complete, the last range ends where the chunks end, even if it has no rows: a row that
        comes back there was stored and deleted before, so it is an incremental change, not part of the snapshot.
        """
        last: Key | None = None
        async with aclosing(self._stored_ranges()) as ranges:
            async for part in ranges:
                last = part.until
                yield part
        ends = [chunk.covers.until for chunk in self.chunks if chunk.state and chunk.covers.until is not None]
        frontier = max(ends, key=order, default=None)
        if not self.complete and frontier is not None and (last is None or order(last) < order(frontier)):
            yield StateRange(frontier, b"", list)

    async def _stored_ranges(self) -> AsyncGenerator[StateRange, None]:
        async with aclosing(_Cutter(self._read(self.base, headed=True))) as base:
            for segment in segments(self.chunks):
                if segment.part is None:
                    async with aclosing(base.within(segment.covers)) as ranges:
                        async for part in ranges:
                            yield part
                    continue
                key = object_keys.state_part_key(self.flow, self.stream, segment.part)
                async with (
                    aclosing(_Cutter(self._read(key, headed=False))) as stored,
                    aclosing(stored.within(segment.covers)) as ranges,
                ):
                    async for part in ranges:
                        yield part

    async def _read(self, key: ObjectKey | None, *, headed: bool) -> AsyncGenerator[StateRange, None]:
        if key is None:
            return
        reader = StateReader(headed=headed, what=key)
        async with self._open(key) as pieces:
            async for piece in pieces:
                for part in reader.feed(piece):
                    yield part
        reader.close()

    @asynccontextmanager
    async def _open(self, key: ObjectKey) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        try:
            async with self.recent.open_stream(self.store, key) as pieces:
                yield pieces
        except AbsentError as error:
            raise AbsentError(f"The snapshot state {key} is missing from the store. {TAKEN_AWAY}") from error

    async def store_as(self, key: ObjectKey, schema: StreamSchema, range_rows: int) -> ObjectKey:
        """Store this state as one object under `key`, in ranges of about `range_rows` rows; return that key."""

        async def pieces() -> AsyncGenerator[bytes, None]:
            yield encode_state_head(schema)
            async with aclosing(_merged(self.ranges(), range_rows)) as ranges:
                async for part in ranges:
                    yield encode_stored(part)

        @asynccontextmanager
        async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
            async with aclosing(pieces()) as body:
                yield body

        try:
            await self.store.put(key, opened, PutCondition.ABSENT)
        except ConflictError:
            return key  # this attempt stored it, and the answer was lost
        return key


async def _merged(ranges: AsyncGenerator[StateRange, None], rows: int) -> AsyncGenerator[StateRange, None]:
    """Join neighbouring small ranges, so that deletes and small chunks do not leave more and more of them.

    A joined range has no digest. A range that has one is joined only when it is half as small.
    """
    small: list[StateRange] = []
    async with aclosing(ranges):
        async for part in ranges:
            is_small = part.rows <= (rows // 2 if part.digest is None else rows // 4)
            if small and not (is_small and part.rows + sum(one.rows for one in small) <= rows):
                yield _joined(small)
                small = []
            if is_small:
                small.append(part)
            else:
                yield part
    if small:
        yield _joined(small)


def _joined(parts: list[StateRange]) -> StateRange:
    if len(parts) == 1:
        return parts[0]
    keys = [key for part in parts for key in part.load_keys()]
    return StateRange(parts[-1].until, b"".join([part.hashes for part in parts]), lambda: keys)


class _Cutter:
    """Stored ranges in key order, cut to key ranges that are asked for in order. Nothing is read twice."""

    def __init__(self, stored: AsyncGenerator[StateRange, None]) -> None:
        self._stored = stored
        self._next: StateRange | None = None
        self._until: Key | None = None
        """The end of the last range that was yielded or skipped as a whole."""

    async def within(self, covers: KeyRange) -> AsyncGenerator[StateRange, None]:
        """Yield the stored part of the keys `covers`, which must come after those of the call before."""
        while (old := await self._peek()) is not None:
            if covers.after is not None and not self._is_past(covers.after):
                rest = restrict(old, covers.after) if order(old.until) > order(covers.after) else None
                if rest is None:
                    self._take()
                    continue
                old = rest if rest.rows < old.rows else old
            if covers.until is None or order(old.until) <= order(covers.until):
                self._take()
                yield old
                continue
            if head := _head(old, covers.until):
                yield head
            return

    def _is_past(self, key: Key) -> bool:
        """Whether all further rows come after a key. Avoids decoding the keys of a range."""
        return self._until is not None and order(self._until) >= order(key)

    def _take(self) -> None:
        if self._next is not None:
            self._until = self._next.until
        self._next = None

    async def _peek(self) -> StateRange | None:
        if self._next is None:
            self._next = await anext(self._stored, None)
        return self._next

    async def aclose(self) -> None:
        """Close the generator of the stored ranges."""
        await self._stored.aclose()


def _head(old: StateRange, until: Key) -> StateRange | None:
    """Return the rows of a range up to `until`; None when there are none."""
    keys = old.load_keys()
    count = count_up_to(keys, until)
    return StateRange(until, old.hashes[: count * HASH_BYTES], lambda: keys[:count]) if count else None
