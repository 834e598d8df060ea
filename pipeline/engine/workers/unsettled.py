"""Finds the Movements that have not settled, with few requests to the store while there are none."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import anyio

from pipeline.domain import object_keys
from pipeline.domain.errors import PipelineError, TransientError
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Movement
from pipeline.domain.outbox.transitions import last_due
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.derived_flows import sync_with_origin
from pipeline.log_events import log

FULL_LOOK_SWEEPS = 60
"""All is read after this many times `sweep_seconds`: names of new Flows, and what is known of the others."""


class UnsettledMovements:
    """Reads the latest Movement of each Flow, and begins those of derived Flows.

    Of a Flow whose latest Movement has settled, one request finds out whether there is a new one. A Flow whose documents
    cannot be read is logged, and hides no other.
    """

    def __init__(self, context: EngineContext) -> None:
        self._context = context
        self._names: Sequence[FlowName] = ()
        self._origins: dict[FlowName, FlowName | None] = {}
        self._settled: dict[FlowName, int] = {}
        self._full_look_at = -inf

    async def read(self) -> Sequence[Movement]:
        """Return the latest Movement of each Flow where it has not settled; not of compactions."""
        await self._find_names()
        changed: set[FlowName] = set()
        found: list[Movement] = []
        for name in sorted(self._names, key=lambda name: (self._origins.get(name) is not None, name)):
            try:
                with self._context.answers.asking("store"):
                    if not await self._may_have_changed(name, changed):
                        continue
                    changed.add(name)
                    movement = await self._read_latest(name)
            except TransientError:
                raise
            except PipelineError as error:
                log.warning("sweep_failed", flow=name, reason=str(error))
                self._context.answers.note("store")
                continue
            if movement is not None and not movement.compaction:
                found.append(movement)
        return found

    async def _find_names(self) -> None:
        """List the Flows that this process serves, now and then. Nothing is read of others, not even their names."""
        now = anyio.current_time()
        if self._names and now - self._full_look_at < FULL_LOOK_SWEEPS * self._context.limits.sweep_seconds:
            return
        with self._context.answers.asking("store"):
            only = self._context.only_flows
            self._names = sorted(only) if only else await self._context.flows.list_names()
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
        if movement is not None and not movement.settled:
            await self._context.flows.outbox.note(last_due(movement))
            return movement
        await self._context.flows.outbox.put(last_due(movement))
        self._settled[name] = movement.number if movement else 0
        return None
