"""A destination that writes an export in the SAM dialect.

The file of an Event File is stored first, and then the listing that names it, with the mark in the same object. So a
process that is killed leaves at most a file that no listing names.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping, Sequence, Set
from contextlib import asynccontextmanager, closing, suppress
from datetime import UTC
from functools import partial

import anyio

from pipeline.codec.event_files.event_file import MAX_HEADER_BYTES
from pipeline.connectors.sam.header import parse_header
from pipeline.connectors.sam.names import binary_name, is_safe
from pipeline.connectors.sam.options import SamOptions, SamPlace
from pipeline.connectors.sam.storage.port import ExportStorage, OpenStorage
from pipeline.connectors.sam.writing.catalog import Catalog, encode_fence, fence_name, read_catalog
from pipeline.connectors.sam.writing.data_file import DataFile
from pipeline.domain.errors import AbsentError, ConfigurationError, ConflictError, TransientError, UnreadableError
from pipeline.domain.ids import BinaryId, EventFileId, FlowName, StreamName
from pipeline.domain.inventory import Fate, InventoryItem
from pipeline.domain.planning.import_guard import reason_to_give_way
from pipeline.domain.schema import SPECIAL_STREAMS
from pipeline.ports.destination import FileToLoad, GaveWay, Loaded, LoadOutcome, Mark, Rejection, Violation
from pipeline.ports.object_store import PutCondition

_LOADS_AT_ONCE = 1
_COMMIT_TRIES = 20
FENCE_SECONDS = 10.0
"""How long a fence waits for a load in hand."""


class SamDestination:
    """The export at `place`, which is created if it does not exist."""

    def __init__(self, place: SamPlace, open_storage: OpenStorage) -> None:
        self._place, self._open_storage = place, open_storage

    @property
    def location(self) -> str:
        return self._place.location

    async def read_marks(self, flow: FlowName, *, wait_seconds: float) -> Mapping[EventFileId, Mark]:
        """Return the marks in the listing of the Flow."""
        with anyio.move_on_after(wait_seconds):
            async with self._open_storage(self._place) as storage:
                return (await read_catalog(storage, flow)).marks(flow)
        raise TransientError(f"{self.location}: the listings could not be read within {wait_seconds:g} s; try again")

    @asynccontextmanager
    async def open(self, flow: FlowName) -> AsyncIterator[SamSession]:
        """Open the place for one Flow."""
        if not self._place.options["deleted"]:
            raise ConfigurationError(
                f"{self.location}: an export cannot be written without a column for deletes; give the option deleted=NAME"
            )
        async with self._open_storage(self._place, write=True) as storage:
            await storage.create()
            yield SamSession(storage, flow, self._place.options)


class SamSession:
    """The open place: a DestinationSession, a SchemaKeeper and a LoadHistory."""

    def __init__(self, storage: ExportStorage, flow: FlowName, options: SamOptions) -> None:
        self._storage, self._flow, self._options = storage, flow, options
        self._limit = anyio.CapacityLimiter(_LOADS_AT_ONCE)

    async def marks(self) -> Mapping[EventFileId, Mark]:
        return (await read_catalog(self._storage, self._flow)).marks(self._flow)

    async def loaded_streams(self, flow: FlowName) -> Set[StreamName]:
        catalog = await read_catalog(self._storage, self._flow)
        return {one.id.stream for one in catalog.written if one.flow.rpartition(" ")[0] == flow}

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        async with self._limit, self._storage.writing() as is_alone:
            catalog = await read_catalog(self._storage, self._flow)
            if (foreign := await self._foreign_file(catalog)) is not None:
                raise ConfigurationError(
                    f"The place holds {foreign}, and no listing. A listing would hide it: write to an empty place."
                )
            if (reason := self._reason_to_give_way(file, after, catalog)) is not None:
                return GaveWay(reason)
            with closing(DataFile(self._options.marks)) as data:
                await data.write(file, catalog.next_sequence(file.entry.id.stream), partial(self._store_content, file))
                return await self._commit(file, after, catalog, data, is_alone=is_alone)

    async def _store_content(self, file: FileToLoad, binary: BinaryId) -> None:
        """Store a content under its id, once. Its bytes are checked while they are read."""
        with suppress(ConflictError):
            await self._storage.put(binary_name(binary), lambda: file.open_binary(binary), PutCondition.ABSENT)

    def _reason_to_give_way(self, file: FileToLoad, after: Sequence[EventFileId], catalog: Catalog) -> str | None:
        id_, marks = file.entry.id, catalog.marks(self._flow)
        latest = max((mark.movement for it, mark in marks.items() if it.stream == id_.stream), default=0)
        return reason_to_give_way(
            id_, file.movement, after, marked=marks, latest_movement=latest, fenced=catalog.fenced
        )

    async def _commit(
        self, file: FileToLoad, after: Sequence[EventFileId], catalog: Catalog, data: DataFile, *, is_alone: bool
    ) -> LoadOutcome:
        """Store the data, then the listing, which another process may change at the same time: it is then read again.

        Files that are loaded at the same time have different keys, so it does not matter that sequence numbers repeat.
        """
        name, file_id = catalog.name_for(file, self._flow), f"event_file/{uuid.uuid4()}"
        stored = await self._store(data, str(name), file_id, is_alone=is_alone)
        mark = Mark(data.upserts, data.deletes, binaries=data.binaries, movement=file.movement)
        more = {
            "label": self._options["label"],
            "size": data.size,
            "sha256": data.sha256,
            "exportTime": file.header.export_time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        }
        for _ in range(_COMMIT_TRIES):
            listing = catalog.with_file(file, self._flow, name, file_id, mark, more)
            try:
                with file.committing():
                    await self._storage.put(catalog.listing, listing, catalog.version)
            except ConflictError:
                catalog = await read_catalog(self._storage, self._flow)
                if catalog.names(file_id):  # our put succeeded, and another worker has changed the listing since
                    return Loaded(mark)
            else:
                return Loaded(mark)
            if (reason := self._reason_to_give_way(file, after, catalog)) is not None:
                await self._storage.delete(stored)
                return GaveWay(reason)
            if (free := catalog.name_for(file, self._flow)) != name:
                await self._storage.delete(stored)
                name, stored = free, await self._store(data, str(free), file_id, is_alone=is_alone)
        raise TransientError("many workers write to the export at once. Run the command again; it goes on from here.")

    async def _store(self, data: DataFile, name: str, file_id: str, *, is_alone: bool) -> str:
        """Store data under a name; under the id when a file of another program, or of a killed process, has the name."""
        if not is_safe(name):
            await self._storage.put(file_id, data.open, PutCondition.ABSENT)
            return file_id
        condition = PutCondition.NONE if is_alone and await self._is_ours(name) else PutCondition.ABSENT
        try:
            await self._storage.put(name, data.open, condition)
        except ConflictError:
            await self._storage.put(file_id, data.open, PutCondition.ABSENT)
            return file_id
        return name

    async def _is_ours(self, name: str) -> bool:
        """Whether this software wrote a file that no listing names: a process was killed before it listed the file."""
        start = b""
        try:
            async with self._storage.open_stream(name) as pieces:
                async for piece in pieces:
                    start += piece
                    if b"\n" in start or len(start) > MAX_HEADER_BYTES:
                        break
            return parse_header(start.partition(b"\n")[0], name).schema is not None
        except (AbsentError, UnreadableError):
            return False

    async def fence(self, movement: int) -> None:
        """Store the fence, then change the listing by a blank line: a load in hand must read both again to commit."""
        with anyio.move_on_after(FENCE_SECONDS):
            await self._fence(movement)
            return
        raise TransientError(
            "a load in hand keeps the export locked, so it cannot be fenced. Try again when it has ended."
        )

    async def _fence(self, movement: int) -> None:
        async with self._storage.writing():
            for _ in range(_COMMIT_TRIES):
                catalog = await read_catalog(self._storage, self._flow)
                try:
                    if catalog.fenced < movement:
                        await self._storage.put(fence_name(self._flow), encode_fence(movement), catalog.fence_version)
                    if await self._foreign_file(catalog) is None:  # else nothing is ever loaded
                        await self._storage.put(catalog.listing, catalog.data + b"\n", catalog.version)
                except ConflictError:
                    continue
                return
        raise TransientError("many workers write to the export at once, so it cannot be fenced. Try again.")

    async def _foreign_file(self, catalog: Catalog) -> str | None:
        """Return the name of a file of another program in a place without a listing, which a listing would hide."""
        for name in catalog.unlisted:
            if not await self._is_ours(name):
                return name
        return None

    async def retry_rejected(self) -> Sequence[Rejection]:
        return []  # every record has a form in the dialect

    async def finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        return []

    async def ensure_objects(self, *, rows_changed: bool) -> Sequence[InventoryItem]:
        reason = "an export has no place for it; this software alone reads the file of that name"
        streams = {file.stream for file in await self.marks()} & SPECIAL_STREAMS
        return [InventoryItem("schema object", name, Fate.OTHER_FORM, reason) for name in sorted(streams)]
