"""Pruning: deletes the stored objects that no process can need any more.

A Movement that starts meanwhile could reuse an old object: a Binary File of the same content, a part of a state. So
pruning first writes its claim into flow.json and then checks for a Movement in progress, while a new Movement is
created first and then checks for a claim. At least one of the two sees the other, and gives way.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

import anyio
from anyio.to_thread import run_sync

from pipeline.codec.event_files.compression import Decoder
from pipeline.codec.pack import PackEntry
from pipeline.domain import object_keys
from pipeline.domain.errors import DamagedError, TransientError
from pipeline.domain.event_file import Encoding, FileEntry
from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.movement import Flow, Movement
from pipeline.domain.planning.retention import Needed, Reason, reason_to_delete
from pipeline.engine.movements.derived_flows import derived_flows
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.lifecycle import cancel_compaction, ensure_settled
from pipeline.engine.storage.event_files import open_event_file
from pipeline.engine.storage.key_set import KeySet
from pipeline.engine.storage.packs import list_packs, read_index
from pipeline.log_events import log
from pipeline.ports.clock import Clock
from pipeline.ports.object_store import ObjectInfo, ObjectStore, list_pages

SECTIONS = ("movements/", "events/", "snapshots/", "binaries/")
"""Deleted in this order: an object that names others goes before them."""
KEPT_SECTIONS = ("contents/", "spool/")
"""What an Exporter keeps: rows and versions of contents. The Binary Files that they name stay, since rows may name them."""
KEPT_REPORTS = timedelta(days=30)
"""Progress and failures of Movements that settled within this time stay."""
RELEASE_SECONDS = 10.0
DIGEST_DIGITS = 64
_DIGEST = re.compile(rb"[0-9a-f]{%d}" % DIGEST_DIGITS)


@dataclass(slots=True)
class ObjectTotals:
    """A number of objects and their total size."""

    objects: int = 0
    stored_bytes: int = 0

    def add(self, info: ObjectInfo) -> None:
        """Count one more object."""
        self.objects += 1
        self.stored_bytes += info.size


@dataclass(frozen=True, slots=True)
class Pruning:
    """The objects that can go and those that stay. `deleted`: those that can go are gone."""

    flow: FlowName
    deleted: bool
    going: dict[Reason, ObjectTotals] = field(default_factory=dict)
    staying: ObjectTotals = field(default_factory=ObjectTotals)


OnObject = Callable[[ObjectInfo, Reason], None]


class Pruner:
    """Prunes one Flow. `worker` names this process in the claim."""

    def __init__(
        self,
        store: ObjectStore,
        flows: FlowStore,
        clock: Clock,
        flow: FlowName,
        worker: str,
        kept: timedelta = KEPT_REPORTS,
    ) -> None:
        self._store, self._flows, self._clock, self._flow = store, flows, clock, flow
        self._worker = worker
        self._kept = kept

    async def preview(self, on_object: OnObject) -> Pruning:
        """Report each object that `run` would delete, and the totals. Changes nothing."""
        return await self._visit(on_object, claim=None)

    async def run(self, on_object: OnObject, *, take_over: bool) -> Pruning:
        """Delete every object that is not needed, and report each. Run it again after a crash to complete it.

        ConfigurationError while a Movement has not settled. TransientError when another process has a claim, unless
        `take_over`, which the caller may only set when that process is dead.
        """
        async with self._claimed(take_over=take_over) as claim:
            log.info("pruning_started", flow=self._flow)
            pruning = await self._visit(on_object, claim=claim)
            objects = sum(amount.objects for amount in pruning.going.values())
            log.info("pruning_done", flow=self._flow, objects=objects)
            return pruning

    @asynccontextmanager
    async def _claimed(self, *, take_over: bool) -> AsyncIterator[str]:
        """Prevent new Movements. A process that dies leaves its claim in place, because it may have been deleting."""
        claim = f"{self._worker} since {self._clock.now().isoformat(timespec='seconds')}"

        def claimed(flow: Flow) -> Flow:
            if flow.pruning is not None and not take_over:
                raise TransientError(
                    f"Flow {flow.name!r} is being pruned by {flow.pruning}. If you are sure that this process is dead, "
                    "use --take-over."
                )
            return replace(flow, pruning=claim)

        flow = await self._flows.update_flow(self._flow, claimed)
        try:
            await cancel_compaction(self._flows, flow)
            yield claim
        finally:
            with anyio.move_on_after(RELEASE_SECONDS, shield=True):
                await self._release(claim)

    async def _release(self, claim: str) -> None:
        await self._flows.update_flow(
            self._flow, lambda flow: replace(flow, pruning=None) if flow.pruning == claim else flow
        )

    async def _visit(self, on_object: OnObject, *, claim: str | None) -> Pruning:
        """Visit every object; with a `claim`, delete those that can go while the claim is ours."""
        with KeySet() as binaries:
            needed = await self._needed(binaries)
            pruning = Pruning(self._flow, deleted=claim is not None)
            async with aclosing(self._objects(claim)) as objects:
                async for info in objects:
                    reason = reason_to_delete(info.key, needed)
                    if reason is None:
                        pruning.staying.add(info)
                        continue
                    if claim is not None:
                        await self._store.delete(info.key)
                    pruning.going.setdefault(reason, ObjectTotals()).add(info)
                    on_object(info, reason)
        return pruning

    async def _objects(self, claim: str | None) -> AsyncGenerator[ObjectInfo, None]:
        for section in SECTIONS:
            async with aclosing(list_pages(self._store, object_keys.flow_prefix(self._flow) + section)) as pages:
                async for page in pages:
                    if claim is not None and (await self._flows.read_flow(self._flow)).pruning != claim:
                        raise TransientError(f"Another process has taken over the pruning of Flow {self._flow!r}.")
                    for info in page:
                        yield info

    async def _needed(self, binaries: KeySet) -> Needed:
        """Return what must stay. The digests of Binary Files are added to `binaries`."""
        flow = await self._flows.read_flow(self._flow)
        movements = await self._movements(flow)
        derived = await self._derived()
        roots = [*_own_roots(movements), *(movement for movement in derived if not movement.settled)]
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
        await self._find_binaries(listed.values(), binaries)
        await self._find_kept_binaries(binaries)
        keys.update(await self._packs_needed(binaries))
        oldest = self._clock.now() - self._kept
        reports = {m.number for m in movements if m is movements[-1] or not m.settled or m.updated > oldest}
        unfinished = any(movement.unfinished for movement in roots)
        return Needed(self._flow, movements[-1].number, keys, binaries, reports, parts=unfinished)

    async def _movements(self, flow: Flow) -> Sequence[Movement]:
        latest = ensure_settled(flow, await self._flows.latest(flow), "prune")
        first = max(1, flow.rebuilt) if flow.rebuilt <= latest.number else 1  # a rebuild died before its Movement
        earlier = [await self._flows.read_movement(flow.name, number) for number in range(first, latest.number)]
        return [*earlier, latest]

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


def _own_roots(movements: Sequence[Movement]) -> Sequence[Movement]:
    """Return the latest Movement and the latest whose export has ended."""
    exported = [movement for movement in reversed(movements) if movement.exported]
    return [movements[-1], *exported[:1]]


def _add_digests(block: bytes, binaries: KeySet) -> None:
    binaries.update(bytes.fromhex(digest.decode()) for digest in set(_DIGEST.findall(block)))
