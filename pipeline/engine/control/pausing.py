"""When a Movement that is to pause has paused: once no live worker has any of it in hand."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import Movement
from pipeline.domain.outbox.transitions import paused
from pipeline.engine.control.early_end import patience
from pipeline.engine.movements.context import Limits
from pipeline.engine.movements.flow_store import FlowStore, WorkerSign


async def note_paused(flows: FlowStore, movement: Movement, signs: Sequence[WorkerSign], limits: Limits) -> bool:
    """Store the event that a Movement has paused, if it is to pause and nothing of it is in hand; return whether that holds.

    Its time is when the last worker gave back what it held, or counted as gone. The first process that sees it stores it.
    """
    if movement.wish.want is not Want.PAUSE:
        return False
    moments = [movement.updated, *(sign.progress.updated for sign in signs if not sign.progress.working)]
    if held := [sign for sign in signs if sign.progress.working]:
        now = await flows.store_clock.now(movement.flow)
        if any(now - sign.stored <= patience(limits) for sign in held):
            return False
        moments += [sign.progress.updated + patience(limits) for sign in held]
    await flows.outbox.note([paused(movement, max(moments))])
    return True
