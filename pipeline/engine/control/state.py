"""The state of a Movement for people, and how far it is: from its document, and from the signs of its workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from pipeline.codec.documents.progress import Progress
from pipeline.domain.lifecycle.table import State, state_of
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import Movement
from pipeline.domain.progress.shown import ShownProgress
from pipeline.engine.control.early_end import patience
from pipeline.engine.movements.context import Limits
from pipeline.engine.movements.flow_store import WorkerSign

LEASES_WITHOUT_A_SIGN = 2
"""Nobody works on a Movement that no worker holds and that has shown no sign for this many leases."""


def movement_state(movement: Movement, signs: Sequence[WorkerSign], limits: Limits, now: datetime) -> State:
    """Return the state of a Movement at `now`, a time that is not before the latest date in the store."""
    alive = [sign for sign in signs if now - sign.stored <= patience(limits)]
    working = [sign for sign in alive if sign.progress.working]
    last = max((movement.updated, *(sign.stored for sign in signs)))
    facts = replace(
        movement.facts(now),
        in_hand=sum(sign.progress.in_hand for sign in working),
        working=bool(working),
        silent=[sign.progress.worker for sign in signs if sign.progress.working and sign not in alive],
        silent_seconds=max((now - last).total_seconds(), 0.0),
        patience_seconds=LEASES_WITHOUT_A_SIGN * limits.visibility_seconds,
    )
    return state_of(facts, now)


def shown_progress(
    movement: Movement, signs: Sequence[WorkerSign], limits: Limits, now: datetime
) -> ShownProgress | None:
    """Return how far a Movement under way is at `now`; None if no process has said that, as it does not move it alone.

    The time left is that of the process that works on it now. A process that is gone leaves its percent behind.
    """
    said = sorted((sign for sign in signs if sign.progress.percent), key=lambda sign: sign.stored)
    if movement.settled or not said:
        return None
    percent = max(sign.progress.percent for sign in said)
    current = at_work(said, limits, now)
    groups = (current or said[-1]).progress.groups
    paused = tuple(label for label in movement.groups_that(Want.PAUSE) if label not in groups or not groups[label].done)
    wish = movement.wish.at(now)
    if current is None or paused or wish is not Want.RUN:
        return ShownProgress(percent, None, 0.0, bool(paused) or wish is Want.PAUSE, paused)
    return ShownProgress(percent, current.progress.left, current.progress.stalled_seconds)


def at_work(signs: Sequence[WorkerSign], limits: Limits, now: datetime) -> WorkerSign | None:
    """Return the sign of the process that moves a whole Movement alone at `now`; None if none does.

    Of two that seem to, one was killed: the other has stored its sign later.
    """
    working = [sign for sign in signs if sign.progress.percent and sign.progress.working]
    latest = max(working, key=lambda sign: sign.stored, default=None)
    return latest if latest is not None and now - latest.stored <= patience(limits) else None


def without_the_gone(signs: Sequence[WorkerSign], limits: Limits, now: datetime) -> Sequence[Progress]:
    """Return the progress of each worker, without the time left of those that do not work any more.

    Beside a process that works, the others have no percent, either.
    """
    current = at_work(signs, limits, now)
    return [
        sign.progress
        if sign is current
        else replace(sign.progress, left=None, stalled_seconds=0.0, percent=0 if current else sign.progress.percent)
        for sign in signs
    ]
