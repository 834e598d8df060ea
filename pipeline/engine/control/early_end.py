"""Ends Movements of which not everything is accounted for: those that are to stop, those whose time is up, those that fail.

Every process claims a Movement before it imports anything of it, and reads the wish after that. So without a claim that is
not released, nobody imports. A process that was killed, or is stopped, keeps its claim and is silent. Nothing tells the
one from the other, so the destination is fenced before the end is stored: whatever wakes up later cannot commit. What is
imported by then is counted behind the fence.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from pipeline.domain.errors import PipelineError
from pipeline.domain.lifecycle.deadlines import Deadlines
from pipeline.domain.lifecycle.status import Reason, Status
from pipeline.domain.movement import Flow, Movement
from pipeline.engine.control.current_totals import Marks, read_totals
from pipeline.engine.movements.context import Limits
from pipeline.engine.movements.flow_store import FlowStore, WorkerSign
from pipeline.engine.movements.lifecycle import end_movement
from pipeline.engine.movements.progress import MISSED_UPDATES
from pipeline.log_events import log
from pipeline.ports.destination import Destination, DestinationSession, Fencing, FlowFencing


@dataclass(frozen=True, slots=True)
class Fenced:
    """What came of a fence: whether it `holds`, and what was imported before it. `marks` are None if that is not known."""

    holds: bool
    marks: Marks | None = None


Fence = Callable[[Flow, int], Awaitable[Fenced]]
"""Fences the destination of a Flow against this Movement and earlier ones."""


def deadlines_of(movement: Movement, limits: Limits) -> Deadlines:
    """Return the deadlines of a Movement."""
    return Deadlines.of(
        movement.windows,
        idle_timeout_seconds=limits.idle_timeout_seconds,
        lifetime_seconds=limits.lifetime_seconds,
    )


def fence_by(connect: Callable[[Flow], Destination]) -> Fence:
    """Return a Fence that connects to the destination of a Flow, and opens it if it cannot be fenced otherwise."""

    async def fence(flow: Flow, movement: int) -> Fenced:
        destination = connect(flow)
        if isinstance(destination, FlowFencing):
            return Fenced(True, await destination.fence_flow(flow.marks_namespace, movement))
        async with destination.open(flow.marks_namespace) as session:
            return await fence_session(session, flow, movement)

    return fence


async def fence_session(session: DestinationSession, flow: Flow, movement: int) -> Fenced:
    """Fence an open destination of the Flow."""
    holds = isinstance(session, Fencing)
    if isinstance(session, Fencing):
        await session.fence(movement)
    return Fenced(holds, await session.marks())


def patience(limits: Limits) -> timedelta:
    """Return how long a worker that holds work may be silent before it counts as gone."""
    return timedelta(seconds=MISSED_UPDATES * limits.progress_seconds)


class EarlyEnd:
    """Ends Movements early. Without `fence`, only those of which nothing is in hand.

    An error of the fence passes, and the Movement goes on: it is tried again later. Once the grace of the Flow is over, a
    Movement that is to stop or whose time is up ends without a fence.
    """

    def __init__(self, flows: FlowStore, limits: Limits, fence: Fence | None = None) -> None:
        self._flows = flows
        self._limits = limits
        self._fence = fence

    async def cancel(self, movement: Movement, because: Reason = Reason.STOPPED) -> Movement:
        """Return a Movement that is to stop, CANCELLED if that may be. It is fenced even if nothing is in hand: a commit
        whose answer was lost may still be on its way."""
        signs, fenced = await self._flows.read_signs(movement.flow, movement.number), None
        if signs and self._fence is not None:
            now = await self._flows.store_clock.now(movement.flow)
            is_over = now - (movement.wish.when or movement.updated) >= self._grace(movement)
            if not is_over and any(now - sign.stored <= patience(self._limits) for sign in _held(signs)):
                return movement
            fenced = await self._fenced(movement, is_over=is_over)
            if not (is_over or fenced.holds) and _held(signs):
                return movement
        elif _held(signs):
            return movement
        return await self._end(movement, Status.CANCELLED, because, signs, fenced)

    async def time_out(self, movement: Movement, because: Reason, *, is_over: bool) -> Movement:
        """Return a Movement whose time is up, TIMED_OUT if that may be. `is_over`: it has been up for the grace.

        No wish tells its workers, so one may claim it at any moment: it is fenced although nobody holds it.
        """
        signs, fenced = await self._flows.read_signs(movement.flow, movement.number), None
        if movement.attempts and self._fence is not None:
            fenced = await self._fenced(movement, is_over=is_over)
        if _held(signs) and not is_over and not (fenced and fenced.holds):
            return movement
        ended = await self._end(movement, Status.TIMED_OUT, because, signs, fenced)
        log.warning("movement_timed_out", flow=movement.flow, movement=movement.number, reason=because.value)
        return ended

    async def end(self, movement: Movement, outcome: Status, because: Reason) -> Movement:
        """Fence the destination if anybody has worked on the Movement, and end it."""
        signs, fenced = await self._flows.read_signs(movement.flow, movement.number), None
        if signs and self._fence is not None:
            fenced = await self._fenced(movement, is_over=False)
        return await self._end(movement, outcome, because, signs, fenced)

    async def _fenced(self, movement: Movement, *, is_over: bool) -> Fenced:
        if self._fence is None:
            return Fenced(False)
        try:
            return await self._fence(await self._flows.read_flow(movement.flow), movement.number)
        except PipelineError as error:
            if not is_over:
                raise
            log.warning("movement_not_fenced", flow=movement.flow, movement=movement.number, reason=str(error))
            return Fenced(False)

    async def _end(
        self, movement: Movement, outcome: Status, because: Reason, signs: Sequence[WorkerSign], fenced: Fenced | None
    ) -> Movement:
        workers, marks = [sign.progress for sign in signs], fenced.marks if fenced else None
        failures = await self._flows.read_failures(movement.flow, movement.number)
        now = await self._flows.store_clock.now(movement.flow)
        totals = await read_totals(self._flows, movement, marks, workers, failures, now)
        return await end_movement(self._flows, movement, outcome, because, totals)

    def _grace(self, movement: Movement) -> timedelta:
        return timedelta(seconds=deadlines_of(movement, self._limits).stop_grace_seconds)


def _held(signs: Sequence[WorkerSign]) -> Sequence[WorkerSign]:
    return [sign for sign in signs if sign.progress.working]
