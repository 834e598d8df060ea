"""Maintenance of a Flow by itself: compacts and prunes it after a Movement, when its policy says so and it harms nobody.

Whatever it does, a Movement that begins meanwhile goes first: a compaction gives way to it, and what is pruned is needed by
no Movement. So it may be killed at any moment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pipeline.domain.errors import ConflictError, PipelineError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import FlowName, StreamName
from pipeline.domain.lifecycle.status import Status
from pipeline.domain.movement import Flow, Movement
from pipeline.domain.planning.compaction import by_stream
from pipeline.domain.planning.maintenance import is_long
from pipeline.engine.maintenance.compaction import Compactor
from pipeline.engine.maintenance.lease import Lease, leased
from pipeline.engine.maintenance.needed import Kept
from pipeline.engine.maintenance.pruning import Pruner
from pipeline.engine.maintenance.state import flow_to_maintain
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.derived_flows import derived_flows
from pipeline.log_events import log

PRUNE_EVERY = 50
"""A Flow is pruned at least once in this many Movements: File Lists, reports and events of each Movement pile up, too."""


class AutomaticMaintenance:
    """Maintains Flows. `alone`: no other process reads the Flow, so what a compaction has replaced is deleted at once.

    Otherwise it is deleted at a later look: another process may be reading it.
    """

    def __init__(self, context: EngineContext, worker: str, *, alone: bool = False) -> None:
        self._context, self._worker, self._alone = context, worker, alone

    async def run(self, name: FlowName) -> bool:
        """Do what is due for a Flow, or for the origin of a derived one; return whether it was looked at.

        Nothing is raised for an error of the pipeline: it is logged, and shown with the Flow.
        """
        try:
            return await self._run(name)
        except PipelineError as error:
            log.warning("maintenance_failed", flow=name, reason=str(error))
            return False

    async def _run(self, name: FlowName) -> bool:
        flow = await flow_to_maintain(self._context, name)
        if flow is None:
            return False
        async with leased(self._context, flow.name, self._worker) as lease:
            return lease is not None and await self._look(flow, lease)

    async def _look(self, flow: Flow, lease: Lease) -> bool:
        latest = await self._context.flows.latest(flow)
        if latest is None or not latest.settled:
            return False
        derived = await derived_flows(self._context.flows, flow.name)
        lease.state = replace(lease.state, movement=latest.number, waits="")
        try:
            if self._alone:
                latest = await self._compact(flow, latest, derived, lease)
                await self._prune(flow, latest, derived, lease)
            else:
                await self._prune(flow, latest, derived, lease)
                await self._compact(flow, latest, derived, lease)
        except ConflictError as error:  # a Movement has begun; the next look comes after some more
            log.info("maintenance_gave_way", flow=flow.name, reason=str(error))
        except PipelineError as error:
            lease.state = replace(lease.state, waits=str(error))
            raise
        return True

    async def _compact(self, flow: Flow, latest: Movement, derived: Sequence[Flow], lease: Lease) -> Movement:
        """Compact the streams with a long history; return the latest Movement."""
        left, policy = lease.state.left, flow.declared.maintenance

        def wanted(stream: StreamName, history: Sequence[FileEntry]) -> bool:
            return stream not in left and is_long(history, policy)

        lists = [await self._context.flows.read_file_list(key) for _, key in sorted(latest.file_lists.items())]
        if not any(wanted(stream, history) for entries in lists for stream, history in by_stream(entries).items()):
            return latest
        if reason := await self._who_is_behind(latest, derived):
            lease.state = replace(lease.state, waits=reason)
            return latest
        lease.state = replace(lease.state, unpruned=True)
        await lease.note()  # this process may die after the compaction has ended
        compaction = await Compactor(self._context, flow.name).run_where(wanted)
        lease.state = replace(
            lease.state, left={**left, **{str(stream): why for stream, why in compaction.left.items()}}
        )
        if compaction.movement is None:
            return latest
        lease.state = replace(lease.state, movement=compaction.movement, compacted=compaction.movement)
        return await self._context.flows.read_movement(flow.name, compaction.movement)

    async def _prune(self, flow: Flow, latest: Movement, derived: Sequence[Flow], lease: Lease) -> None:
        """Prune if something has been compacted since the last time, or that was long ago."""
        state = lease.state
        if not state.unpruned and latest.number < state.pruned + PRUNE_EVERY:
            return
        for one in derived:
            # A Movement of a derived Flow that begins now has these File Lists, or newer ones: its number is new.
            if not _has_lists_of(latest, await self._context.flows.latest(one)):
                lease.state = replace(state, waits=f"Flow {one.name!r} does not import the present File Lists yet")
                return
        context, kept = self._context, Kept.of(flow.declared.retention)
        pruner = Pruner(context.store, context.flows, context.clock, flow.name, self._worker, kept)
        gone = (await pruner.run_unclaimed()).gone
        log.info("pruned_by_itself", flow=flow.name, objects=gone.objects, bytes=gone.stored_bytes)
        # What could not be compacted long ago is looked at again: its history may be another one.
        left = state.left if state.unpruned else {}
        done = replace(state, pruned=latest.number, unpruned=False, left=left, at=context.clock.now())
        lease.state = replace(done, objects=gone.objects, stored_bytes=gone.stored_bytes)

    async def _who_is_behind(self, latest: Movement, derived: Sequence[Flow]) -> str:
        """Return which destination would have to import a snapshot where a few changes would do; empty if none would."""
        moved = await self._before_compactions(latest)
        if not _has_all(moved):
            return f"Movement {moved.number} has left Event Files that its destination does not have yet"
        for one in derived:
            movement = await self._context.flows.latest(one)
            if movement is None or not _has_lists_of(latest, movement) or not _has_all(movement):
                return f"the destination of Flow {one.name!r} does not have all that is stored yet"
        return ""

    async def _before_compactions(self, movement: Movement) -> Movement:
        while movement.compaction and movement.number > 1:
            movement = await self._context.flows.read_movement(movement.flow, movement.number - 1)
        return movement


def _has_lists_of(origin: Movement, derived: Movement | None) -> bool:
    return derived is not None and derived.settled and derived.file_lists == origin.file_lists


def _has_all(movement: Movement) -> bool:
    """Return whether the destination of a settled Movement has all Event Files: then running it again needs none of them."""
    counts = [movement.counts.get(label) for label in movement.file_lists]
    is_counted = movement.outcome in (Status.SUCCESS, Status.INCOMPLETE)
    return is_counted and all(one is not None and one.listed == one.imported for one in counts)
