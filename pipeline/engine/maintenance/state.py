"""What the maintenance of a Flow has done so far, and whether it is time to look at the Flow again."""

from __future__ import annotations

from pipeline.codec.documents.maintenance import MaintenanceState, decode_maintenance
from pipeline.domain import object_keys
from pipeline.domain.errors import AbsentError
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Flow
from pipeline.engine.movements.context import EngineContext
from pipeline.ports.object_store import ObjectStore, Version

LOOK_EVERY = 10
"""A Flow is looked at once in this many Movements."""


async def read_maintenance(store: ObjectStore, flow: FlowName) -> tuple[MaintenanceState, Version | None]:
    """Return what the maintenance of a Flow has done so far, and its version in the store; None if it is not stored yet."""
    key = object_keys.maintenance_key(flow)
    try:
        stored = await store.get(key)
    except AbsentError:
        return MaintenanceState(), None
    return decode_maintenance(stored.data, key), stored.version


async def flow_to_maintain(context: EngineContext, name: FlowName) -> Flow | None:
    """Return the Flow, or the origin of a derived one, if it is time to look at it; None if it is not."""
    flow = await context.flows.read_flow(name)
    if flow.origin is not None:
        flow = await context.flows.read_flow(flow.origin)
    if not flow.declared.maintenance.automatic or flow.pruning is not None or flow.movements < LOOK_EVERY:
        return None
    state, _ = await read_maintenance(context.store, flow.name)
    return flow if state.waits or flow.movements >= state.movement + LOOK_EVERY else None
