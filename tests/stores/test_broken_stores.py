"""Stores that each break one rule of the contract, and the clause that must fail."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest

from pipeline.domain.errors import ConflictError
from pipeline.domain.ids import ObjectKey
from pipeline.ports.object_store import ObjectInfo, ObjectStore, OpenBody, PutCondition, StoredObject, Version
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.contracts.object_store import Clause, check, reading, writing
from tests.stores.test_contract import opener


class Overwriting(MemoryObjectStore):
    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        return await super().put(key, body, PutCondition.NONE if condition is PutCondition.ABSENT else condition)


class IgnoringVersions(MemoryObjectStore):
    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        return await super().put(key, body, condition if condition is PutCondition.ABSENT else PutCondition.NONE)


class LookingBeforeItWrites(MemoryObjectStore):
    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        if condition is PutCondition.ABSENT and await self.stat(key) is not None:
            raise ConflictError(key)
        return await super().put(key, body, PutCondition.NONE if condition is PutCondition.ABSENT else condition)


class CreatingOnChange(MemoryObjectStore):
    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        absent = await self.stat(key) is None
        return await super().put(key, body, PutCondition.NONE if absent else condition)


class ShowingPiecesEarly(MemoryObjectStore):
    """Appends each piece to the object at once."""

    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        if isinstance(body, bytes):
            return await super().put(key, body, condition)
        data = b""
        version = await super().put(key, data, condition)
        async with body() as pieces:
            async for piece in pieces:
                data += piece
                version = await super().put(key, data, PutCondition.NONE)
        return version


class HidingBodyErrors(MemoryObjectStore):
    async def put(self, key: ObjectKey, body: bytes | OpenBody, condition: PutCondition | Version) -> Version:
        try:
            return await super().put(key, body, condition)
        except OSError as error:
            raise ConflictError("a body broke") from error


class Unordered(MemoryObjectStore):
    async def list_page(
        self, prefix: str, *, after: ObjectKey | None = None, limit: int = 1000
    ) -> Sequence[ObjectInfo]:
        page = await super().list_page(prefix, after=after, limit=limit)
        return sorted(page, key=lambda info: str(info.key).split("/"))


class RepeatingAfter(MemoryObjectStore):
    async def list_page(
        self, prefix: str, *, after: ObjectKey | None = None, limit: int = 1000
    ) -> Sequence[ObjectInfo]:
        page = list(await super().list_page(prefix, after=after, limit=limit))
        known = None if after is None else await self.stat(after)
        return page if known is None else [known, *page][:limit]


class ListingByDirectory(MemoryObjectStore):
    """Treats a prefix as the name of a directory."""

    async def list_page(
        self, prefix: str, *, after: ObjectKey | None = None, limit: int = 1000
    ) -> Sequence[ObjectInfo]:
        return await super().list_page(prefix.rstrip("/") + "/", after=after, limit=limit)


class RepeatingFolders(MemoryObjectStore):
    async def list_folders(self, prefix: str) -> Sequence[str]:
        below = [info.key.removeprefix(prefix) for info in await self.list_page(prefix)]
        return [rest.split("/")[0] for rest in below if "/" in rest]


class RememberingFolders(MemoryObjectStore):
    """Lists folders whose objects are deleted, as a file system does that leaves empty directories."""

    async def delete(self, key: ObjectKey) -> None:
        self.left = set(await self.list_folders(key.split("/")[0] + "/"))
        await super().delete(key)

    async def list_folders(self, prefix: str) -> Sequence[str]:
        return sorted({*await super().list_folders(prefix), *getattr(self, "left", set())})


class ListingOnePageOfFolders(MemoryObjectStore):
    async def list_folders(self, prefix: str) -> Sequence[str]:
        return (await super().list_folders(prefix))[:1000]


class StreamingFromTheStart(MemoryObjectStore):
    @asynccontextmanager
    async def open_stream(self, key: ObjectKey, *, start: int = 0) -> AsyncIterator[AsyncIterable[bytes]]:
        async with super().open_stream(key) as pieces:
            yield pieces


class MixingVersions(MemoryObjectStore):
    @asynccontextmanager
    async def open_stream(self, key: ObjectKey, *, start: int = 0) -> AsyncIterator[AsyncIterable[bytes]]:
        await self.get(key)
        yield self._pieces(key, start)

    async def _pieces(self, key: ObjectKey, start: int) -> AsyncIterator[bytes]:
        while piece := (await self.get(key)).data[start : start + 1_000_000]:
            yield piece
            start += len(piece)


class StreamingInOnePiece(MemoryObjectStore):
    @asynccontextmanager
    async def open_stream(self, key: ObjectKey, *, start: int = 0) -> AsyncIterator[AsyncIterable[bytes]]:
        data = (await self.get(key)).data[start:]
        yield _one_piece(data)


async def _one_piece(data: bytes) -> AsyncIterator[bytes]:
    if data:
        yield data


class ReturningAnything(MemoryObjectStore):
    async def get(self, key: ObjectKey, *, max_bytes: int = 0) -> StoredObject:
        return await super().get(key)


class KeepingDeleted(MemoryObjectStore):
    async def delete(self, key: ObjectKey) -> None:
        await self.put(key, b"", PutCondition.NONE)


BROKEN: list[tuple[type[MemoryObjectStore], Clause]] = [
    (Overwriting, writing.create_only_never_overwrites),
    (LookingBeforeItWrites, writing.of_concurrent_creators_one_wins),
    (IgnoringVersions, writing.a_change_needs_the_present_version),
    (IgnoringVersions, writing.of_concurrent_changes_of_one_version_one_wins),
    (CreatingOnChange, writing.a_change_of_an_absent_object_is_a_conflict),
    (ShowingPiecesEarly, writing.a_put_in_progress_shows_nothing),
    (ShowingPiecesEarly, writing.a_cancelled_put_stores_nothing),
    (ShowingPiecesEarly, writing.an_error_of_the_body_passes_through_and_stores_nothing),
    (HidingBodyErrors, writing.an_error_of_the_body_passes_through_and_stores_nothing),
    (Unordered, reading.a_listing_is_in_the_order_of_utf8_bytes),
    (RepeatingAfter, reading.a_page_follows_its_predecessor),
    (ListingByDirectory, reading.a_listing_holds_what_starts_with_its_prefix),
    (RepeatingFolders, reading.folders_are_listed_by_what_lies_below_them),
    (RememberingFolders, reading.a_folder_without_objects_is_not_listed),
    (ListingOnePageOfFolders, reading.more_folders_than_a_page_has_are_listed),
    (StreamingFromTheStart, reading.a_stream_begins_at_its_start),
    (MixingVersions, reading.a_stream_reads_one_version),
    (StreamingInOnePiece, reading.a_stream_comes_in_bounded_pieces),
    (ReturningAnything, reading.get_refuses_more_than_was_expected),
    (KeepingDeleted, writing.delete_is_idempotent),
]


@pytest.mark.parametrize(("broken", "clause"), BROKEN)
def test_a_broken_store_fails_its_clause(broken: type[MemoryObjectStore], clause: Clause) -> None:
    store: ObjectStore = broken()
    with pytest.raises((AssertionError, ConflictError, pytest.fail.Exception)):
        anyio.run(check, clause, opener(store))
