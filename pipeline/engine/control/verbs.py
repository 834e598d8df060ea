"""Pausing, resuming and stopping a Movement, or groups of it: each stores a wish, which its workers find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from pipeline.domain.errors import ConfigurationError
from pipeline.domain.ids import FlowName, Label
from pipeline.domain.lifecycle.table import Verb
from pipeline.domain.lifecycle.wish import NO_WISH, Want, Wish
from pipeline.domain.movement import Flow, Movement
from pipeline.domain.planning.next_steps import NextSteps
from pipeline.engine.control.approvals import unapproved
from pipeline.engine.movements.flow_store import FlowStore

_WANTS = {Verb.PAUSE: Want.PAUSE, Verb.STOP: Want.STOP, Verb.RESUME: Want.RUN}


async def wish(
    flows: FlowStore,
    name: FlowName,
    verb: Verb,
    *,
    groups: Sequence[Label] = (),
    who: str = "",
    why: str = "",
    until: datetime | timedelta | None = None,
) -> Movement:
    """Store what a person wants of the latest Movement of a Flow, or of these groups of it; return the Movement.

    `verb` is PAUSE, RESUME or STOP. ConfigurationError, which names the legal verbs, when it is illegal; also when there is
    no Movement or no such group, and when `until` has passed. `until` is a time, or a length from now by the store's clock.
    """
    flow = await flows.read_flow(name)
    latest = await flows.latest(flow)
    if latest is None:
        raise ConfigurationError(f"Flow {name!r} has no Movement yet: there is nothing to {verb.value}.")
    _ensure_groups(flow, latest, groups)
    now = await flows.store_clock.now(name)
    if isinstance(until, timedelta):
        until = now + until
    if until is not None and until <= now:
        raise ConfigurationError(f"{until:%Y-%m-%d %H:%M:%S} UTC has passed; it is {now:%Y-%m-%d %H:%M:%S} UTC now.")
    missing = await unapproved(flows.store, flow)
    wanted = Wish(_WANTS[verb], who, now, why, until)

    def change(movement: Movement) -> Movement:
        if (reason := NextSteps(movement, now, flow, missing).refusal(verb)) is not None:
            raise ConfigurationError(reason)
        if not groups:
            return _with_wish(movement, wanted)
        wishes = dict(movement.group_wishes)
        for label in groups:
            wishes[label] = _changed(wishes.get(label, NO_WISH), wanted)
        kept = {label: one for label, one in wishes.items() if one.want is not Want.RUN}
        return movement if kept == movement.group_wishes else replace(movement, group_wishes=kept, shown=())

    return await flows.update(name, latest.number, change)


def _with_wish(movement: Movement, wanted: Wish) -> Movement:
    """Return the Movement with the wish. To resume it resumes its paused groups, and lets it try its destination again."""
    changed, wishes = _changed(movement.wish, wanted), movement.group_wishes
    if wanted.want is Want.RUN:
        wishes = {label: one for label, one in wishes.items() if one.want is Want.STOP}
    refused = "" if wanted.want is Want.RUN else movement.refused
    if (changed, wishes, refused) == (movement.wish, movement.group_wishes, movement.refused):
        return movement
    return replace(movement, wish=changed, group_wishes=wishes, refused=refused, shown=())


def _changed(before: Wish, wanted: Wish) -> Wish:
    """Return the wish that counts. A repeated one changes nothing, except that a pause gets another end or reason.

    The pause goes on then: it keeps when it began, and its reason or end if no other one is given.
    """
    if wanted.want is Want.RUN:
        return NO_WISH if before.want is Want.PAUSE else before
    if before.want is Want.STOP:
        return before
    if before.want is wanted.want and wanted.until is None and not wanted.why:
        return before
    if before.want is Want.PAUSE and wanted.want is Want.PAUSE:
        why, until = wanted.why or before.why, wanted.until or before.until
        return replace(wanted, when=before.when, why=why, until=until, changed=wanted.when)
    return wanted


def _ensure_groups(flow: Flow, movement: Movement, groups: Sequence[Label]) -> None:
    declared = (rule.label for rule in flow.declared.groups)
    known = sorted({*movement.file_lists, *movement.groups, *movement.group_wishes, *declared})
    unknown = [repr(label) for label in groups if label not in known]
    if unknown:
        has = ", ".join(map(repr, known)) or "no group yet"
        raise ConfigurationError(f"Flow {flow.name!r} has no group {', '.join(unknown)}. It has {has}.")


async def resume_expired(flows: FlowStore, movement: Movement) -> Movement:
    """Take back the pauses of a Movement and of its groups that are over; return the Movement."""
    if not any(wish.until for wish in (movement.wish, *movement.group_wishes.values())):
        return movement
    moment = await flows.store_clock.now(movement.flow)

    def change(now: Movement) -> Movement:
        if now.settled:
            return now
        wish = NO_WISH if now.wish.is_over(moment) else now.wish
        left = {label: one for label, one in now.group_wishes.items() if not one.is_over(moment)}
        if wish is now.wish and len(left) == len(now.group_wishes):
            return now
        return replace(now, wish=wish, group_wishes=left, shown=())

    if change(movement) is movement:
        return movement
    return await flows.update(movement.flow, movement.number, change)
