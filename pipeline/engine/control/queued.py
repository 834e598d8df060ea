"""Starts that are queued: each begins once the latest Movement of its Flow has settled."""

from __future__ import annotations

from dataclasses import asdict, replace
from shlex import quote

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Choices, Flow, Movement, QueuedStart
from pipeline.domain.outbox.transitions import start_queued, start_withdrawn
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.lifecycle import cancel_compaction, next_movement
from pipeline.engine.movements.retries import LostRaceError


async def queue_start(flows: FlowStore, name: FlowName, choices: Choices, who: str) -> Flow:
    """Queue a start of a Flow, unless the same one is queued; return the Flow. ConfigurationError when another one is."""
    wanted = QueuedStart(await flows.store_clock.now(name), who, choices)

    def queue(flow: Flow) -> Flow:
        if flow.queued is None:
            return replace(flow, queued=wanted)
        if flow.queued.choices != choices:
            raise ConfigurationError(
                f"{flow.queued} Wait until it has begun, or take it back with `pipeline stop {quote(name)}`."
            )
        return flow

    flow = await flows.update_flow(name, queue)
    await _note(flows, flow)
    return flow


async def begin_queued(flows: FlowStore, flow: Flow) -> Movement | None:
    """Begin the queued start of a Flow; return the Movement, for workers to take up. None if it has to wait, or there is none.

    It begins once, however many processes try and die: its Movement and all later ones name it.
    """
    if flow.queued is None:
        return None
    latest = await cancel_compaction(flows, flow)
    flow = await flows.read_flow(flow.name)  # after the Movement, so that it lacks a start that has begun before
    queued = flow.queued
    if queued is None or flow.pruning is not None:
        return None
    await _note(flows, flow)
    if latest is not None and latest.last_queued == queued.when:  # its process died before flow.json was changed
        await _drop(flows, flow.name, queued)
        return None
    if latest is not None and not latest.settled:
        return None
    choices = queued.choices.of_flow(flow.declared)
    movement = replace(
        next_movement(flows, flow, latest), queued=queued.when, last_queued=queued.when, **asdict(choices)
    )
    try:
        await flows.create(movement, latest)
    except LostRaceError:  # another process has begun it, or another Movement
        return None
    return movement


async def drop_queued(flows: FlowStore, name: FlowName, who: str) -> bool:
    """Take back the queued start of a Flow; return whether there was one."""
    flow = await flows.read_flow(name)
    if flow.queued is None:
        return False
    await _note(flows, flow)
    await flows.outbox.put([start_withdrawn(name, flow.queued, who, await flows.store_clock.now(name))])
    await _drop(flows, name, flow.queued)
    return True


async def _drop(flows: FlowStore, name: FlowName, queued: QueuedStart) -> None:
    await flows.update_flow(name, lambda now: replace(now, queued=None) if now.queued == queued else now)


async def _note(flows: FlowStore, flow: Flow) -> None:
    """Store the event of a queued start: the process that queued it may have died before."""
    if flow.queued is not None:
        await flows.outbox.put([start_queued(flow.name, flow.queued)])
