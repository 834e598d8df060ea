"""What a process that moves a whole Flow does about a Movement that is to pause or to stop."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import anyio

from pipeline.domain.errors import TransientError
from pipeline.domain.lifecycle.status import Reason
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import Flow, Movement
from pipeline.engine.control.early_end import EarlyEnd, deadlines_of, fence_by, fence_session
from pipeline.engine.control.pausing import note_paused
from pipeline.engine.control.verbs import resume_expired
from pipeline.engine.control.watch import LOOK_SECONDS
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.lifecycle import UnwantedError
from pipeline.log_events import log
from pipeline.ports.destination import Destination, DestinationSession
from pipeline.ports.reporter import MovementPaused


class Interruptions:
    """Waits for the end of pauses, and brings stopped Movements to their end."""

    def __init__(self, context: EngineContext, destination: Destination) -> None:
        self._context = context
        self._destination = destination

    async def end_unwanted(self, flow: Flow, movement: Movement, session: DestinationSession) -> None:
        """Settle a Movement that is to stop, or take back a pause that is over, so that the next one can begin.

        UnwantedError while it is paused; TransientError while work of a stopped one is in hand.
        """
        flows = self._context.flows
        movement = await resume_expired(flows, movement)
        if movement.wish.want is Want.PAUSE:
            raise UnwantedError(movement)
        if movement.wish.want is Want.RUN:
            return
        stopped = await EarlyEnd(flows, self._context.limits, partial(fence_session, session)).cancel(movement)
        if not stopped.settled:
            raise TransientError(
                f"Movement {movement.number} of Flow {flow.name!r} is to stop, and work of it is still in hand. "
                "Run the command again when it is CANCELLED."
            )

    async def is_too_old(self, movement: Movement, session: DestinationSession) -> bool:
        """Settle a Movement that is older than its life; return whether it is."""
        flows = self._context.flows
        now = await flows.store_clock.now(movement.flow)
        deadlines = deadlines_of(movement, self._context.limits)
        if deadlines.overdue(created=movement.created, last_sign=None, now=now) is None:
            return False
        grace = timedelta(seconds=deadlines.stop_grace_seconds)
        is_over = deadlines.overdue(created=movement.created, last_sign=None, now=now - grace) is not None
        early_end = EarlyEnd(flows, self._context.limits, partial(fence_session, session))
        return (await early_end.time_out(movement, Reason.TOO_OLD, is_over=is_over)).settled

    async def wait(self, movement: Movement) -> Movement:
        """Wait until a paused Movement is resumed or settled; bring one that is to stop to its end. Return it."""
        context, flow = self._context, movement.flow
        told, noted = False, None
        while (
            not movement.settled
            and (movement := await resume_expired(context.flows, movement)).wish.want is not Want.RUN
        ):
            if movement.wish.want is Want.STOP:
                movement = await EarlyEnd(
                    context.flows, context.limits, fence_by(lambda flow: self._destination)
                ).cancel(movement)
            elif not told:
                log.warning("movement_paused", flow=flow, movement=movement.number, wish=str(movement.wish))
                context.reporter.report(MovementPaused(flow, movement.number))
                told = True
            if movement.wish.when != noted and await self._has_paused(movement):
                noted = movement.wish.when
            if not movement.settled:
                await anyio.sleep(min(context.limits.progress_seconds, LOOK_SECONDS))
                movement = await context.flows.read_movement(flow, movement.number)
        return movement

    async def _has_paused(self, movement: Movement) -> bool:
        flows = self._context.flows
        signs = await flows.read_signs(movement.flow, movement.number)
        return await note_paused(flows, movement, signs, self._context.limits)
