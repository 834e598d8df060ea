"""An export of the public platform as a source: a stream for each table, with the rows that its files amount to."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, closing

import anyio
from anyio import to_thread

from pipeline.connectors.sam.options import SamPlace
from pipeline.connectors.sam.reading.blocks import SamBlock, read_rows
from pipeline.connectors.sam.reading.contents import Contents, ListedFiles, OwnFiles
from pipeline.connectors.sam.reading.export_files import ExportFiles, find_files
from pipeline.connectors.sam.reading.staged_stream import StagedStream
from pipeline.connectors.sam.reading.staging import Staging
from pipeline.connectors.sam.storage.port import ExportStorage, OpenStorage
from pipeline.domain.errors import UnreadableError
from pipeline.domain.ids import StreamName
from pipeline.domain.inventory import Fate, InventoryItem
from pipeline.domain.schema import StreamSchema


class SamSource:
    """The export at `place`. All its files are read when a snapshot is opened, and staged on disk until it is closed."""

    def __init__(self, place: SamPlace, open_storage: OpenStorage) -> None:
        self._place, self._open_storage = place, open_storage

    @property
    def location(self) -> str:
        return self._place.location

    @asynccontextmanager
    async def open_snapshot(self) -> AsyncIterator[SamSnapshot]:
        place = self._place
        async with self._open_storage(place) as storage:
            found = await find_files(storage, place.options, place.location)
            with closing(Staging(storage, place.options, place.location)) as staging:
                await staging.read(found)
                yield SamSnapshot(staging, found, storage, place.options["binary"])


class SamSnapshot:
    """What was read of an export."""

    def __init__(self, staging: Staging, found: ExportFiles, storage: ExportStorage, binary: str) -> None:
        self._staging, self._found, self._storage, self._binary = staging, found, storage, binary
        self._lock = anyio.Lock()

    async def streams(self) -> Sequence[StreamSchema]:
        return sorted((stream.schema() for stream in self._staging.streams.values()), key=lambda schema: schema.stream)

    @asynccontextmanager
    async def open_rows(self, schema: StreamSchema) -> AsyncIterator[AsyncIterator[SamBlock]]:
        stream = self._staging.streams[schema.stream]
        if stream.error:
            raise UnreadableError(stream.error, "table")
        contents = self._contents(stream)

        async def blocks() -> AsyncGenerator[SamBlock, None]:
            with closing(read_rows(stream, stream.schema())) as batches:
                while True:
                    async with self._lock:
                        batch = await to_thread.run_sync(next, batches, None)
                    if batch is None:
                        return
                    yield SamBlock(batch, contents)

        async with aclosing(blocks()) as opened:
            yield opened

    def _contents(self, stream: StagedStream) -> Contents | None:
        if stream.has_content:
            return ListedFiles(self._storage, self._found.objects, self._binary)
        return OwnFiles(self._storage, stream.binary_columns) if stream.binary_columns else None

    async def row_estimates(self, streams: Sequence[StreamName]) -> Mapping[StreamName, int]:
        async with self._lock:
            rows = await to_thread.run_sync(self._staging.row_counts)
        return {name: rows[name] for name in streams if name in rows}

    async def omissions(self) -> Sequence[InventoryItem]:
        """Name the files that no listing names."""
        reason = "no listing names it; read the export when it is complete, or give the option unlisted=read"
        return [InventoryItem("file", name, Fate.NOT_MOVED, reason) for name in self._found.unlisted]
