"""`pipeline pause`, `resume` and `stop`: each stores a wish; workers and movers find it within seconds."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import anyio

from pipeline.assembly.connectors import flow_destination
from pipeline.assembly.runtime import Runtime, limits, open_runtime
from pipeline.codec.documents.message import GroupCompleted, MovementExported, MovementStarted, encode_message
from pipeline.domain.errors import PipelineError
from pipeline.domain.ids import FlowName, Label
from pipeline.domain.lifecycle.status import Reason
from pipeline.domain.lifecycle.table import State, Verb
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import Movement
from pipeline.domain.planning.next_steps import NextSteps
from pipeline.engine.control import verbs
from pipeline.engine.control.approvals import unapproved
from pipeline.engine.control.early_end import EarlyEnd, fence_by
from pipeline.engine.control.pausing import note_paused
from pipeline.engine.control.queued import drop_queued
from pipeline.engine.control.state import movement_state
from pipeline.engine.movements.file_lists import listed_groups
from pipeline.settings import Settings, load_settings

STOP_SECONDS = 15.0
"""How long `stop` waits for the end of what is in hand. Workers bring it to its end afterwards."""
_LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Wished:
    """A Movement of which something was wished, and its state now. `unqueued`: a queued start was taken back.

    `unfenced` says why the destination of a Movement that is to stop could not be fenced; empty if nothing has hindered it.
    """

    movement: Movement
    state: State
    unqueued: bool = False
    unfenced: str = ""


def whoami() -> str:
    """Return the name of the person at this computer."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a user without a name
        return socket.gethostname()


async def pause(
    flow: str,
    *,
    groups: Sequence[str] = (),
    until: datetime | timedelta | None = None,
    reason: str = "",
    who: str | None = None,
    settings: Settings | None = None,
) -> Wished:
    """Pause the latest Movement of a Flow, or these groups of it, until it is resumed or the time `until` comes.

    What is in hand ends; nothing new is begun. A length as `until` counts from now by the clock of the store.
    """
    return await _wish(Verb.PAUSE, flow, groups, until=until, why=reason, who=who, settings=settings)


async def resume(
    flow: str, *, groups: Sequence[str] = (), who: str | None = None, settings: Settings | None = None
) -> Wished:
    """Resume the latest Movement of a Flow with all its groups, or these groups alone, and announce it to workers."""
    return await _wish(Verb.RESUME, flow, groups, who=who, settings=settings)


async def stop(
    flow: str,
    *,
    groups: Sequence[str] = (),
    reason: str = "",
    who: str | None = None,
    wait_seconds: float = STOP_SECONDS,
    settings: Settings | None = None,
) -> Wished:
    """Stop the latest Movement of a Flow, or these groups of it. What is imported stays. A queued start is taken back.

    The Movement is CANCELLED at once if nothing is in hand. Otherwise this waits for up to `wait_seconds`; then workers
    bring it to its end.
    """
    return await _wish(Verb.STOP, flow, groups, why=reason, who=who, wait_seconds=wait_seconds, settings=settings)


async def _wish(
    verb: Verb,
    flow: str,
    groups: Sequence[str],
    *,
    settings: Settings | None,
    who: str | None,
    why: str = "",
    until: datetime | timedelta | None = None,
    wait_seconds: float = 0.0,
) -> Wished:
    async with open_runtime(settings or load_settings()) as runtime:
        labels, name, who = [Label(group) for group in groups], FlowName(flow), who or whoami()
        unqueued = verb is Verb.STOP and not groups and await drop_queued(runtime.flows, name, who)
        if unqueued:
            latest = await runtime.flows.latest(await runtime.flows.read_flow(name))
            if latest is not None and latest.settled:
                return Wished(latest, await _state(runtime, latest), unqueued=True)
        if verb is Verb.RESUME and (before := await runtime.flows.latest(await runtime.flows.read_flow(name))):
            await _note_paused(runtime, before)  # nobody may have worked on it since
        movement = await verbs.wish(runtime.flows, name, verb, groups=labels, who=who, why=why, until=until)
        if verb is Verb.PAUSE:
            await _note_paused(runtime, movement)
        unfenced = ""
        if verb is Verb.STOP and not groups:
            movement, unfenced = await cancelled(runtime, movement, wait_seconds)
        if verb is not Verb.PAUSE and not movement.settled:
            await announce(runtime, movement)
        return Wished(movement, await _state(runtime, movement), unqueued, unfenced)


async def _note_paused(runtime: Runtime, movement: Movement) -> None:
    if not movement.settled and movement.wish.want is Want.PAUSE:
        signs = await runtime.flows.read_signs(movement.flow, movement.number)
        await note_paused(runtime.flows, movement, signs, limits(runtime.settings))


async def _state(runtime: Runtime, movement: Movement) -> State:
    signs = () if movement.settled else await runtime.flows.read_signs(movement.flow, movement.number)
    flow, now = await runtime.flows.read_flow(movement.flow), await runtime.flows.store_clock.now(movement.flow)
    steps = NextSteps(movement, now, flow, await unapproved(runtime.store, flow))
    return movement_state(steps, signs, limits(runtime.settings))


def early_end(runtime: Runtime) -> EarlyEnd:
    """Return what ends Movements early, with their destinations fenced."""
    fence = fence_by(lambda flow: flow_destination(flow, runtime.store))
    return EarlyEnd(runtime.flows, limits(runtime.settings), fence)


async def cancelled(
    runtime: Runtime, movement: Movement, wait_seconds: float, because: Reason = Reason.STOPPED
) -> tuple[Movement, str]:
    """Return a Movement that is to stop, CANCELLED if it could be brought to its end in time; and what hindered its fence."""
    ending = early_end(runtime)
    deadline = anyio.current_time() + wait_seconds
    while not movement.settled:
        try:
            with anyio.fail_after(
                max(deadline - anyio.current_time(), _LOOK_SECONDS)
            ):  # a fence may have to wait for its app
                movement = await ending.cancel(movement, because)
        except TimeoutError:
            movement = await runtime.flows.read_movement(movement.flow, movement.number)
            return movement, "" if movement.settled else "its destination does not answer"
        except PipelineError as error:
            return movement, str(error)
        if movement.settled or anyio.current_time() >= deadline:
            break
        await anyio.sleep(_LOOK_SECONDS)
        movement = await runtime.flows.read_movement(movement.flow, movement.number)
    return movement, ""


async def announce(runtime: Runtime, movement: Movement) -> None:
    """Announce to workers what is left to do of a Movement that they began. A mover watches its Movement itself."""
    if movement.attempts and not movement.exporter and movement.origin is None:
        return
    flow, number = movement.flow, movement.number
    if not movement.exported:
        async with runtime.exports() as exports:
            await exports.send([encode_message(MovementStarted(flow, number))])
    listed = sorted(listed_groups(movement).items())
    messages = [encode_message(GroupCompleted(flow, number, label, key)) for label, key in listed]
    if movement.exported:
        messages.append(encode_message(MovementExported(flow, number)))
    if messages:
        async with runtime.imports() as imports:
            await imports.send(messages)
