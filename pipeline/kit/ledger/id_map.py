"""The id map of a Flow as it is stored: which id of the source is which id of the destination, by kind."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import date, time, timedelta
from decimal import Decimal
from uuid import UUID

import anyio
import msgspec
from blake3 import blake3

from pipeline.codec.wire import parsing
from pipeline.domain.errors import AbsentError, ConflictError
from pipeline.domain.ids import ObjectKey
from pipeline.kit.ledger.journal import Change, Journal
from pipeline.kit.ledger.kept import IdEntry, Kept
from pipeline.ports.object_store import PutCondition

Held = dict[tuple[str, str], IdEntry]
"""Entries by kind and id at the source, which are not in the id map yet."""
KEY_PARTS = (int, str, float, bytes, Decimal, UUID, date, time, timedelta, enum.Enum)
"""What the records of an Importer have as keys. A bool is an int, and a datetime is a date."""
REFRESH_SECONDS = 1.0
"""An id that is not known is looked for in the object store this often: another worker may have put it."""


_DECODER = msgspec.json.Decoder(IdEntry)


class _HeldId(msgspec.Struct):
    kind: str
    source: str
    entry: IdEntry


_HELD = msgspec.json.Decoder(list[_HeldId])


class StoredIds:
    """The id map. It is read when it is used first."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._journal = Journal(kept.store, f"{kept.prefix}id-map/")
        self._opening = anyio.Lock()
        self._refreshed = float("-inf")

    def close(self) -> None:
        """Free what it has on disk."""
        self._journal.close()

    async def refresh(self) -> None:
        """Read what other workers have written, and what earlier releases have, and store what could not be stored."""
        async with self._opening:
            is_first = not self._journal.is_open
            await self._journal.refresh()
            if is_first:
                self._journal.add_earlier([_change(*earlier) for earlier in await self._kept.earlier_ids()])
            self._refreshed = anyio.current_time()
        await self._journal.flush()

    def entry(self, kind: str, source: str) -> IdEntry | None:
        """Return the entry of an id, as far as it was read."""
        value = self._journal.get(kind, source)
        return None if value is None else _DECODER.decode(value)

    def page(self, kind: str, *, after: str = "", limit: int = 1000) -> Sequence[tuple[str, IdEntry]]:
        """Return ids of the source with their entries, as far as they were read, in order, behind the id `after`."""
        found = self._journal.page(kind, after, limit)
        return [(entry.key, _DECODER.decode(entry.value)) for entry in found if entry.value is not None]

    async def target(self, kind: str, source: str) -> str | None:
        """Return the id at the destination; None when there is none yet."""
        for _ in range(2):
            if self._journal.is_open and (entry := self.entry(kind, source)) is not None and entry.target is not None:
                return entry.target
            if anyio.current_time() - self._refreshed < REFRESH_SECONDS:
                return None
            await self.refresh()
        return None

    def source(self, kind: str, target: str) -> str | None:
        """Return the id at the source of an object; None when the Flow has not put it there."""
        return self._journal.key_at(kind, target)

    def kinds(self) -> Sequence[str]:
        """Return the kinds of all ids that were read."""
        return self._journal.kinds()

    async def put(self, kind: str, source: str, entry: IdEntry | None, *, at_once: bool = True) -> None:
        """Set an entry, or remove it. It is durable when this returns."""
        if not self._journal.is_open:
            await self.refresh()
        await self._journal.put([_change(kind, source, entry)], at_once=at_once)

    async def put_all(self, held: Held) -> None:
        """Set entries. They are durable when this returns."""
        if held:
            if not self._journal.is_open:
                await self.refresh()
            await self._journal.put([_change(kind, source, entry) for (kind, source), entry in held.items()])

    async def hold(self, held: Held) -> str:
        """Store entries beside the id map for a transaction that is about to be committed.

        Return their name, which the transaction commits with its rows; empty when there are none.
        """
        if not held:
            return ""
        data = msgspec.json.encode([_HeldId(kind, source, entry) for (kind, source), entry in held.items()])
        name = blake3(data).hexdigest(length=16)
        with suppress(ConflictError):  # the name is the digest of the content: an earlier attempt has stored it
            await self._kept.store.put(self._held_key(name), data, PutCondition.ABSENT)
        return name

    async def release(self, name: str) -> None:
        """Set the entries that `hold` has stored under this name: the transaction is committed. They may be set already."""
        key = self._held_key(name)
        try:
            data = (await self._kept.store.get(key)).data
        except AbsentError:
            return
        with parsing(key):
            found = _HELD.decode(data)
        await self.put_all({(one.kind, one.source): one.entry for one in found})
        await self._kept.store.delete(key)

    def _held_key(self, name: str) -> ObjectKey:
        return ObjectKey(f"{self._kept.prefix}held-ids/{name}.json")

    @asynccontextmanager
    async def intended(self, kind: str, intents: Mapping[str, IdEntry]) -> AsyncIterator[None]:
        """Set entries without targets, durable on entry. Each gets its target, or is removed, while the context is open."""
        async with self._journal.put_for_now([_change(kind, source, one) for source, one in intents.items()]):
            yield


def _change(kind: str, source: str, entry: IdEntry | None) -> Change:
    if entry is None:
        return Change(kind, source, None)
    return Change(kind, source, msgspec.json.encode(entry), entry.target or "")


def source_text(source: object) -> str:
    """Return an id of the source as text: a value, or a tuple of several."""
    if isinstance(source, tuple):
        return msgspec.json.encode([_plain(part) for part in source]).decode()
    return _plain(source)


def _plain(value: object) -> str:
    """Return a value as text without lone surrogates, which JSON cannot hold. A member of an Enum is its value, as in records."""
    text = str(value.value if isinstance(value, enum.Enum) else value)
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("unicode_escape").decode()
    return text


def is_no_id(value: object) -> bool:
    """Whether a value stands for no id: None or NaN, which no key has. So does a tuple of several that has one of them."""
    parts = value if isinstance(value, tuple) else (value,)
    return any(part is None or (isinstance(part, float | Decimal) and part != part) for part in parts)
