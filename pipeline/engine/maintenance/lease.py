"""The lease of a Flow's maintenance: one process at a time does it, and notes in `maintenance.json` what it has done.

The lease saves work, and nothing depends on it: a process that goes on without it does no harm.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import anyio
from anyio import CancelScope

from pipeline.codec.documents.maintenance import MaintenanceState, encode_maintenance
from pipeline.domain import object_keys
from pipeline.domain.errors import ConflictError, PipelineError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import FlowName
from pipeline.engine.maintenance.state import read_maintenance
from pipeline.engine.movements.context import EngineContext
from pipeline.log_events import log
from pipeline.ports.object_store import PutCondition, Version

LEASE_SECONDS = 60.0
"""A process that has not renewed its lease for this long, by the clock of the store, counts as gone."""
RELEASE_SECONDS = 10.0


class Lease:
    """The lease of one process. `state` is stored when it is noted, and at the end without the name of the worker."""

    def __init__(self, context: EngineContext, flow: FlowName, state: MaintenanceState, version: Version) -> None:
        self._store, self._key = context.store, object_keys.maintenance_key(flow)
        self._version, self._putting = version, anyio.Lock()
        self.state = state

    async def renew(self, work: CancelScope) -> None:
        """Renew the lease until cancelled. Once another process has it, `work` is cancelled."""
        while True:
            await anyio.sleep(LEASE_SECONDS / 3)
            try:
                await self.note()
            except ConflictError:
                log.info("maintenance_lease_lost", key=self._key)
                work.cancel()
                return
            except PipelineError as error:
                log.info("maintenance_lease_not_renewed", key=self._key, reason=str(error))

    async def note(self) -> None:
        """Store what was done so far. ConflictError when another process has the lease."""
        async with self._putting:
            self._version = await self._store.put(self._key, encode_maintenance(self.state), self._version)

    async def end(self) -> None:
        """Store what was done. If that fails, the lease expires, and the next process finds out by itself."""
        self.state = replace(self.state, worker="", since=None)
        try:
            await self.note()
        except PipelineError as error:
            log.info("maintenance_not_noted", key=self._key, reason=str(error))


@asynccontextmanager
async def leased(context: EngineContext, flow: FlowName, worker: str) -> AsyncIterator[Lease | None]:
    """Hold the lease while the body runs; None if another process has it."""
    lease = await _take(context, flow, worker)
    if lease is None:
        yield None
        return
    try:
        with unwrap_exception_group():
            async with anyio.create_task_group() as group:
                group.start_soon(lease.renew, group.cancel_scope, name="renew maintenance lease")
                yield lease
                group.cancel_scope.cancel()
    finally:
        with anyio.move_on_after(RELEASE_SECONDS, shield=True):
            await lease.end()


async def _take(context: EngineContext, flow: FlowName, worker: str) -> Lease | None:
    state, version = await read_maintenance(context.store, flow)
    if state.worker and not await _is_over(context, flow):
        return None
    held = replace(state, worker=worker, since=context.clock.now())
    key = object_keys.maintenance_key(flow)
    try:
        version = await context.store.put(key, encode_maintenance(held), version or PutCondition.ABSENT)
    except ConflictError:
        return None
    return Lease(context, flow, held, version)


async def _is_over(context: EngineContext, flow: FlowName) -> bool:
    info = await context.store.stat(object_keys.maintenance_key(flow))
    now = await context.flows.store_clock.now(flow)
    return info is None or now - info.modified > timedelta(seconds=LEASE_SECONDS)
