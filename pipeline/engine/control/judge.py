"""Judging a Movement that has not settled: whether a pause is over, it is to be cancelled, or its time is up."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import datetime, timedelta

from pipeline.domain.errors import PipelineError
from pipeline.domain.lifecycle.status import Reason
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import Movement
from pipeline.engine.control.early_end import EarlyEnd, Fence, deadlines_of
from pipeline.engine.control.pausing import note_paused
from pipeline.engine.control.verbs import resume_expired
from pipeline.engine.movements.context import Limits
from pipeline.engine.movements.flow_store import FlowStore, WorkerSign
from pipeline.log_events import log


class Judge:
    """Any worker may judge any Movement: only dates that the store has given count."""

    def __init__(self, flows: FlowStore, limits: Limits, fence: Fence | None) -> None:
        self._flows = flows
        self._limits = limits
        self._early_end = EarlyEnd(flows, limits, fence)

    async def judge(self, movement: Movement, signs: Sequence[WorkerSign]) -> Movement | None:
        """Return the Movement as it is after what was due has been done; None when it has settled."""
        if movement.wish.want is Want.STOP:
            return await self._ended(movement, self._early_end.cancel(movement))
        await note_paused(self._flows, movement, signs, self._limits)  # also of a pause that is over
        movement = await resume_expired(self._flows, movement)
        now = await self._flows.store_clock.now(movement.flow)
        because = await self._overdue(movement, signs, now)
        if because is not None:
            grace = timedelta(seconds=deadlines_of(movement, self._limits).stop_grace_seconds)
            is_over = await self._overdue(movement, signs, now - grace) is not None
            return await self._ended(movement, self._early_end.time_out(movement, because, is_over=is_over))
        return None if movement.settled else movement

    async def _ended(self, movement: Movement, ending: Awaitable[Movement]) -> Movement | None:
        try:
            movement = await ending
        except PipelineError as error:
            log.warning("movement_not_fenced", flow=movement.flow, movement=movement.number, reason=str(error))
        return None if movement.settled else movement

    async def _overdue(self, movement: Movement, signs: Sequence[WorkerSign], now: datetime) -> Reason | None:
        deadlines = deadlines_of(movement, self._limits)
        last = max((sign.moved for sign in signs), default=movement.created)
        is_still = not movement.attempts or movement.wish.want is Want.PAUSE or movement.groups_that(Want.PAUSE)
        because = deadlines.overdue(created=movement.created, last_sign=None if is_still else last, now=now)
        if because is not Reason.NO_PROGRESS:
            return because
        changed: datetime = await self._flows.modified(movement)  # a claim, a group, or a wish that was taken back
        return deadlines.overdue(created=movement.created, last_sign=max(last, changed), now=now)
