"""Faults planted in exporters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

from pipeline.codec.documents.message import GroupCompleted, encode_message
from pipeline.domain import object_keys
from pipeline.domain.event_file import FileEntry, Header, KeyRange
from pipeline.domain.ids import ObjectKey
from pipeline.domain.movement import Movement
from pipeline.engine.export import attempt, chunk_writer
from pipeline.engine.export.attempt import ExportAttempt
from pipeline.engine.export.chunk_writer import ChunkWriter
from pipeline.engine.export.group_listing import GroupListing
from pipeline.engine.storage import event_files
from pipeline.engine.storage.binaries import BinaryFiles
from pipeline.engine.storage.snapshot_state import SnapshotState
from pipeline.ports.object_store import OpenBody
from tests.simulation.mutations import Patch, found_within
from tests.simulation.store import Bucket


@found_within(50)
def announces_before_the_file_list_is_stored(patch: Patch) -> None:
    complete = GroupListing.complete

    async def announce_and_complete(self: GroupListing) -> tuple[ObjectKey | None, int]:
        movement = self._movement
        key = object_keys.file_list_key(movement.flow, movement.number, self._label, movement.attempts)
        message = GroupCompleted(movement.flow, movement.number, self._label, key)
        await self._attempt.context.queue.send([encode_message(message)])
        return await complete(self)

    patch.setattr(GroupListing, "complete", announce_and_complete)


@found_within(50)
def stores_the_file_list_before_the_event_files(patch: Patch) -> None:
    waiting: list[Callable[[], Awaitable[FileEntry]]] = []
    put, store_event_file = GroupListing._put, event_files.store_event_file

    async def store_later(store: Any, header: Header, data: bytes, *, upserts: int, deletes: int) -> FileEntry:
        bucket = Bucket()
        waiting.append(partial(store_event_file, store, header, data, upserts=upserts, deletes=deletes))
        return await store_event_file(bucket, header, data, upserts=upserts, deletes=deletes)

    async def list_and_store(self: GroupListing, key: ObjectKey, entries: list[FileEntry]) -> None:
        await put(self, key, entries)
        while waiting:
            await waiting.pop()()

    patch.setattr(chunk_writer, "store_event_file", store_later)
    patch.setattr(GroupListing, "_put", list_and_store)


@found_within(50)
def stores_the_state_after_the_event_file(patch: Patch) -> None:
    store_part, store_chunk = ChunkWriter._store_part, ChunkWriter._store_chunk
    waiting: list[tuple[str, bytes]] = []

    async def later(self: ChunkWriter, digest: str, part: bytes) -> None:
        waiting.append((digest, part))

    async def chunk_first(self: ChunkWriter, covers: KeyRange, state: str | None) -> None:
        await store_chunk(self, covers, state)
        while waiting:
            await store_part(self, *waiting.pop())

    patch.setattr(ChunkWriter, "_store_part", later)
    patch.setattr(ChunkWriter, "_store_chunk", chunk_first)


@found_within(50)
def stores_binaries_after_the_event_file(patch: Patch) -> None:
    store, store_chunk = BinaryFiles.store, ChunkWriter._store_chunk
    waiting: list[Callable[[], Awaitable[object]]] = []

    async def later(self: BinaryFiles, open_body: OpenBody) -> Any:
        waiting.append(partial(store, self, open_body))
        return await store(BinaryFiles(Bucket(), self._flow, self._reporter), open_body)

    async def chunk_first(self: ChunkWriter, covers: KeyRange, state: str | None) -> None:
        await store_chunk(self, covers, state)
        while waiting:
            await waiting.pop()()

    patch.setattr(BinaryFiles, "store", later)
    patch.setattr(ChunkWriter, "_store_chunk", chunk_first)


@found_within(500)
def adopts_nothing_of_an_earlier_attempt(patch: Patch) -> None:
    async def nothing(*_: object) -> list[tuple[Header, FileEntry]]:
        return []

    patch.setattr(attempt, "read_all_stored", nothing)


@found_within(50)
def forgets_deletes(patch: Patch) -> None:
    patch.setattr(ChunkWriter, "add_deletes", lambda self, keys: None)


@found_within(50)
def remembers_the_state_before_the_changes(patch: Patch) -> None:
    store_as = SnapshotState.store_as

    async def store_the_base(self: SnapshotState, *arguments: Any) -> ObjectKey:
        return await store_as(self if self.base is None else replace(self, chunks=()), *arguments)

    patch.setattr(SnapshotState, "store_as", store_the_base)


@found_within(800)
def an_exporter_that_was_replaced_goes_on(patch: Patch) -> None:
    async def unfenced(self: ExportAttempt, change: Callable[[Movement], Movement]) -> None:
        self.movement = await self.context.flows.update(self.movement.flow, self.movement.number, change)

    patch.setattr(ExportAttempt, "update", unfenced)
