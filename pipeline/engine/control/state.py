"""The state of a Movement for people: from its document, and from the signs of its workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from pipeline.domain.lifecycle.table import State, state_of
from pipeline.domain.movement import Movement
from pipeline.engine.control.cancelling import patience
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
