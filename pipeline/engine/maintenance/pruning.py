"""Pruning: deletes the stored objects that no process can need any more.

A Movement that starts meanwhile could reuse an old object: a Binary File of the same content. So `pipeline prune` writes
its claim into flow.json and then checks for a Movement in progress. A Movement is created first and then checks for a
claim. At least one of the two sees the other, and gives way.

Automatic pruning claims nothing: it hinders no Movement, and may die at any moment. It deletes only objects whose keys have
the number of a settled Movement. No Movement stores or reads such an object again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio

from pipeline.domain import object_keys
from pipeline.domain.errors import TransientError
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Flow
from pipeline.domain.planning.retention import Needed, Reason, reason_to_delete
from pipeline.engine.maintenance.needed import Kept, NeededObjects
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.lifecycle import cancel_compaction
from pipeline.engine.storage.concurrently import concurrently
from pipeline.engine.storage.key_set import KeySet
from pipeline.log_events import log
from pipeline.ports.clock import Clock
from pipeline.ports.object_store import ObjectInfo, ObjectStore, list_pages

NUMBERED = ("movements/", "events/", "snapshots/", "outbox/", "history/", "log/")
"""Sections whose keys have numbers of Movements in them."""
SECTIONS = (*NUMBERED, "binaries/")
"""Deleted in this order: an object that names others goes before them."""
CONCURRENT_DELETES = 8
RELEASE_SECONDS = 10.0


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

    @property
    def gone(self) -> ObjectTotals:
        """All that can go."""
        amounts = self.going.values()
        return ObjectTotals(sum(one.objects for one in amounts), sum(one.stored_bytes for one in amounts))


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
        kept: Kept = Kept(),  # noqa: B008  immutable
    ) -> None:
        self._store, self._flows, self._clock, self._flow = store, flows, clock, flow
        self._worker = worker
        self._needed = NeededObjects(store, flows, flow, kept)

    async def preview(self, on_object: OnObject) -> Pruning:
        """Report each object that `run` would delete, and the totals. Changes nothing."""
        return await self._visit_all(on_object, claim=None)

    async def run(self, on_object: OnObject, *, take_over: bool) -> Pruning:
        """Delete every object that is not needed, and report each. Run it again after a crash to complete it.

        ConfigurationError while a Movement has not settled. TransientError when another process has a claim, unless
        `take_over`, which the caller may only set when that process is dead.
        """
        async with self._claimed(take_over=take_over) as claim:
            log.info("pruning_started", flow=self._flow)
            pruning = await self._visit_all(on_object, claim=claim)
            log.info("pruning_done", flow=self._flow, objects=pruning.gone.objects)
            return pruning

    async def run_unclaimed(self) -> Pruning:
        """Delete what is not needed and has the number of a Movement in its key. Movements may begin meanwhile.

        No derived Flow may begin a Movement with File Lists that this one has replaced: the caller sees to that.
        """
        needed = await self._needed.find(None, self._clock.now())
        pruning = Pruning(self._flow, deleted=True)
        await self._visit(NUMBERED, needed, pruning, None)
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

    async def _visit_all(self, on_object: OnObject, *, claim: str | None) -> Pruning:
        """Visit every object; with a `claim`, delete those that can go while the claim is ours."""
        with KeySet() as binaries:
            needed = await self._needed.find(binaries, self._clock.now())
            pruning = Pruning(self._flow, deleted=claim is not None)
            await self._visit(SECTIONS, needed, pruning, claim, on_object)
        return pruning

    async def _visit(
        self,
        sections: Sequence[str],
        needed: Needed,
        pruning: Pruning,
        claim: str | None,
        on_object: OnObject | None = None,
    ) -> None:
        """Count every object in `pruning`, and delete those that can go if it says so."""
        async with aclosing(self._pages(sections, claim)) as pages:
            async for page in pages:
                going: list[tuple[ObjectInfo, Reason]] = []
                for info in page:
                    reason = reason_to_delete(info.key, needed)
                    if reason is None:
                        pruning.staying.add(info)
                    else:
                        going.append((info, reason))
                if pruning.deleted:
                    await concurrently(self._store.delete, [info.key for info, _ in going], CONCURRENT_DELETES)
                for info, reason in going:
                    pruning.going.setdefault(reason, ObjectTotals()).add(info)
                    if on_object is not None:
                        on_object(info, reason)

    async def _pages(self, sections: Sequence[str], claim: str | None) -> AsyncGenerator[Sequence[ObjectInfo], None]:
        for section in sections:
            async with aclosing(list_pages(self._store, object_keys.flow_prefix(self._flow) + section)) as pages:
                async for page in pages:
                    if claim is not None and (await self._flows.read_flow(self._flow)).pruning != claim:
                        raise TransientError(f"Another process has taken over the pruning of Flow {self._flow!r}.")
                    yield page
