"""How a Movement begins: a mover begins and exports it, or it is started for workers, one of which claims its export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from shlex import quote

from pipeline.domain.errors import ConfigurationError, ConflictError, LeaseLostError, TransientError
from pipeline.domain.lifecycle.status import Reason
from pipeline.domain.lifecycle.table import Verb
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import NO_CHOICES, Choices, Flow, Movement, Status, Totals
from pipeline.domain.outbox.transitions import last_due
from pipeline.domain.planning.group_counts import counts_before
from pipeline.domain.planning.next_steps import NextSteps
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.retries import compare_and_set

Change = Callable[[Movement], Movement]


class UnwantedError(ConflictError):
    """A Movement cannot be taken up: a person wants it to pause or to stop."""

    def __init__(self, movement: Movement) -> None:
        flow = movement.flow
        paused = movement.wish.want is Want.PAUSE
        remedy = (
            f"Go on with `pipeline resume {quote(flow)}`, or end" if paused else "Wait until it is CANCELLED, or hasten"
        )
        super().__init__(
            f"Movement {movement.number} of Flow {flow!r} is {movement.status}, {movement.wish}. "
            f"{remedy} it with `pipeline stop {quote(flow)}`."
        )
        self.movement = movement


async def begin_movement(flows: FlowStore, flow: Flow, choices: Choices = NO_CHOICES) -> tuple[Movement, bool]:
    """Return the Movement to work on and whether it is resumed: the latest if it has not settled, else a new one.

    Deletes that an earlier attempt was allowed stay allowed. Streams that the Flow itself leaves out are left out.
    UnwantedError when it is to pause or to stop, even if its pause is over: the caller takes that back first.
    """
    choices = choices.of_flow(flow.declared)

    def resume(now: Movement) -> Movement:
        if now.settled:
            return now
        if now.wish.want is not Want.RUN:
            raise UnwantedError(now)
        allowed = tuple(dict.fromkeys((*now.allow_deletes, *choices.allow_deletes)))
        return replace(
            now,
            attempts=now.attempts + 1,
            only=choices.only,
            exclude=choices.exclude,
            allow_deletes=allowed,
            overwrite=now.overwrite or choices.overwrite,
            exported=False,
            refused="",
        )

    def new(movement: Movement) -> Movement:
        return replace(movement, attempts=1, **asdict(choices))

    return await _latest_or_new(flows, flow, resume, new)


async def start_movement(flows: FlowStore, flow: Flow, choices: Choices = NO_CHOICES) -> Movement:
    """Store a new Movement for workers to take up, and return it.

    ConfigurationError, which names the legal verbs, when the latest one has not settled.
    """

    def refuse(now: Movement) -> Movement:
        ensure_may_start(flow, now, flows.clock.now())
        return now

    movement, _ = await _latest_or_new(flows, flow, refuse, partial(_chosen, choices.of_flow(flow.declared)))
    return movement


async def join_movement(flows: FlowStore, flow: Flow) -> Movement:
    """Return the latest Movement if it has not settled, else a new one. UnwantedError when it is to pause or to stop."""

    def join(now: Movement) -> Movement:
        if not now.settled and now.wish.want is not Want.RUN:
            raise UnwantedError(now)
        return now

    movement, _ = await _latest_or_new(flows, flow, join, partial(_chosen, NO_CHOICES.of_flow(flow.declared)))
    return movement


def ensure_may_start(flow: Flow, latest: Movement, now: datetime) -> None:
    """ConfigurationError, which names the legal verbs, when no Movement may be started after this one."""
    if (why := NextSteps(latest, now, flow).refusal(Verb.START)) is not None:
        raise ConfigurationError(why)


def _chosen(choices: Choices, movement: Movement) -> Movement:
    return replace(movement, **asdict(choices))


async def _latest_or_new(flows: FlowStore, flow: Flow, take: Change, new: Change) -> tuple[Movement, bool]:
    """Return the latest Movement, changed by `take`, and True; if it has settled, store and return a `new` one."""
    ensure_not_pruned(flow)

    async def attempt() -> tuple[Movement, bool]:
        latest = await cancel_compaction(flows, flow)
        if latest is not None and not latest.settled:
            await flows.outbox.put(last_due(latest))
            latest = await flows.update(flow.name, latest.number, take)
            if not latest.settled:
                return latest, True
        movement = new(next_movement(flows, flow, latest))
        await flows.create(movement, latest)
        return movement, False

    taken = await compare_and_set(attempt, f"the Movements of Flow {flow.name!r}")
    ensure_not_pruned(await flows.read_flow(flow.name))
    return taken


async def claim_movement(flows: FlowStore, seen: Movement, worker: str) -> Movement:
    """Begin an attempt to export a Movement. From now on, exporters of earlier attempts cannot change it.

    LeaseLostError when it has settled, or another attempt has begun since it was `seen`. TransientError while the Flow
    is pruned: the Movement may have been started meanwhile by a process that has died.
    """

    def claim(now: Movement) -> Movement:
        if now.settled or now.attempts != seen.attempts:
            raise LeaseLostError(
                f"Movement {now.number} of Flow {now.flow!r} is {now.status}, taken up by {now.exporter}."
            )
        if now.wish.want is not Want.RUN:
            raise LeaseLostError(f"Movement {now.number} of Flow {now.flow!r} is {now.status}, {now.wish}.")
        if now.compaction:
            raise LeaseLostError(f"Movement {now.number} of Flow {now.flow!r} is a compaction: it exports nothing.")
        return replace(now, attempts=now.attempts + 1, exporter=worker, exported=False)

    claimed = await flows.update(seen.flow, seen.number, claim)
    ensure_not_pruned(await flows.read_flow(seen.flow))
    return claimed


async def cancel_compaction(flows: FlowStore, flow: Flow) -> Movement | None:
    """Return the latest Movement; if it is a compaction that has not ended, cancel it first.

    The compaction may have died, or may be running. It has changed nothing yet, and gives way to any other work.
    """
    latest = await flows.latest(flow)
    if latest is None or latest.settled or not latest.compaction:
        return latest
    await flows.outbox.put(last_due(latest))  # the process that created it may have died before its first event
    return await end_movement(flows, latest, Status.CANCELLED, Reason.REPLACED)


async def end_movement(
    flows: FlowStore, movement: Movement, outcome: Status, because: Reason, totals: Totals | None = None
) -> Movement:
    """Settle a Movement, unless it has settled; return it. The process that began it may have died before its event.

    `totals` is what was done until then, if anything was.
    """
    moment = flows.clock.now()
    await flows.outbox.note(last_due(movement))

    def end(now: Movement) -> Movement:
        if now.settled:
            return now
        return replace(now.to(outcome, moment, because), totals=totals or now.totals)

    ended = await flows.update(movement.flow, movement.number, end)
    await flows.store_history(ended)
    return ended


def next_movement(flows: FlowStore, flow: Flow, before: Movement | None) -> Movement:
    """Return the Movement after `before`, which continues from its File Lists and states."""
    moment = flows.clock.now()
    return Movement(
        flow=flow.name,
        number=(before.number if before else 0) + 1,
        created=moment,
        updated=moment,
        file_lists=before.file_lists if before else {},
        states=before.states if before else {},
        unfinished=before.unfinished if before else {},
        violated=before.violated if before else (),
        held_deletes=before.held_deletes if before else {},
        scopes=before.scopes if before else {},
        counts=counts_before(before),
        windows=flow.declared.windows,
        flow_created=flow.created,
        last_queued=before.last_queued if before else None,
    )


def ensure_not_pruned(flow: Flow) -> None:
    """Raise TransientError while a process prunes the Flow."""
    if flow.pruning is not None:
        raise TransientError(
            f"Flow {flow.name!r} is being pruned, by {flow.pruning}. Wait for it to end. If that process is gone, "
            f"`pipeline prune {quote(flow.name)} --yes` finishes its work."
        )


def ensure_settled(flow: Flow, latest: Movement | None, purpose: str) -> Movement:
    """Return the latest Movement of the Flow. ConfigurationError when there is none or it has not settled."""
    if latest is None:
        raise ConfigurationError(f"Flow {flow.name!r} has no Movement yet: there is nothing to {purpose}.")
    if not latest.settled:
        name = quote(flow.name)
        ways = {
            Status.PAUSED: f"Resume it with `pipeline resume {name}`, or stop it with `pipeline stop {name}`",
            Status.CANCELLATION_REQUESTED: f"`pipeline stop {name}` says what it waits for",
        }
        way = ways.get(latest.status, f"Wait until it settles, or carry on with `pipeline move --flow {name}`")
        raise ConfigurationError(
            f"Movement {latest.number} of Flow {flow.name!r} is {latest.status}. {way}; then {purpose} again."
        )
    return latest
