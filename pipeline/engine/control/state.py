"""The state of a Movement for people, and how far it is: from its document, and from the signs of its workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from pipeline.codec.documents.progress import Progress
from pipeline.domain.ids import StreamName
from pipeline.domain.lifecycle.table import State, state_of
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import Movement
from pipeline.domain.planning.next_steps import NextSteps
from pipeline.domain.progress.fleet import GroupWork, fleet_percent, fleet_time_left
from pipeline.domain.progress.shown import ShownProgress
from pipeline.engine.control.early_end import deadlines_of, patience
from pipeline.engine.movements.context import Limits
from pipeline.engine.movements.flow_store import WorkerSign

LEASES_WITHOUT_A_SIGN = 2
"""Nobody works on a Movement that no worker holds and that has shown no sign for this many leases."""


def movement_state(steps: NextSteps, signs: Sequence[WorkerSign], limits: Limits) -> State:
    """Return the state of the Movement of `steps`, at a time that is not before the latest date in the store."""
    movement, now = steps.movement, steps.now
    alive = [sign for sign in signs if now - sign.stored <= patience(limits)]
    working = [sign for sign in alive if sign.progress.working]
    deadlines = deadlines_of(movement, limits)
    last = max((movement.updated, *(sign.stored for sign in signs)))
    facts = replace(
        steps.facts,
        in_hand=sum(sign.progress.in_hand for sign in working),
        working=bool(working),
        silent=[sign.progress.worker for sign in signs if sign.progress.working and sign not in alive],
        gone=_gone(movement, signs),
        silent_seconds=max((now - last).total_seconds(), 0.0),
        patience_seconds=LEASES_WITHOUT_A_SIGN * limits.visibility_seconds,
        life_ends=movement.created + timedelta(seconds=deadlines.life_seconds),
        grace_ends=(movement.wish.when or movement.updated) + timedelta(seconds=deadlines.stop_grace_seconds),
    )
    return state_of(facts, now)


def _gone(movement: Movement, signs: Sequence[WorkerSign]) -> str:
    """Return the process that moved all of a Movement alone and has let go of it; "" if that is not known.

    What is stored of the Movement after that sign, such as that it is resumed, may mean that a process takes it up.
    """
    latest = max(signs, key=lambda sign: sign.stored, default=None)
    if latest is None or latest.progress.working or movement.exporter:
        return ""
    if not (latest.progress.alone or latest.progress.percent):  # earlier releases store the percent alone
        return ""
    return latest.progress.worker if movement.wish.want is Want.RUN and latest.stored >= movement.updated else ""


def shown_progress(
    movement: Movement, signs: Sequence[WorkerSign], limits: Limits, now: datetime
) -> ShownProgress | None:
    """Return how far a Movement under way is at `now`; None if that is not known.

    A process that moves it alone says that itself: the time left is that of the one that works on it now, and one that is
    gone leaves its percent behind. Of a Movement of workers it is known once it is exported.
    """
    said = sorted((sign for sign in signs if sign.progress.percent), key=lambda sign: sign.stored)
    if movement.settled:
        return None
    if not said:
        return _fleet_progress(movement, signs, limits, now) if movement.exporter else None
    percent = max(sign.progress.percent for sign in said)
    current = at_work(said, limits, now)
    groups = (current or said[-1]).progress.groups
    paused = tuple(label for label in movement.groups_that(Want.PAUSE) if label not in groups or not groups[label].done)
    wish = movement.wish.at(now)
    if current is None or paused or wish is not Want.RUN:
        return ShownProgress(percent, None, 0.0, bool(paused) or wish is Want.PAUSE, paused)
    return ShownProgress(percent, current.progress.left, current.progress.stalled_seconds)


def _fleet_progress(
    movement: Movement, signs: Sequence[WorkerSign], limits: Limits, now: datetime
) -> ShownProgress | None:
    workers = [sign.progress for sign in signs]
    work, passes = _group_works(movement, workers), _passes(workers)
    if (percent := fleet_percent(work, passes)) is None:
        return None
    paused = movement.groups_that(Want.PAUSE)
    wish = movement.wish.at(now)
    if paused or wish is not Want.RUN:
        return ShownProgress(percent, None, 0.0, bool(paused) or wish is Want.PAUSE, paused)
    alive = [sign.progress for sign in signs if now - sign.stored <= patience(limits)]
    at_once = sum(min(worker.in_hand, limits.importers) for worker in alive if worker.working)
    return ShownProgress(percent, fleet_time_left(work, at_once, passes))


def _group_works(movement: Movement, workers: Sequence[Progress]) -> Sequence[GroupWork]:
    """Return what is to import of each group that is not stopped; nothing while not all of that is known."""
    found: list[GroupWork] = []
    for label in movement.file_lists if movement.exported else ():
        before, added = movement.counts.get(label), movement.added.get(label)
        if before is None or before.imported is None:
            return ()
        groups = [worker.groups[label] for worker in workers if label in worker.groups]
        done = sum(group.files_imported + group.files_failed for group in groups)
        pending = before.listed - before.imported + (added.files if added else 0)
        if not movement.leaves(label):
            found.append(GroupWork(pending, done, sum(group.import_seconds for group in groups)))
    return found


def _passes(workers: Sequence[Progress]) -> float:
    """Return how often the destination goes over a row at the end, on average."""
    if not any(worker.finishes for worker in workers):
        return 0.0
    passes, rows = dict[StreamName, int](), dict[StreamName, int]()
    for worker in sorted(workers, key=lambda one: one.updated):
        passes |= worker.passes
        for group in worker.groups.values():
            rows |= group.rows_expected
    total = sum(rows.values())
    return sum(passes.get(stream, 0) * count for stream, count in rows.items()) / total if total else 0.0


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
