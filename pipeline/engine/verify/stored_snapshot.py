"""What a Flow has stored, read as if it were a source: keys and hashes, without values."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from blake3 import blake3

from pipeline.domain.comparison.diff import StateRange
from pipeline.domain.errors import DefectError
from pipeline.domain.ids import StreamName
from pipeline.domain.keys import Key
from pipeline.domain.movement import Movement
from pipeline.domain.schema import StreamSchema
from pipeline.engine.storage.snapshot_state import SnapshotState
from pipeline.ports.object_store import ObjectStore
from pipeline.ports.source import DIGEST_BYTES, Known, RowBlock, StoreBinary, nothing_known


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """A range of stored state as a RowBlock that has no values to give."""

    part: StateRange

    def __len__(self) -> int:
        return self.part.rows

    def digest(self) -> bytes:
        """The digest that was stored. Without one it is none that a block has, and hashes decide."""
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

    async def upserts(self, positions: Sequence[int], store_binary: StoreBinary) -> bytes:
        """Stored state has no values: asking for them is a defect."""
        raise DefectError(f"the values of {len(positions)} rows were asked of stored state, which has none")


class StoredSnapshot:
    """The streams that a Flow has stored by the end of `movement`: a Snapshot without values."""

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
    async def open_rows(
        self, schema: StreamSchema, known: Known = nothing_known
    ) -> AsyncIterator[AsyncIterator[RowBlock]]:
        """Open the stored ranges of a stream, which end where they were stored to."""
        async with aclosing(_blocks(self.state(schema.stream))) as blocks:
            yield blocks


async def _blocks(state: SnapshotState) -> AsyncGenerator[RowBlock, None]:
    async with aclosing(state.ranges()) as ranges:
        async for part in ranges:
            if part.rows:
                yield StoredBlock(part)


@asynccontextmanager
async def no_rows(known: Known = nothing_known) -> AsyncIterator[AsyncIterable[RowBlock]]:
    """Open the rows of a stream that is not there."""

    async def nothing() -> AsyncGenerator[RowBlock, None]:
        blocks: tuple[RowBlock, ...] = ()
        for block in blocks:
            yield block

    async with aclosing(nothing()) as opened:
        yield opened
