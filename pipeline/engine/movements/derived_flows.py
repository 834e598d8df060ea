"""Derived Flows: a derived Flow imports what its origin has stored into another destination, and exports nothing.

A derived Flow has its own Movements, marks and status. Each of its Movements is created as exported: it names the File
Lists of the origin's latest exported Movement, so only the import and the settlement are left.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from shlex import quote

from pipeline.codec.documents.message import GroupCompleted, MovementExported, QueueMessage, encode_message
from pipeline.domain.errors import AbsentError, ConfigurationError
from pipeline.domain.flows.declaration import NOTHING_DECLARED, Declaration
from pipeline.domain.ids import FlowName
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import Flow, Movement, Status
from pipeline.domain.outbox.transitions import last_due
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.lifecycle import UnwantedError
from pipeline.engine.movements.retries import LostRaceError, compare_and_set
from pipeline.ports.clock import Clock
from pipeline.ports.event_queue import EventQueue


async def derived_flows(flows: FlowStore, origin: FlowName) -> Sequence[Flow]:
    """Return the Flows derived from `origin`. All Flows are read only if an earlier release made the origin."""
    known = (await flows.read_flow(origin)).derived
    found = await flows.list_flows() if known is None else await flows.read_flows(known)
    return [flow for flow in found if flow.origin == origin]


async def add_destination(
    flows: FlowStore,
    clock: Clock,
    of: FlowName,
    name: FlowName,
    destination: str,
    declared: Declaration = NOTHING_DECLARED,
) -> Flow:
    """Return the Flow `name`, derived from the Flow `of`; create it, with what is `declared`, if it does not exist.

    ConfigurationError when the name or the destination is in use.
    """
    origin = await flows.read_flow(of)
    if origin.origin is not None:
        raise ConfigurationError(
            f"Flow {of!r} itself imports what Flow {origin.origin!r} has stored. Add the destination to {origin.origin!r}."
        )
    if origin.rebuilt:
        raise ConfigurationError(
            f"Flow {of!r} was rebuilt after objects were taken away, so its history is not complete. Move to {destination} "
            "with a Flow of its own: `pipeline move --flow NAME`."
        )
    others = await derived_flows(flows, of)
    taken = {flow.destination: flow.name for flow in [origin, *others] if flow.name != name}
    if destination in taken:
        raise ConfigurationError(f"{destination} is already the destination of Flow {taken[destination]!r}.")
    known = {name, *(flow.name for flow in others)}
    await flows.update_flow(
        of, lambda now: replace(now, derived=tuple(sorted(known if now.derived is None else {*now.derived, name})))
    )
    declared = replace(declared, groups=origin.declared.groups)
    flow = await flows.add(Flow(name, origin.source, destination, clock.now(), origin=of, declared=declared))
    if (flow.origin, flow.destination) != (of, destination):
        raise ConfigurationError(
            f"A Flow named {name!r} exists already, from {flow.source} to {flow.destination}. Choose another --name."
        )
    return flow


async def latest_exported(flows: FlowStore, name: FlowName) -> Movement:
    """Return the latest exported Movement of a Flow. Its File Lists describe one state of the source."""
    latest = await flows.latest(await flows.read_flow(name))
    for number in range(latest.number if latest else 0, 0, -1):
        movement = await flows.read_movement(name, number)
        if movement.exported:
            return movement
    raise ConfigurationError(
        f"Flow {name!r} has exported nothing yet. Move it first: `pipeline move --flow {quote(name)}`."
    )


async def is_behind(flows: FlowStore, flow: Flow) -> bool:
    """Return whether a derived Flow has something to import.

    It has if it was never moved, if its latest Movement is not a SUCCESS, or if its origin has exported since.
    """
    if flow.origin is None:
        return False
    with suppress(ConfigurationError, AbsentError):
        origin = await latest_exported(flows, flow.origin)
        latest = await flows.latest(flow)
        return latest is None or latest.status is not Status.SUCCESS or latest.file_lists != origin.file_lists
    return False


async def sync_with_origin(flows: FlowStore, clock: Clock, flow: Flow) -> Movement | None:
    """Return a Flow's latest Movement; for a derived Flow, begin a new one if its origin has exported since.

    A Movement that ended INCOMPLETE or worse is repeated once for each Movement of the origin, not continuously:
    between them, a person must act.
    """
    latest = await flows.latest(flow)
    if flow.origin is None or (latest is not None and not latest.settled):
        return latest
    try:
        origin = await latest_exported(flows, flow.origin)
    except ConfigurationError:
        return latest  # the origin has exported nothing yet
    if latest is not None and latest.file_lists == origin.file_lists:
        tried = latest.origin_movement >= origin.number
        if tried or latest.status is Status.SUCCESS:
            return latest
    return (await begin_derived(flows, clock, flow))[0]


async def begin_derived(
    flows: FlowStore, clock: Clock, flow: Flow, *, overwrite: bool = False
) -> tuple[Movement, bool]:
    """Return the Movement to import, with the origin's latest File Lists, and whether it is resumed.

    `overwrite` is as of `Choices`.
    Its number is decided before the origin is read: so once a Movement with certain File Lists exists, no later one has
    earlier lists, which may be pruned. UnwantedError when it is to pause or to stop.
    """
    if flow.origin is None:
        raise ConfigurationError(
            f"Flow {flow.name!r} has a source of its own. Move it with `pipeline move --flow {quote(flow.name)}`."
        )
    origin_name = flow.origin

    async def attempt() -> tuple[Movement, bool]:
        latest = await flows.latest(flow)
        origin = await latest_exported(flows, origin_name)
        if latest is not None and not latest.settled:
            await flows.outbox.put(last_due(latest))
            latest = await flows.update(flow.name, latest.number, partial(_with_lists_of, origin, overwrite))
            if latest.settled:
                raise LostRaceError(f"Movement {latest.number} of Flow {flow.name!r} has settled meanwhile.")
            return latest, True
        movement = replace(_new_movement(flow, latest, origin, clock), overwrite=overwrite)
        await flows.create(movement, latest)
        return movement, False

    return await compare_and_set(attempt, f"the Movements of Flow {flow.name!r}")


async def start_derived(
    flows: FlowStore, clock: Clock, queue: EventQueue, flow: Flow, *, overwrite: bool = False
) -> tuple[Movement, bool]:
    """Begin a Movement of a derived Flow and announce its groups to importers; return it, and whether it is new."""
    movement, resumed = await begin_derived(flows, clock, flow, overwrite=overwrite)
    lists = movement.file_lists.items()
    messages: list[QueueMessage] = [GroupCompleted(movement.flow, movement.number, label, key) for label, key in lists]
    messages.append(MovementExported(movement.flow, movement.number))
    await queue.send([encode_message(message) for message in messages])
    return movement, not resumed


def _with_lists_of(origin: Movement, overwrite: bool, now: Movement) -> Movement:
    if now.settled:
        return now
    if now.wish.want is not Want.RUN:
        raise UnwantedError(now)
    return replace(
        now,
        attempts=now.attempts + 1,
        overwrite=now.overwrite or overwrite,
        file_lists=origin.file_lists,
        groups=tuple(origin.file_lists),
        origin_movement=origin.number,
        omitted=origin.omitted,
        rejections=origin.rejections,
        held_deletes=origin.held_deletes,
        scopes=origin.scopes,
        refused="",
    )


def _new_movement(flow: Flow, latest: Movement | None, origin: Movement, clock: Clock) -> Movement:
    moment = clock.now()
    return Movement(
        flow=flow.name,
        number=(latest.number if latest else 0) + 1,
        violated=latest.violated if latest else (),
        counts=latest.counts if latest else {},
        created=moment,
        updated=moment,
        attempts=1,
        file_lists=origin.file_lists,
        groups=tuple(origin.file_lists),
        exported=True,
        origin=origin.flow,
        origin_movement=origin.number,
        omitted=origin.omitted,
        rejections=origin.rejections,
        held_deletes=origin.held_deletes,
        scopes=origin.scopes,
        windows=flow.declared.windows,
        flow_created=flow.created,
    )
