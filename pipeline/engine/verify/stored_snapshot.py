"""The streams that a Flow has stored, read like a source's: keys and hashes, without values."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from blake3 import blake3

from pipeline.domain.comparison.diff import StateRange
from pipeline.domain.ids import StreamName
from pipeline.domain.keys import Key
from pipeline.domain.movement import Movement
from pipeline.domain.schema import StreamSchema
from pipeline.engine.storage.snapshot_state import SnapshotState
from pipeline.ports.object_store import ObjectStore
from pipeline.ports.source import DIGEST_BYTES, HashedBlock


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A range of stored state as a HashedBlock."""

    part: StateRange

    def __len__(self) -> int:
        return self.part.rows

    def digest(self) -> bytes:
        """The stored digest; where none is stored, one that no source's block has, so that hashes decide."""
        return self.part.digest or blake3(self.part.hashes).digest(length=DIGEST_BYTES)

    def last_key(self) -> Key:
        """The last of the keys."""
        return self.part.load_keys()[-1]

    def keys(self) -> Sequence[Key]:
        """The keys, decoded when asked for."""
        return self.part.load_keys()

    def row_hashes(self) -> bytes:
        """The hashes as they were stored."""
        return self.part.hashes


class StoredSnapshot:
    """The streams that a Flow has stored by the end of `movement`, in blocks without values."""

    def __init__(self, store: ObjectStore, movement: Movement) -> None:
        self._store = store
        self._movement = movement

    def state(self, stream: StreamName) -> SnapshotState:
        """Return the stored state of a stream."""
        return SnapshotState(self._store, self._movement.flow, stream, self._movement.states.get(stream))

    async def streams(self) -> Sequence[StreamSchema]:
        """All streams there are, ordered by name."""
        schemas = [await self.state(stream).schema() for stream in sorted(self._movement.states)]
        return [schema for schema in schemas if schema is not None]

    @asynccontextmanager
    async def open_rows(self, schema: StreamSchema) -> AsyncIterator[AsyncIterator[HashedBlock]]:
        """Open the stored ranges of a stream, which end where they were stored to."""
        async with aclosing(_blocks(self.state(schema.stream))) as blocks:
            yield blocks


async def _blocks(state: SnapshotState) -> AsyncGenerator[HashedBlock, None]:
    async with aclosing(state.ranges()) as ranges:
        async for part in ranges:
            if part.rows:
                yield StoredBlock(part)
