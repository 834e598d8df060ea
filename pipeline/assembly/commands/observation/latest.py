"""Every Flow with its latest Movement, read side by side. One that cannot be read hides no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import anyio

from pipeline.assembly.commands.status import CONCURRENT_FLOWS, UnreadableFlow, read_state
from pipeline.assembly.runtime import Runtime
from pipeline.domain.errors import PipelineError
from pipeline.domain.ids import FlowName
from pipeline.domain.lifecycle.table import State
from pipeline.domain.movement import Flow, Movement


@dataclass(frozen=True, slots=True)
class LatestMovement:
    """A Flow, its latest Movement, and the state of it; both are None when nothing has been moved."""

    flow: Flow
    movement: Movement | None
    state: State | None


async def read_latest(runtime: Runtime) -> Sequence[LatestMovement | UnreadableFlow]:
    """Return all Flows, by name."""
    names = await runtime.flows.list_names()
    found: dict[FlowName, LatestMovement | UnreadableFlow] = {}
    limiter = anyio.CapacityLimiter(CONCURRENT_FLOWS)

    async def read(name: FlowName) -> None:
        async with limiter:
            try:
                flow = await runtime.flows.read_flow(name)
                movement = await runtime.flows.latest(flow)
                state = None if movement is None else await read_state(runtime, movement)
                found[name] = LatestMovement(flow, movement, state)
            except PipelineError as error:
                found[name] = UnreadableFlow(name, str(error))

    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(read, name, name=f"latest of {name}")
    return [found[name] for name in names]
