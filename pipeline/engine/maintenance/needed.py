"""Which stored objects of a Flow are needed: what the latest Movements name, and reports and events that are not old."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime, timedelta

from anyio.to_thread import run_sync

from pipeline.codec.event_files.compression import Decoder
from pipeline.codec.pack import PackEntry
from pipeline.domain import object_keys
from pipeline.domain.errors import AbsentError, DamagedError
from pipeline.domain.event_file import Encoding, FileEntry
from pipeline.domain.flows.declaration import Retention
from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.movement import Movement
from pipeline.domain.planning.retention import Needed
from pipeline.engine.movements.derived_flows import derived_flows
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.lifecycle import ensure_settled
from pipeline.engine.storage.event_files import open_event_file
from pipeline.engine.storage.key_set import KeySet
from pipeline.engine.storage.packs import list_packs, read_index
from pipeline.log_events import log
from pipeline.ports.object_store import ObjectStore, list_pages

KEPT_SECTIONS = ("contents/", "spool/")
"""What an Exporter keeps: rows and versions of contents. The Binary Files that they name stay, since rows may name them."""
DIGEST_DIGITS = 64
_DIGEST = re.compile(rb"[0-9a-f]{%d}" % DIGEST_DIGITS)


@dataclass(frozen=True, slots=True)
class Kept:
    """For how long reports and events of a Movement stay after it has settled."""

    reports: timedelta = timedelta(days=30)
    events: timedelta = timedelta(days=365)

    @classmethod
    def of(cls, declared: Retention) -> Kept:
        """Return what a Flow declares."""
        return cls(timedelta(days=declared.reports_days), timedelta(days=declared.events_days))


class NeededObjects:
    """Finds what one Flow needs."""

    def __init__(self, store: ObjectStore, flows: FlowStore, flow: FlowName, kept: Kept) -> None:
        self._store, self._flows, self._flow, self._kept = store, flows, flow, kept

    async def find(self, binaries: KeySet | None, now: datetime) -> Needed:
        """Return what must stay. The digests of Binary Files are added to `binaries`; None: they are not asked for.

        ConfigurationError while a Movement has not settled.
        """
        flow = await self._flows.read_flow(self._flow)
        latest = ensure_settled(flow, await self._flows.latest(flow), "prune")
        derived = await self._derived()
        first = max(1, flow.rebuilt) if flow.rebuilt <= latest.number else 1  # a rebuild died before its Movement
        roots = [
            latest,
            *await self._exported(latest, first),
            *(movement for movement in derived if not movement.settled),
        ]
        keys: set[ObjectKey] = set()
        listed: dict[ObjectKey, FileEntry] = {}
        for movement in roots:
            keys.update(movement.states.values())
        for file_list in sorted({key for movement in roots for key in movement.file_lists.values()}):
            keys.update(await self._flows.file_lists.keys(file_list))
            listed |= {entry.key: entry for entry in await self._flows.read_file_list(file_list)}
        keys.update(listed)
        for movement in derived:
            for file_list in movement.file_lists.values():  # shows what it has imported, even without the Event Files
                keys.update(await self._flows.file_lists.keys(file_list))
        if binaries is not None:
            await self._find_binaries(listed.values(), binaries)
            await self._find_kept_binaries(binaries)
            keys.update(await self._packs_needed(binaries))
        return Needed(
            self._flow,
            latest.number,
            keys,
            binaries or (),
            await self._first_settled_after(now - self._kept.reports, first, latest.number),
            await self._first_settled_after(now - self._kept.events, first, latest.number),
            (now - self._kept.events).date(),
            parts=any(movement.unfinished for movement in roots),
        )

    async def _exported(self, latest: Movement, first: int) -> Sequence[Movement]:
        """Return the latest Movement whose export has ended, if there is one."""
        movement = latest
        while not movement.exported and movement.number > first:
            movement = await self._flows.read_movement(self._flow, movement.number - 1)
        return [movement] if movement.exported else []

    async def _first_settled_after(self, moment: datetime, first: int, latest: int) -> int:
        """Return the first Movement that settled after `moment`, at most the latest. They settle one after the other."""
        while first < latest:
            middle = (first + latest) // 2
            try:
                is_later = (await self._flows.read_movement(self._flow, middle)).updated > moment
            except AbsentError:  # a person or an expiry rule has taken it away
                is_later = False
            first, latest = (first, middle) if is_later else (middle + 1, latest)
        return first

    async def _derived(self) -> Sequence[Movement]:
        """Return the latest Movement of each Flow that imports the objects of this one."""
        latest = [await self._flows.latest(flow) for flow in await derived_flows(self._flows, self._flow)]
        return [movement for movement in latest if movement is not None]

    async def _find_binaries(self, entries: Collection[FileEntry], binaries: KeySet) -> None:
        """Add everything that looks like a digest in streams with Binary Files: maybe too many, never too few."""
        if not await self._has_binaries():
            return
        for entry in entries:
            async with open_event_file(self._store, entry, arrays=True) as opened:
                if all(column.type != "binary" for column in opened.header.schema.columns):
                    continue
                async for block in opened.blocks:
                    await run_sync(_add_digests, block, binaries)

    async def _find_kept_binaries(self, binaries: KeySet) -> None:
        """Add everything that looks like a digest in what an Exporter keeps between Movements (docs/reference/bucket.md)."""
        if not await self._has_binaries():
            return
        for section in KEPT_SECTIONS:
            async with aclosing(list_pages(self._store, object_keys.flow_prefix(self._flow) + section)) as pages:
                async for page in pages:
                    for info in page:
                        await self._find_digests(info.key, binaries)

    async def _find_digests(self, key: ObjectKey, binaries: KeySet) -> None:
        decoder, end = Decoder(Encoding.ZSTD), b""
        async with self._store.open_stream(key) as stored:
            async for piece in stored:
                for data in decoder.feed(piece):
                    await run_sync(_add_digests, end + data, binaries)
                    end = (end + data)[1 - DIGEST_DIGITS :]

    async def _has_binaries(self) -> bool:
        return bool(await self._store.list_page(object_keys.binaries_prefix(self._flow), limit=1))

    async def _packs_needed(self, binaries: KeySet) -> Sequence[ObjectKey]:
        """Return the packs that hold a needed content, and those whose index cannot be read."""
        kept: list[ObjectKey] = []
        for info in await list_packs(self._store, self._flow):
            try:
                entries = await read_index(self._store, info)
            except DamagedError as error:
                log.warning("pack_kept", pack=info.key, reason=str(error))
                kept.append(info.key)
                continue
            if await run_sync(_holds_any, entries, binaries):
                kept.append(info.key)
        return kept


def _holds_any(entries: Sequence[PackEntry], binaries: KeySet) -> bool:
    return any(entry.digest in binaries for entry in entries)


def _add_digests(block: bytes, binaries: KeySet) -> None:
    binaries.update(bytes.fromhex(digest.decode()) for digest in set(_DIGEST.findall(block)))
