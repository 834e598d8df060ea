"""A world whose texts are Binary Files."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace

import orjson
from anyio.lowlevel import checkpoint

from pipeline.domain.ids import FlowName, parse_binary_id
from pipeline.domain.movement import Movement
from pipeline.domain.schema import Column, StreamSchema
from pipeline.engine.movers.mover import Mover
from pipeline.ports.destination import DestinationSession, FileToLoad, LoadOutcome
from pipeline.ports.object_store import OpenBody
from pipeline.ports.ranged_source import Known
from pipeline.ports.source import RowBlock, Snapshot, StoreBinary
from tests.engine.mover_world import FLOW
from tests.engine.wider_world import WiderWorld
from tests.engine.world import Faults, MemoryDestination, MemorySession, MemorySource, _MemorySnapshot
from tests.fakes.rows import MemoryBlock


def body_of(content: bytes) -> OpenBody:
    """Return what opens a content, as a source gives it."""

    async def pieces() -> AsyncGenerator[bytes, None]:
        await checkpoint()
        yield content

    @asynccontextmanager
    async def open_body() -> AsyncIterator[AsyncIterable[bytes]]:
        async with aclosing(pieces()) as opened:
            yield opened

    return open_body


@dataclass
class _Block(MemoryBlock):
    async def upserts(self, positions: Sequence[int], store_binary: StoreBinary) -> bytes:
        lines = []
        for number, text in (self.rows[at] for at in positions):
            row = {"number": number, "text": await store_binary(body_of(text.encode()))}
            lines.append(orjson.dumps({"upsert": row}) + b"\n")
        return b"".join(lines)


@dataclass
class _Snapshot(_MemorySnapshot):
    async def streams(self) -> Sequence[StreamSchema]:
        columns = (Column("number", "integer", nullable=False), Column("text", "binary"))
        return [replace(schema, columns=columns) for schema in await super().streams()]

    @asynccontextmanager
    async def open_rows_along(self, schema: StreamSchema, known: Known) -> AsyncIterator[AsyncIterable[RowBlock]]:
        async with super().open_rows_along(schema, known) as blocks, aclosing(_with_attachments(blocks)) as opened:
            yield opened


async def _with_attachments(blocks: AsyncIterable[RowBlock]) -> AsyncGenerator[RowBlock, None]:
    async for block in blocks:
        assert isinstance(block, MemoryBlock)
        yield _Block(block.rows)


@dataclass
class AttachmentSource(MemorySource):
    """Tables of numbers; the text of each is the content of a Binary File."""

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[Snapshot]:
        async with super().open_snapshot():
            yield _Snapshot({name: dict(table) for name, table in self.tables.items()}, self)


@dataclass
class _Session(MemorySession):
    async def load(self, file: FileToLoad, *, after: Sequence[object]) -> LoadOutcome:
        return await super().load(replace(file, blocks=_with_texts(file)), after=after)  # type: ignore[arg-type]


async def _with_texts(file: FileToLoad) -> AsyncGenerator[bytes, None]:
    async for block in file.blocks:
        for line in block.splitlines():
            record = orjson.loads(line)
            if "upsert" in record:
                async with file.open_binary(parse_binary_id(record["upsert"]["text"])) as content:
                    record["upsert"]["text"] = b"".join([piece async for piece in content]).decode()
            yield orjson.dumps(record) + b"\n"


@dataclass
class AttachmentDestination(MemoryDestination):
    """Tables of texts that are imported from Binary Files."""

    @asynccontextmanager
    async def open(self, flow: FlowName) -> AsyncIterator[DestinationSession]:
        yield _Session(self, flow)


@dataclass
class AttachmentWorld(WiderWorld):
    """A world of rows with Binary Files."""

    destination: MemoryDestination = field(default_factory=AttachmentDestination)

    async def move(self, faults: Faults | None = None) -> Movement:
        """Move once in a process of its own."""
        faults = faults or Faults()
        source, destination = AttachmentSource(self.tables, faults), replace(self.destination, faults=faults)
        return await Mover(self.context(faults), FLOW, source, destination, "worker").run()

    async def packs(self) -> set[str]:
        """Return the keys of the Flow's packs."""
        return {key for key in await self.keys() if "/binaries/packs/" in key}
