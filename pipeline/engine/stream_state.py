"""What a Flow has stored of one stream: the state the last Movement left, overlaid by the chunks stored since.

The same reading serves three: the diff of a new export, an export that carries on after a crash, and the folding of
both into the state of the next Movement.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from pipeline.codec.state import StateReader, encode_state_head, encode_stored
from pipeline.domain import layout
from pipeline.domain.diff import HASH_BYTES, StateRange, count_up_to, restrict
from pipeline.domain.errors import ConflictError
from pipeline.domain.event_file import Header
from pipeline.domain.ids import FlowName, ObjectKey, Phase, StreamName
from pipeline.domain.keys import Key, order
from pipeline.domain.schema import StreamSchema
from pipeline.ports.object_store import ObjectStore, PutCondition


@dataclass(frozen=True, slots=True)
class StreamState:
    """Where the state of a stream lies: `base` is of the last Movement that finished it, `chunks` what came since."""

    store: ObjectStore
    flow: FlowName
    stream: StreamName
    base: ObjectKey | None
    chunks: tuple[Header, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every key of the stream is accounted for, so that a key without state is known to be new."""
        return self.base is not None or any(chunk.state and chunk.covers.until is None for chunk in self.chunks)

    async def schema(self) -> StreamSchema | None:
        """Return the schema that was stored last; None when nothing was."""
        if self.chunks:
            return self.chunks[-1].schema
        if self.base is None:
            return None
        reader = StateReader(headed=True, what=self.base)
        async with self.store.open_stream(self.base) as pieces:
            async for piece in pieces:
                for _ in reader.feed(piece):
                    break
                if reader.schema is not None:
                    break
        return reader.schema

    def ranges(self) -> AsyncGenerator[StateRange, None]:
        """Give the ranges in key order; each begins where the one before ended."""
        layers = _nothing() if self.base is None else self._read(self.base, headed=True)
        for chunk in self.chunks:
            if chunk.state is not None:
                layers = _overlay(layers, chunk, self._part_ranges(chunk.state))
        return layers

    def _part_ranges(self, digest: str) -> AsyncGenerator[StateRange, None]:
        return self._read(layout.state_part_key(self.flow, self.stream, digest), headed=False)

    async def _read(self, key: ObjectKey, *, headed: bool) -> AsyncGenerator[StateRange, None]:
        reader = StateReader(headed=headed, what=key)
        async with self.store.open_stream(key) as pieces:
            async for piece in pieces:
                for part in reader.feed(piece):
                    yield part
        reader.close()

    async def fold(self, key: ObjectKey, schema: StreamSchema) -> ObjectKey:
        """Store this state as one object under `key`; return the key that the next Movement is to begin from."""

        async def pieces() -> AsyncGenerator[bytes, None]:
            yield encode_state_head(schema)
            async with aclosing(self.ranges()) as ranges:
                async for part in ranges:
                    yield encode_stored(part)

        @asynccontextmanager
        async def opened() -> AsyncIterator[AsyncIterator[bytes]]:
            async with aclosing(pieces()) as body:
                yield body

        try:
            await self.store.put(key, opened, PutCondition.ABSENT)
        except ConflictError:
            return key  # this very attempt stored it; its answer was lost
        return key


async def _nothing() -> AsyncGenerator[StateRange, None]:
    nothing: tuple[StateRange, ...] = ()
    for part in nothing:
        yield part


async def _overlay(
    below: AsyncGenerator[StateRange, None], chunk: Header, part: AsyncGenerator[StateRange, None]
) -> AsyncGenerator[StateRange, None]:
    """Replace what `below` says of the keys the chunk covers by what its part says."""
    after, until = chunk.covers.after, chunk.covers.until
    async with aclosing(below), aclosing(part):
        placed = False
        async for old in below:
            if after is not None and order(old.until) <= order(after):
                yield old
                continue
            if not placed:
                placed = True
                if head := _head(old, after):
                    yield head
                async for new in part:
                    yield new
            if until is not None and order(old.until) > order(until) and (rest := restrict(old, until)):
                yield rest
        async for new in part:
            yield new


def _head(old: StateRange, after: Key | None) -> StateRange | None:
    """Return the rows of a range that lie before what a chunk covers."""
    if after is None:
        return None
    keys = old.load_keys()
    count = count_up_to(keys, after)
    return StateRange(after, old.hashes[: count * HASH_BYTES], lambda: keys[:count]) if count else None


def stored_chunks(headers: Sequence[Header]) -> tuple[Header, ...]:
    """Return the chunks of one Movement in the order their states overlay: `full` ones first, then by number."""
    return tuple(sorted(headers, key=lambda header: (header.id.phase is not Phase.FULL, header.id.chunk)))
