"""From CANCELLATION_REQUESTED to CANCELLED: once nothing is in hand, or the destination is fenced.

Every process claims a Movement before it imports anything of it, and reads the wish after that. So without a claim that is
not released, nobody imports. A process that was killed, or is stopped, keeps its claim and is silent. Nothing tells the
one from the other, so the destination is fenced: whatever wakes up later cannot commit.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from pipeline.domain.errors import PipelineError
from pipeline.domain.lifecycle.deadlines import Deadlines
from pipeline.domain.lifecycle.status import Reason, Status
from pipeline.domain.movement import Flow, Movement
from pipeline.engine.movements.context import Limits
from pipeline.engine.movements.flow_store import FlowStore, WorkerSign
from pipeline.engine.movements.lifecycle import end_movement
from pipeline.engine.movements.progress import MISSED_UPDATES
from pipeline.log_events import log
from pipeline.ports.destination import Destination, DestinationSession, Fencing

Fence = Callable[[Flow, int], Awaitable[bool]]
"""Fences the destination of a Flow against this Movement and earlier ones; False if the destination cannot do that."""


def deadlines_of(movement: Movement, limits: Limits) -> Deadlines:
    """Return the deadlines of a Movement."""
    return Deadlines.of(
        movement.windows,
        idle_timeout_seconds=limits.idle_timeout_seconds,
        lifetime_seconds=limits.lifetime_seconds,
    )


def fence_by(connect: Callable[[Flow], Destination]) -> Fence:
    """Return a Fence that opens the destination of a Flow."""

    async def fence(flow: Flow, movement: int) -> bool:
        async with connect(flow).open(flow.marks_namespace) as session:
            return await fence_session(session, flow, movement)

    return fence


async def fence_session(session: DestinationSession, flow: Flow, movement: int) -> bool:
    """Fence an open destination of the Flow; return False if it cannot do that."""
    if not isinstance(session, Fencing):
        return False
    await session.fence(movement)
    return True


def patience(limits: Limits) -> timedelta:
    """Return how long a worker that holds work may be silent before it counts as gone."""
    return timedelta(seconds=MISSED_UPDATES * limits.progress_seconds)


class Canceller:
    """Cancels Movements that are to stop. Without `fence`, only those of which nothing is in hand."""

    def __init__(
        self, flows: FlowStore, limits: Limits, fence: Fence | None = None, because: Reason = Reason.STOPPED
    ) -> None:
        self._flows = flows
        self._limits = limits
        self._fence = fence
        self._because = because

    async def attempt(self, movement: Movement) -> Movement:
        """Return the Movement, CANCELLED if that may be. An error of the fence passes: then it is tried again later."""
        signs = await self._flows.read_signs(movement.flow, movement.number)
        if signs and not await self._is_fenced(movement, [sign for sign in signs if sign.progress.working]):
            return movement
        return await end_movement(self._flows, movement, Status.CANCELLED, self._because)

    async def _is_fenced(self, movement: Movement, held: Sequence[WorkerSign]) -> bool:
        """Return whether a Movement that some process has worked on may be CANCELLED.

        It is fenced even if nothing is in hand: a commit whose answer was lost may still be on its way.
        """
        if self._fence is None:
            return not held
        now = await self._flows.store_clock.now(movement.flow)
        since = movement.wish.when or movement.updated
        grace = timedelta(seconds=deadlines_of(movement, self._limits).stop_grace_seconds)
        is_over = now - since >= grace
        if not is_over and any(now - sign.stored <= patience(self._limits) for sign in held):
            return False
        try:
            fenced = await self._fence(await self._flows.read_flow(movement.flow), movement.number)
        except PipelineError as error:
            if not is_over:
                raise
            log.warning("movement_not_fenced", flow=movement.flow, movement=movement.number, reason=str(error))
            return True
        return fenced or is_over or not held
