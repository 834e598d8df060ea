"""Every Flow with its latest Movement, read side by side. A Flow that cannot be read hides no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.assembly.commands.observation.signs import Signs
from pipeline.assembly.commands.status import CONCURRENT_FLOWS, UnreadableFlow, state_with
from pipeline.assembly.runtime import Runtime
from pipeline.domain.errors import PipelineError
from pipeline.domain.ids import FlowName
from pipeline.domain.lifecycle.table import State
from pipeline.domain.movement import Flow, Movement
from pipeline.engine.control.approvals import unapproved
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.storage.concurrently import concurrently


@dataclass(frozen=True, slots=True)
class LatestMovement:
    """A Flow, its latest Movement that is no compaction, and the state of it; both are None when nothing has been moved."""

    flow: Flow
    movement: Movement | None
    state: State | None


async def read_latest(runtime: Runtime, signs: Signs) -> Sequence[LatestMovement | UnreadableFlow]:
    """Return all Flows, by name."""

    async def read(name: FlowName) -> LatestMovement | UnreadableFlow:
        try:
            flow = await runtime.flows.read_flow(name)
            movement = await latest_of_data(runtime.flows, flow)
            state = None
            if movement is not None:
                seen, missing = (await signs.of_open(movement))[0], await unapproved(runtime.store, flow)
                state = state_with(runtime, flow, movement, seen, missing)
        except PipelineError as error:
            return UnreadableFlow(name, str(error))
        return LatestMovement(flow, movement, state)

    return await concurrently(read, await runtime.flows.list_names(), CONCURRENT_FLOWS)


async def latest_of_data(flows: FlowStore, flow: Flow) -> Movement | None:
    """Return a Flow's latest Movement that is no compaction: a compaction says nothing of how the data fared."""
    movement = await flows.latest(flow)
    while movement is not None and movement.compaction and movement.number > 1:
        movement = await flows.read_movement(flow.name, movement.number - 1)
    return movement
