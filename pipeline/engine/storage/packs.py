"""Packs in the store: their indexes, and their contents.

A process reads the indexes of a Flow's packs when it first needs one, and later only those of new packs. An index that
cannot be read raises no error until a content is missing that may lie in its pack.
"""

from __future__ import annotations

import struct
from collections import OrderedDict, defaultdict
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass

import anyio

from pipeline.codec.pack import PackEntry, decode_index, tail_bytes
from pipeline.domain import object_keys
from pipeline.domain.errors import AbsentError, DamagedError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import BinaryId, FlowName, ObjectKey
from pipeline.ports.object_store import ObjectInfo, ObjectStore, list_pages

TAIL_BYTES = 32 * 1024
"""Bytes read from the end of a pack for its index: enough for 800 contents, so one request nearly always does."""
INDEXES_AT_ONCE = 8
WHOLE_BYTES = 16 * 1024 * 1024
"""Larger packs are read by ranges only."""
SMALL_PACK_BYTES = 512 * 1024
"""Packs up to this size are always read as a whole: a range takes as long."""
TOGETHER_BYTES = 8 * 1024 * 1024
"""The most bytes of contents that `read_together` returns."""
WHOLE_PACKS = 4
"""Packs kept in memory: one for each Event File that is imported concurrently."""


async def list_packs(store: ObjectStore, flow: FlowName) -> Sequence[ObjectInfo]:
    """Return the packs of a Flow."""
    found: list[ObjectInfo] = []
    async with aclosing(list_pages(store, object_keys.packs_prefix(flow))) as pages:
        async for page in pages:
            found += [info for info in page if object_keys.is_pack(flow, info.key)]
    return found


async def read_index(store: ObjectStore, info: ObjectInfo) -> Sequence[PackEntry]:
    """Return the index of a pack. DamagedError when it cannot be read, AbsentError when the pack is gone."""
    what = f"The pack {info.key}"
    tail = await _read_tail(store, info, TAIL_BYTES)
    wanted = tail_bytes(tail, info.size, what)
    if wanted > len(tail):
        tail = await _read_tail(store, info, wanted)
    return decode_index(tail, info.size, what)


async def _read_tail(store: ObjectStore, info: ObjectInfo, length: int) -> bytes:
    async with store.open_stream(info.key, start=max(0, info.size - length)) as pieces:
        return b"".join([piece async for piece in pieces])


@dataclass(slots=True)
class _Pack:
    info: ObjectInfo
    opened: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """A content: `length` bytes from `offset` on in the pack with this number."""

    pack: int
    offset: int
    length: int

    def behind(self, start: int) -> Place:
        """Return what of it is behind the first `start` bytes."""
        skipped = min(start, self.length)
        return Place(self.pack, self.offset + skipped, self.length - skipped)


class _Entries:
    """Places by digest, in 44 bytes each: a small table for each first three hexadecimal digits, searched linearly."""

    _NUMBERS = struct.Struct("<III")
    _DIGEST_BYTES = 32
    _BYTES = _DIGEST_BYTES + _NUMBERS.size

    def __init__(self) -> None:
        self._tables: defaultdict[int, bytearray] = defaultdict(bytearray)

    def add(self, pack: int, entry: PackEntry) -> None:
        """Add a place."""
        self._table(entry.digest).extend(entry.digest + self._NUMBERS.pack(pack, entry.offset, entry.length))

    def find(self, digest: bytes) -> Place | None:
        """Return the place of a content, or None."""
        table = self._table(digest)
        at = table.find(digest)
        while at >= 0 and at % self._BYTES:
            at = table.find(digest, at + 1)  # a chance match across two entries
        return None if at < 0 else Place(*self._NUMBERS.unpack_from(table, at + self._DIGEST_BYTES))

    def _table(self, digest: bytes) -> bytearray:
        return self._tables[digest[0] << 4 | digest[1] >> 4]


class Packs:
    """The packs of one Flow, as one process knows them. Takes 44 bytes of memory a content, and `WHOLE_PACKS` packs."""

    def __init__(self, store: ObjectStore, flow: FlowName) -> None:
        self._store = store
        self._flow = flow
        self._packs: list[_Pack] = []
        self._numbers: dict[ObjectKey, int] = {}
        self._entries = _Entries()
        self._damaged: dict[ObjectKey, DamagedError] = {}
        self._refreshing = anyio.Lock()
        self._refreshes = 0
        self._whole: OrderedDict[int, bytes] = OrderedDict()
        self._reading: defaultdict[int, anyio.Lock] = defaultdict(anyio.Lock)

    @property
    def damaged(self) -> Sequence[DamagedError]:
        """One error for each pack whose index could not be read."""
        return list(self._damaged.values())

    def add(self, info: ObjectInfo, entries: Sequence[PackEntry]) -> None:
        """Add a pack and its index."""
        if info.key in self._numbers:
            return
        number = self._numbers[info.key] = len(self._packs)
        self._packs.append(_Pack(info))
        for entry in entries:
            self._entries.add(number, entry)

    async def find(self, binary: BinaryId) -> Place | None:
        """Return the place of a content among the known packs, or None. The first call reads their indexes."""
        if not self._refreshes:
            await self._refresh(seen=0)
        return self._entries.find(bytes.fromhex(binary))

    async def find_new(self, binary: BinaryId) -> Place | None:
        """Return the place of a content, or None, after reading the indexes of new packs."""
        await self._refresh(seen=self._refreshes)
        return await self.find(binary)

    async def _refresh(self, *, seen: int) -> None:
        """Read the indexes of new packs, unless another task has done so since refresh number `seen`."""
        async with self._refreshing:
            if self._refreshes != seen:
                return
            new = iter([info for info in await list_packs(self._store, self._flow) if info.key not in self._numbers])

            async def read() -> None:
                for info in new:
                    await self._read_index(info)

            with unwrap_exception_group():
                async with anyio.create_task_group() as group:
                    for number in range(INDEXES_AT_ONCE):
                        group.start_soon(read, name=f"read the index of packs {number}")
            self._refreshes += 1

    async def _read_index(self, info: ObjectInfo) -> None:
        try:
            self.add(info, await read_index(self._store, info))
            self._damaged.pop(info.key, None)
        except AbsentError:
            return  # pruned since it was listed
        except DamagedError as error:
            self._damaged[info.key] = error

    def key(self, place: Place) -> ObjectKey:
        """Return the key of the pack of this place."""
        return self._packs[place.pack].info.key

    @asynccontextmanager
    async def open(self, place: Place) -> AsyncIterator[AsyncIterable[bytes]]:
        """Open a content. The first one of a large pack is read as a range, the second loads the whole pack.

        AbsentError when the pack is gone. The content is not verified.
        """
        pack = self._packs[place.pack]
        pack.opened += 1
        small = pack.info.size <= SMALL_PACK_BYTES
        if place.pack not in self._whole and not small and (pack.opened == 1 or pack.info.size > WHOLE_BYTES):
            async with (
                self._store.open_stream(pack.info.key, start=place.offset) as pieces,
                aclosing(_first(pieces, place.length)) as content,
            ):
                yield content
            return
        data = await self._read_whole(place.pack)
        async with aclosing(_once(data[place.offset : place.offset + place.length])) as content:
            yield content

    async def read_together(self, binaries: Sequence[BinaryId]) -> Mapping[BinaryId, bytes]:
        """Return those contents of which several are in one pack that may be held in memory. They are not verified."""
        packs: defaultdict[int, dict[BinaryId, Place]] = defaultdict(dict)
        for binary in binaries:
            if (place := await self.find(binary)) is not None:
                packs[place.pack][binary] = place
        contents: dict[BinaryId, bytes] = {}
        room = TOGETHER_BYTES
        for number, places in packs.items():
            if room <= 0:
                break
            if len(places) == 1 or self._packs[number].info.size > WHOLE_BYTES:
                continue
            with suppress(AbsentError):  # opening one of its contents names the pack that is gone
                data = await self._read_whole(number)
                for binary, place in places.items():
                    room -= place.length
                    if room >= 0:
                        contents[binary] = data[place.offset : place.offset + place.length]
        return contents

    async def _read_whole(self, number: int) -> bytes:
        async with self._reading[number]:
            if number not in self._whole:
                data = (await self._store.get(self._packs[number].info.key, max_bytes=WHOLE_BYTES)).data
                while len(self._whole) >= WHOLE_PACKS:
                    self._whole.popitem(last=False)
                self._whole[number] = data
            self._whole.move_to_end(number)
            return self._whole[number]


async def _first(pieces: AsyncIterable[bytes], length: int) -> AsyncGenerator[bytes, None]:
    """Yield the first `length` bytes."""
    async for piece in pieces:
        if length:
            yield piece[:length]
        length -= min(length, len(piece))
        if not length:
            return


async def _once(piece: bytes) -> AsyncGenerator[bytes, None]:
    yield piece
