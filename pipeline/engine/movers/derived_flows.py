"""Flows that share: a further destination imports what another Flow has stored, and exports nothing of its own.

Such a Flow has Movements, marks and a status of its own. Each of its Movements is born exported: it names the File Lists
that the other Flow's latest exported Movement names, and all that is left to do is to import and to settle.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

import anyio

from pipeline.codec.documents.message import GroupCompleted, MovementExported, QueueMessage, encode_message
from pipeline.domain.errors import AbsentError, ConfigurationError, TransientError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Flow, Movement, Status
from pipeline.engine.imports.movement_import import MovementImport
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.flow_store import COMPARE_AND_SET_TRIES, FlowStore
from pipeline.engine.movements.progress import ProgressKeeper
from pipeline.engine.movements.settlement import Settlement
from pipeline.ports.clock import Clock
from pipeline.ports.destination import Destination, DestinationSession
from pipeline.ports.event_queue import EventQueue
from pipeline.ports.reporter import MovementBegun


async def derived_flows(flows: FlowStore, name: FlowName) -> Sequence[Flow]:
    """Return the Flows that import what the Flow `name` has stored."""
    return [flow for flow in await flows.list_flows() if flow.origin == name]


async def add_destination(flows: FlowStore, clock: Clock, of: FlowName, name: FlowName, destination: str) -> Flow:
    """Return the Flow `name`, which brings to `destination` what the Flow `of` has stored; created if it is new.

    ConfigurationError when the name, or the destination, is taken.
    """
    origin = await flows.read_flow(of)
    if origin.origin is not None:
        raise ConfigurationError(f"Flow {of!r} shares what Flow {origin.origin!r} has stored: add to that one.")
    taken = {flow.destination: flow.name for flow in [origin, *await derived_flows(flows, of)] if flow.name != name}
    if destination in taken:
        raise ConfigurationError(f"{destination} is the destination of Flow {taken[destination]!r} already.")
    flow = await flows.add(Flow(name, origin.source, destination, clock.now(), origin=of))
    if (flow.origin, flow.destination) != (of, destination):
        raise ConfigurationError(
            f"There is a Flow named {name!r} already, from {flow.source} to {flow.destination}. Choose another --name."
        )
    return flow


async def latest_exported(flows: FlowStore, name: FlowName) -> Movement:
    """Return the latest Movement of a Flow whose export has ended: its File Lists are of one state of the source."""
    latest = await flows.latest(await flows.read_flow(name))
    for number in range(latest.number if latest else 0, 0, -1):
        movement = await flows.read_movement(name, number)
        if movement.exported:
            return movement
    raise ConfigurationError(f"Flow {name!r} has exported nothing yet. Move it first: `pipeline move`.")


async def is_behind(flows: FlowStore, flow: Flow) -> bool:
    """Whether a Flow that shares has something to import: never moved, not settled, or its origin has moved since."""
    if flow.origin is None:
        return False
    with suppress(ConfigurationError, AbsentError):
        origin = await latest_exported(flows, flow.origin)
        latest = await flows.latest(flow)
        return latest is None or latest.status is not Status.SUCCESS or latest.file_lists != origin.file_lists
    return False


async def sync_with_origin(flows: FlowStore, clock: Clock, flow: Flow) -> Movement | None:
    """Return the latest Movement of any Flow. For one that shares it is a new one if its origin has moved since.

    What did not go in is tried again with each Movement of the origin, whether or not that brought anything new, and
    not again and again between them: that takes a person.
    """
    latest = await flows.latest(flow)
    if flow.origin is None or (latest is not None and not latest.settled):
        return latest
    try:
        origin = await latest_exported(flows, flow.origin)
    except ConfigurationError:
        return latest  # it has nothing to share yet
    if latest is not None and latest.file_lists == origin.file_lists:
        tried = latest.origin_movement >= origin.number
        if tried or latest.status is Status.SUCCESS:
            return latest
    return (await begin_derived(flows, clock, flow))[0]


async def begin_derived(flows: FlowStore, clock: Clock, flow: Flow) -> tuple[Movement, bool]:
    """Return the Movement to import and whether it is carried on; either way with the latest File Lists there are."""
    if flow.origin is None:
        raise ConfigurationError(f"Flow {flow.name!r} has a source of its own: `pipeline move` moves it.")
    for _ in range(COMPARE_AND_SET_TRIES):
        origin = await latest_exported(flows, flow.origin)
        latest = await flows.latest(flow)
        if latest is not None and not latest.settled:
            resumed = await flows.update(flow.name, latest.number, partial(_with_lists_of, origin))
            if not resumed.settled:
                return resumed, True
            latest = resumed
        movement = _born_exported(flow, (latest.number if latest else 0) + 1, origin, clock)
        if await flows.create(movement):
            return movement, False
    raise TransientError(f"Movements of Flow {flow.name!r} are begun by others all the time. Try again.")


async def start_derived(flows: FlowStore, clock: Clock, queue: EventQueue, flow: Flow) -> tuple[Movement, bool]:
    """Begin a Movement of a Flow that shares and announce its groups to importers; return it, and whether it is new."""
    movement, resumed = await begin_derived(flows, clock, flow)
    lists = movement.file_lists.items()
    messages: list[QueueMessage] = [GroupCompleted(movement.flow, movement.number, label, key) for label, key in lists]
    messages.append(MovementExported(movement.flow, movement.number))
    await queue.send([encode_message(message) for message in messages])
    return movement, not resumed


def _with_lists_of(origin: Movement, now: Movement) -> Movement:
    if now.settled:
        return now
    return replace(
        now,
        attempts=now.attempts + 1,
        file_lists=origin.file_lists,
        groups=tuple(origin.file_lists),
        origin_movement=origin.number,
    )


def _born_exported(flow: Flow, number: int, origin: Movement, clock: Clock) -> Movement:
    moment = clock.now()
    return Movement(
        flow=flow.name,
        number=number,
        status=Status.IN_PROGRESS,
        created=moment,
        updated=moment,
        attempts=1,
        file_lists=origin.file_lists,
        groups=tuple(origin.file_lists),
        exported=True,
        origin=origin.flow,
        origin_movement=origin.number,
    )


class DerivedMover:
    """Brings the destination of a Flow that shares up to date. Run it again after any interruption: it carries on."""

    def __init__(self, context: EngineContext, flow: FlowName, destination: Destination, worker: str) -> None:
        self._keeper = ProgressKeeper(context.clock, context.reporter, worker)
        limits = replace(context.limits, shard_files=0)  # one process does it all, and needs no messages for it
        self._context = replace(context, reporter=self._keeper, limits=limits)
        self._flow = flow
        self._destination = destination

    async def run(self) -> Movement:
        """Import, and return the Movement settled."""
        flow = await self._context.flows.read_flow(self._flow)
        with unwrap_exception_group():
            async with self._destination.open(flow.marks_namespace) as session:
                movement, resumed = await begin_derived(self._context.flows, self._context.clock, flow)
                self._keeper.report(MovementBegun(movement.flow, movement.number, resumed, tuple(movement.file_lists)))
                return await self._import(movement, session)

    async def _import(self, movement: Movement, session: DestinationSession) -> Movement:
        limiter = anyio.CapacityLimiter(self._context.limits.importers)
        importing = MovementImport(self._context, movement, session, limiter)
        await importing.refresh()
        async with anyio.create_task_group() as watching:
            watching.start_soon(self._watch, movement, name="watch")
            async with anyio.create_task_group() as groups:
                for label, key in movement.file_lists.items():
                    announced = GroupCompleted(movement.flow, movement.number, label, key)
                    groups.start_soon(importing.import_group, announced, name=f"import {label}")
            watching.cancel_scope.cancel()
        lists = tuple(movement.file_lists.values())
        settled = await Settlement(self._context, session).settle(
            movement, lists, importing.marks, importing.failed, self._keeper.figures()
        )
        await self._keeper.write(self._context.store, movement.flow, movement.number)
        return settled

    async def _watch(self, movement: Movement) -> None:
        limits = self._context.limits
        while True:
            await self._keeper.write(self._context.store, movement.flow, movement.number)
            await anyio.sleep(limits.progress_seconds)
            if anyio.current_time() - self._keeper.last_progress > limits.idle_timeout_seconds:
                raise TransientError(
                    f"Nothing has moved for {limits.idle_timeout_seconds:,.0f} seconds. "
                    "Run the command again; it carries on where it stopped."
                )
