"""Which digest each version of a content had when it was read, so that it need not be read again.

The entries of a stream are in objects of the store, each of which is created once. Those that no row needs any more are
dropped when a Movement has read the whole stream. While a Movement is exported, all are in a temporary file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from anyio import to_thread

from pipeline.codec.event_files.compression import Decoder, compress_frame
from pipeline.codec.values import JsonValue, key_to_json
from pipeline.domain.errors import ConflictError, DamagedError
from pipeline.domain.event_file import Encoding
from pipeline.domain.ids import BinaryId, FlowName, ObjectKey, StreamName, encode_name
from pipeline.domain.keys import Key
from pipeline.domain.object_keys import flow_prefix
from pipeline.ports.object_store import ObjectStore, PutCondition, list_pages
from pipeline.temporary_database import TemporaryDatabase

_LEVEL = 1
_CACHE_KIBIBYTES = 2000
OBJECT_ENTRIES = 5_000
"""Entries of an object at most. One that has an entry too many is written again."""
SMALL_OBJECTS = 8
"""Objects that are less than half full, beyond which they are made into few."""
_CREATE = """
CREATE TABLE versions (name BLOB PRIMARY KEY, version TEXT, digest TEXT, object INTEGER, needed INTEGER) WITHOUT ROWID
"""


class _Entry(msgspec.Struct):
    key: list[JsonValue]
    column: str
    version: str
    digest: str


class ContentVersions:
    """The versions of the contents of one stream, by the key of the row and the column."""

    def __init__(self, store: ObjectStore, flow: FlowName, stream: StreamName, movement: int) -> None:
        self._store = store
        self._prefix = f"{flow_prefix(flow)}contents/{encode_name(stream)}/"
        self._movement = movement
        self._objects: dict[int, tuple[ObjectKey, int]] = {}
        self._next_object = self._next_number = 0
        self._new: list[_Entry] = []
        self._db = TemporaryDatabase(_CREATE, _CACHE_KIBIBYTES)

    def close(self) -> None:
        """Remove the temporary file."""
        self._db.close()

    async def load(self) -> None:
        """Read what is stored. DamagedError names the object that cannot be read."""
        async for page in list_pages(self._store, self._prefix):
            for info in page:
                await self._add(info.key, await self._read(info.key), needed=False)

    async def find(self, wanted: Sequence[tuple[Key, str, str]]) -> list[BinaryId | None]:
        """Return the digest of each content, given by key, column and version; None for one that is not known."""
        return await to_thread.run_sync(self._find, wanted)

    def note(self, key: Key, column: str, version: str, digest: BinaryId) -> None:
        """Note that a content has this digest. It is remembered once `commit` has returned."""
        self._new.append(_Entry(key_to_json(key), column, version, digest))

    @property
    def full(self) -> bool:
        """Whether what is new makes a whole object."""
        return len(self._new) >= OBJECT_ENTRIES

    async def commit(self) -> None:
        """Store what is new. The contents MUST be durable."""
        entries, self._new = self._new, []
        if not entries:
            return
        data = compress_frame(msgspec.json.Encoder().encode_lines(entries), _LEVEL)
        while True:
            key = ObjectKey(f"{self._prefix}{self._movement:010d}/{self._next_number:010d}")
            self._next_number += 1
            try:
                await self._store.put(key, data, PutCondition.ABSENT)
                break
            except ConflictError:
                continue  # another attempt has stored what it has read
        await self._add(key, entries, needed=True)

    async def drop(self, *, unneeded: bool) -> None:
        """Drop entries that later ones have replaced, and with `unneeded` those that were not asked for since `load`."""
        if unneeded:
            await to_thread.run_sync(self._db.run, "DELETE FROM versions WHERE NOT needed")
        current: Mapping[int, int] = dict(self._db.rows("SELECT object, count(*) FROM versions GROUP BY object"))
        small = [number for number in self._objects if current.get(number, 0) < OBJECT_ENTRIES // 2]
        going = {number for number, (_, stored) in self._objects.items() if current.get(number, 0) < stored}
        if len(small) > SMALL_OBJECTS:
            going.update(small)
        old = [self._objects.pop(number)[0] for number in sorted(going)]
        for number in sorted(going):
            query = "SELECT name, version, digest FROM versions WHERE object = ?"
            self._new += [_entry(*row) for row in self._db.rows(query, (number,))]
            if self.full:
                await self.commit()
        await self.commit()
        for key in old:
            await self._store.delete(key)

    async def _read(self, key: ObjectKey) -> list[_Entry]:
        stored = await self._store.get(key)
        try:
            decoder = Decoder(Encoding.ZSTD)
            lines = b"".join(decoder.feed(stored.data))
            decoder.close()
            return msgspec.json.Decoder(_Entry).decode_lines(lines)
        except (DamagedError, msgspec.MsgspecError) as error:
            raise DamagedError(
                f"The object {key} is damaged: {error}. Delete it, and run the command again."
            ) from error

    async def _add(self, key: ObjectKey, entries: Sequence[_Entry], *, needed: bool) -> None:
        number, self._next_object = self._next_object, self._next_object + 1
        self._objects[number] = key, len(entries)
        rows = [(_name(entry.key, entry.column), entry.version, entry.digest, number, needed) for entry in entries]
        await to_thread.run_sync(self._insert, rows)

    def _insert(self, rows: Sequence[tuple[object, ...]]) -> None:
        self._db.run_all("INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?, ?)", rows)

    def _find(self, wanted: Sequence[tuple[Key, str, str]]) -> list[BinaryId | None]:
        query = "UPDATE versions SET needed = 1 WHERE name = ? AND version = ? RETURNING digest"
        names = [(_name(key_to_json(key), column), version) for key, column, version in wanted]
        found = self._db.in_transaction(lambda connection: [connection.execute(query, one).fetchall() for one in names])
        return [BinaryId(rows[0][0]) if rows else None for rows in found]


def _name(key: Sequence[JsonValue], column: str) -> bytes:
    return msgspec.json.encode([column, *key])


def _entry(name: bytes, version: str, digest: str) -> _Entry:
    column, *key = msgspec.json.decode(name)
    return _Entry(key, column, version, digest)
