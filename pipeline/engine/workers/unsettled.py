"""Finds the Movements that have not settled, with few requests to the store while there are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from math import inf

import anyio

from pipeline.domain import object_keys
from pipeline.domain.errors import PipelineError, TransientError
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Movement
from pipeline.domain.outbox.transitions import last_due
from pipeline.engine.control.queued import begin_queued
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.derived_flows import sync_with_origin
from pipeline.log_events import log

FULL_LOOK_SWEEPS = 60
"""All is read after this many times `sweep_seconds`: names of new Flows, and what is known of the others."""
FLOWS_A_LOOK = 100
"""How many of the Flows without an unsettled Movement one look asks for, at most, so that its requests are bounded."""


class UnsettledMovements:
    """Reads the latest Movement of each Flow, and begins those of derived Flows and those whose start was queued.

    Of a Flow whose latest Movement has settled, one request finds out whether there is a new one. A `worker` with a name
    asks for `FLOWS_A_LOOK` of these at a time, in an order of its own, so that many workers together look at many Flows
    often; without a name, all are asked for. A Flow whose documents cannot be read is logged, and hides no other.
    """

    def __init__(self, context: EngineContext, worker: str = "", *, begins_queued: bool) -> None:
        """`begins_queued`: starts that are queued are begun here."""
        self._context = context
        self._worker = worker
        self._begins_queued = begins_queued
        self._names: frozenset[FlowName] = frozenset()
        self._left: list[FlowName] = []
        self._unsettled: set[FlowName] = set()
        self._origins: dict[FlowName, FlowName | None] = {}
        self._settled: dict[FlowName, int] = {}
        self._full_look_at = -inf

    @property
    def settled(self) -> Mapping[FlowName, int]:
        """The latest Movement of each Flow where it is known to have settled; 0 if there is none."""
        return self._settled

    async def read(self) -> Sequence[Movement]:
        """Return the latest Movement of each Flow where it has not settled; not of compactions."""
        await self._find_names()
        self._left = self._left or sorted(self._names, key=self._place)
        count = FLOWS_A_LOOK if self._worker else len(self._left)
        due = {*self._left[:count], *self._unsettled} & self._names
        changed: set[FlowName] = set()
        found: list[Movement] = []
        first = sorted(name for name in due if self._origins.get(name) is None)
        for name in first:
            found += await self._look(name, changed)
        derived = {name for name, origin in self._origins.items() if origin and (name in due or origin in changed)}
        for name in sorted(derived & self._names - {*first}):
            found += await self._look(name, changed)
        self._left = self._left[count:]
        self._unsettled = {movement.flow for movement in found}
        return [movement for movement in found if not movement.compaction]

    def _place(self, name: FlowName) -> bytes:
        """Return what this worker sorts the Flows by."""
        return sha256(f"{self._worker}\0{name}".encode()).digest()

    async def _look(self, name: FlowName, changed: set[FlowName]) -> Sequence[Movement]:
        """Return the latest Movement of a Flow if it has not settled. A Flow that may have changed is added to `changed`."""
        try:
            with self._context.answers.asking("store"):
                if not await self._may_have_changed(name, changed):
                    return ()
                changed.add(name)
                movement = await self._read_latest(name)
        except TransientError:
            raise
        except PipelineError as error:
            log.warning("sweep_failed", flow=name, reason=str(error))
            self._context.answers.note("store")
            return ()
        return () if movement is None else (movement,)

    async def _find_names(self) -> None:
        """List the Flows that this process serves, now and then. Nothing is read of others, not even their names."""
        now = anyio.current_time()
        if self._left or (
            self._names and now - self._full_look_at < FULL_LOOK_SWEEPS * self._context.limits.sweep_seconds
        ):
            return
        with self._context.answers.asking("store"):
            only = self._context.only_flows
            self._names = only or frozenset(await self._context.flows.list_names())
        self._full_look_at = now
        self._settled.clear()

    async def _may_have_changed(self, name: FlowName, changed: set[FlowName]) -> bool:
        settled, origin = self._settled.get(name), self._origins.get(name)
        if settled is None or (origin is not None and (origin in changed or origin not in self._names)):
            return True
        return await self._context.store.stat(object_keys.movement_key(name, settled + 1)) is not None

    async def _read_latest(self, name: FlowName) -> Movement | None:
        """Return a Flow's latest Movement if it has not settled."""
        self._settled.pop(name, None)
        flow = await self._context.flows.read_flow(name)
        self._origins[name] = flow.origin
        movement = await sync_with_origin(self._context.flows, self._context.clock, flow)
        gives_way = movement is not None and movement.compaction and self._begins_queued and flow.queued is not None
        if movement is not None and not movement.settled and not gives_way:
            await self._context.flows.outbox.note(last_due(movement))
            return movement
        await self._context.flows.outbox.put(last_due(movement))
        if self._begins_queued and (begun := await begin_queued(self._context.flows, flow)) is not None:
            log.info("queued_start_begun", flow=name, movement=begun.number)
            return begun
        if flow.queued is None:  # a queued start that has to wait is looked at again
            self._settled[name] = movement.number if movement else 0
        return None
