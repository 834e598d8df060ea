"""Event Files in the store: written create-only, and verified when read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from blake3 import blake3

from pipeline.codec.event_files.event_file import EventFileReader
from pipeline.codec.wire import damaged_as
from pipeline.domain import object_keys
from pipeline.domain.errors import TAKEN_AWAY, AbsentError, ConflictError, DamagedError, TransientError
from pipeline.domain.event_file import Encoding, FileEntry, Header
from pipeline.domain.ids import FlowName, ObjectKey, StreamName
from pipeline.ports.object_store import ObjectStore, PutCondition, list_pages


async def store_event_file(store: ObjectStore, header: Header, data: bytes, *, upserts: int, deletes: int) -> FileEntry:
    """Store an Event File and return its entry. TransientError when another exporter has stored this chunk already."""
    entry = FileEntry(
        id=header.id,
        label=header.schema.label,
        key=object_keys.event_file_key(header.flow, header.id),
        encoding=Encoding.ZSTD,
        size=len(data),
        checksum=blake3(data).hexdigest(),
        upserts=upserts,
        deletes=deletes,
    )
    try:
        await store.put(entry.key, data, PutCondition.ABSENT)
    except ConflictError as error:
        if (await store.get(entry.key)).data != data:
            raise TransientError(
                f"Another exporter has stored {entry.key}. Wait for it to end, or run the command again."
            ) from error
    return entry


@dataclass(frozen=True, slots=True)
class OpenedEventFile:
    """A stored Event File: the header, and the record blocks, which are still to be read."""

    header: Header
    blocks: AsyncIterable[bytes]


@asynccontextmanager
async def open_event_file(
    store: ObjectStore, entry: FileEntry, *, arrays: bool = False
) -> AsyncIterator[OpenedEventFile]:
    """Open an Event File that a File List names. Upserts have names, unless `arrays` leaves them as they are stored.

    The blocks raise DamagedError at their end unless size and checksum match the entry, and the row count the header.
    """
    reader = EventFileReader(entry.encoding, what=f"Event File {entry.key}", arrays=arrays)
    try:
        async with store.open_stream(entry.key) as pieces, aclosing(_checked_blocks(pieces, entry, reader)) as blocks:
            first = await anext(blocks, b"")  # the header is known now
            header = reader.header
            if header is None or header.id != entry.id:
                found = "no header" if header is None else str(header.id)[:200]
                raise DamagedError(f"Event File {entry.key} has {found}, but its File List says {entry.id}")
            async with aclosing(_with_first(first, blocks)) as records:
                yield OpenedEventFile(header, records)
    except AbsentError as error:
        raise DamagedError(f"Event File {entry.key} is missing from the store. {TAKEN_AWAY}") from error


async def _with_first(first: bytes, blocks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    if first:
        yield first
    async for block in blocks:
        yield block


async def _checked_blocks(
    pieces: AsyncIterable[bytes], entry: FileEntry, reader: EventFileReader
) -> AsyncGenerator[bytes, None]:
    hasher, size = blake3(), 0
    damage: DamagedError | None = None
    async for piece in pieces:
        hasher.update(piece)
        size += len(piece)
        if damage is not None:
            continue  # the checksum decides whether the file was altered in the store or written wrongly
        try:
            for block in reader.feed(piece):
                yield block
        except DamagedError as error:
            damage = error
    _check_bytes(entry, size, hasher.hexdigest())
    if damage is not None:
        raise damage
    reader.close()


def _check_bytes(entry: FileEntry, size: int, checksum: str) -> None:
    if size != entry.size:
        raise damaged_as(f"Event File {entry.key}", f"has {size:,} bytes, but its File List says {entry.size:,}")
    if checksum != entry.checksum:
        raise damaged_as(f"Event File {entry.key}", "is altered: its checksum is not what its File List says")


async def find_damage(store: ObjectStore, entry: FileEntry) -> DamagedError | None:
    """Return how the stored bytes of an Event File differ from its entry, or None when they match it."""
    hasher, size = blake3(), 0
    try:
        async with store.open_stream(entry.key) as pieces:
            async for piece in pieces:
                hasher.update(piece)
                size += len(piece)
        _check_bytes(entry, size, hasher.hexdigest())
    except AbsentError:
        return DamagedError(f"Event File {entry.key} is missing from the store")
    except DamagedError as error:
        return error
    return None


async def read_all_stored(
    store: ObjectStore, flow: FlowName, movement: int, stream: StreamName, on_read: Callable[[], None]
) -> list[tuple[Header, FileEntry]]:
    """Return the Event Files of a stream that earlier attempts of this Movement stored; call `on_read` after each."""
    found: list[tuple[Header, FileEntry]] = []
    async with aclosing(list_pages(store, object_keys.stream_events_prefix(flow, movement, stream))) as pages:
        async for page in pages:
            for info in page:
                found.append(await read_stored(store, info.key))
                on_read()
    return found


async def read_stored(store: ObjectStore, key: ObjectKey) -> tuple[Header, FileEntry]:
    """Return the header of a stored Event File and its entry, as a File List names it."""
    reader = EventFileReader(Encoding.ZSTD, what=f"Event File {key}", arrays=True)
    hasher, size, deletes = blake3(), 0, 0
    async with store.open_stream(key) as pieces:
        async for piece in pieces:
            hasher.update(piece)
            size += len(piece)
            for block in reader.feed(piece):
                deletes += block.startswith(b'{"delete":') + block.count(b'\n{"delete":')
    reader.close()
    header = reader.header
    if header is None:
        raise DamagedError(f"Event File {key} has no header")
    return header, FileEntry(
        id=header.id,
        label=header.schema.label,
        key=key,
        encoding=Encoding.ZSTD,
        size=size,
        checksum=hasher.hexdigest(),
        upserts=header.row_count - deletes,
        deletes=deletes,
    )
