"""`pipeline history`: what happened in a Flow, from the events in its outbox."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from pipeline.assembly.runtime import Runtime, open_runtime
from pipeline.domain.errors import AbsentError
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Flow
from pipeline.domain.outbox.event import OutboxEvent
from pipeline.domain.outbox.transitions import last_due, started
from pipeline.engine.outbox.history import History
from pipeline.settings import Settings, load_settings

EARLIER_SHOWN = 10
"""How many Movements of an earlier release, which stored no events, are shown: the latest ones."""


@dataclass(frozen=True, slots=True)
class FlowHistory:
    """The events of a Flow, oldest first. Of Movements 1 to `unknown`, which an earlier release made, none are known."""

    flow: FlowName
    events: Sequence[OutboxEvent]
    unknown: int = 0


async def history(flow: str, number: int | None = None, *, settings: Settings | None = None) -> FlowHistory:
    """Return what happened in a Flow, or in one of its Movements. AbsentError when there is no such Flow or Movement."""
    async with open_runtime(settings or load_settings()) as runtime:
        return await read_history(runtime, FlowName(flow), number)


async def read_history(runtime: Runtime, name: FlowName, number: int | None = None) -> FlowHistory:
    """Return what happened in a Flow of this store, or in one of its Movements."""
    events = History(runtime.store, name)
    if number is not None and (found := (await events.read_movement(number)).events):
        return FlowHistory(name, found)
    flow = await runtime.flows.read_flow(name)
    if number is not None:
        return FlowHistory(name, await _of_earlier_release(runtime, flow, number))
    timeline = await events.read(flow.movements)
    shown = range(max(1, flow.rebuilt, timeline.since - EARLIER_SHOWN), min(timeline.since, flow.movements + 1))
    earlier: list[OutboxEvent] = []
    for one in shown:
        with suppress(AbsentError):
            earlier += await _of_earlier_release(runtime, flow, one)
    return FlowHistory(name, [*earlier, *timeline.events], shown.start - 1 if shown else 0)


async def read_recent(runtime: Runtime, flow: Flow, movements: int) -> Sequence[OutboxEvent]:
    """Return the events of this number of a Flow's latest Movements, oldest first, and of those that belong to none."""
    first = max(1, flow.movements - movements + 1)
    return (await History(runtime.store, flow.name).read(flow.movements, first)).events


async def _of_earlier_release(runtime: Runtime, flow: Flow, number: int) -> Sequence[OutboxEvent]:
    movement = await runtime.flows.read_of(flow, number)
    return [started(movement), *(last_due(movement) if movement.settled else ())]
