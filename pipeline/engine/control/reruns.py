"""Running a settled Movement again: a new one that names the original, and moves what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from shlex import quote

from pipeline.domain.errors import AbsentError, ConfigurationError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, FlowName
from pipeline.domain.lifecycle.deadlines import may_rerun
from pipeline.domain.lifecycle.status import Status
from pipeline.domain.lifecycle.table import Verb
from pipeline.domain.movement import Flow, Movement
from pipeline.domain.planning.compaction import applicable
from pipeline.engine.control.approvals import next_steps
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.lifecycle import ensure_not_pruned, next_movement
from pipeline.ports.destination import Mark


@dataclass(frozen=True, slots=True)
class Missing:
    """How many Event Files a Flow has listed, and how many of them the destination has; None if it did not answer.

    `exported`: no more follow of what the Movement was to move.
    """

    listed: int
    imported: int | None
    exported: bool = True

    def __str__(self) -> str:
        more = "" if self.exported else "; its export had not ended, so that more are to follow"
        if self.imported is None:
            return f"{self.listed:,} Event Files are listed; the destination did not say which of them it has{more}"
        left = self.listed - self.imported
        return f"{self.imported:,} of {self.listed:,} Event Files are imported, {left:,} to do{more}"

    @classmethod
    def of(
        cls, lists: Sequence[Sequence[FileEntry]], marks: Mapping[EventFileId, Mark] | None, *, exported: bool
    ) -> Missing:
        """Count the entries of File Lists."""
        needed = [entry for entries in lists for entry in applicable(entries, marks or {})]
        return cls(len(needed), None if marks is None else sum(entry.id in marks for entry in needed), exported)


async def latest_for(flows: FlowStore, name: FlowName, verb: Verb) -> tuple[Flow, Movement]:
    """Return a Flow and its latest Movement, after which this verb is legal. ConfigurationError names the legal verbs."""
    flow = await flows.read_flow(name)
    ensure_not_pruned(flow)
    latest = await flows.latest(flow)
    if latest is None:
        raise ConfigurationError(f"Flow {name!r} has no Movement yet: there is nothing to {verb}. Move it first.")
    if (reason := (await next_steps(flows, flow, latest, await flows.store_clock.now(name))).refusal(verb)) is not None:
        raise ConfigurationError(reason)
    return flow, latest


async def movement_to_rerun(flows: FlowStore, name: FlowName, number: int | None) -> tuple[Movement, Movement]:
    """Return the Movement to run again, by default the latest, and the latest one.

    ConfigurationError when it may not be run again: it did not end as it should not, another has moved what it left, it was
    too long ago, or the Flow does not allow it. AbsentError when there is none of this number.
    """
    flow = await flows.read_flow(name)
    ensure_not_pruned(flow)
    latest = await flows.latest(flow)
    if flow.origin is not None and (latest is None or latest.settled):
        raise ConfigurationError(
            f"Flow {name!r} imports what Flow {flow.origin!r} has stored. "
            f"`pipeline flow import {quote(name)}` imports what is missing."
        )
    if latest is None:
        raise ConfigurationError(f"Flow {name!r} has no Movement yet: there is nothing to run again. Move it first.")
    wanted = latest.number if number is None else number
    if not 0 < wanted <= latest.number:
        raise AbsentError(f"Flow {name!r} has no Movement {wanted}; its latest is {latest.number}.")
    movement = latest if wanted == latest.number else await flows.read_movement(name, wanted)
    for one in (movement, latest):
        if one is not movement and one.compaction and one.status is Status.SUCCESS:
            continue  # it has moved nothing
        reason = (await next_steps(flows, flow, one, await flows.store_clock.now(name))).refusal(Verb.RERUN)
        if reason is not None:
            raise ConfigurationError(_moved_since(one, movement) if one.status is Status.SUCCESS else reason)
    if movement.compaction:
        raise ConfigurationError(
            f"Movement {wanted} of Flow {name!r} is a compaction. `pipeline compact {quote(name)}` repeats it."
        )
    for between in range(wanted + 1, latest.number):
        later = await flows.read_movement(name, between)
        if later.status is Status.SUCCESS and not later.compaction:
            raise ConfigurationError(_moved_since(later, movement))
    await _ensure_in_time(flows, flow, movement)
    return movement, latest


def _moved_since(later: Movement, movement: Movement) -> str:
    flow, name = movement.flow, quote(movement.flow)
    if later.number == movement.number:
        return (
            f"Movement {movement.number} of Flow {flow!r} is SUCCESS: there is nothing to run again. `pipeline start {name}` or "
            f"`pipeline move --flow {name}` moves what has changed since; `pipeline reload {name} STREAM` moves all of a stream."
        )
    return (
        f"Movement {later.number} of Flow {flow!r} is SUCCESS: it has moved what Movement {movement.number} left. "
        f"`pipeline start {name}` or `pipeline move --flow {name}` moves what has changed since."
    )


async def _ensure_in_time(flows: FlowStore, flow: Flow, movement: Movement) -> None:
    windows, name = movement.windows or flow.declared.windows, flow.name
    instead = (
        f"`pipeline start {quote(name)}` or `pipeline move --flow {quote(name)}` begins a new Movement, "
        "which moves that as well."
    )
    if not (windows.reruns and flow.declared.windows.reruns):
        raise ConfigurationError(
            f"Flow {name!r} declares that its Movements are not run again (reruns = false). {instead}"
        )
    settled = await _original_settled(flows, movement)
    days = "a day" if windows.rerun_days == 1 else f"{windows.rerun_days} days"
    if not may_rerun(settled, await flows.store_clock.now(name), windows.rerun_days):
        raise ConfigurationError(
            f"Movement {movement.original or movement.number} of Flow {name!r} settled at {settled:%Y-%m-%d %H:%M} UTC, more "
            f"than {days} ago, so it is not run again. {instead}"
        )


async def _original_settled(flows: FlowStore, movement: Movement) -> datetime:
    """Return when the Movement that is run again first settled, by the clock of the store."""
    if movement.original_settled is not None:
        return movement.original_settled
    first = movement if not movement.original else await flows.read_movement(movement.flow, movement.original)
    return first.updated if first.retried else await flows.modified(first)


async def create_rerun(flows: FlowStore, movement: Movement, latest: Movement) -> Movement:
    """Create the Movement that runs `movement` again, with its choices; return it, for a mover or a worker to take up."""
    flow = await flows.read_flow(movement.flow)
    rerun = replace(
        next_movement(flows, flow, latest),
        original=movement.original or movement.number,
        original_settled=await _original_settled(flows, movement),
        **asdict(movement.choices),
    )
    await flows.create(rerun, latest)
    return rerun
