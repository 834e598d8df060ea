"""Watching a Movement while this process works on it: to pause, to stop, or settled by another process."""

from __future__ import annotations

from collections.abc import Sequence

import anyio

from pipeline.domain.errors import PipelineError
from pipeline.domain.ids import Label
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import Movement
from pipeline.engine.control.verbs import resume_expired
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.log_events import log

LOOK_SECONDS = 1.0
"""How often a working process looks, at most: a stop takes this long to be noticed."""


async def wanted(flows: FlowStore, movement: Movement) -> Want:
    """Return what people want of a Movement now. The clock of the store is asked only if a pause has an end."""
    if movement.wish.until is None:
        return movement.wish.want
    return movement.wish.at(await flows.store_clock.now(movement.flow))


class Watch:
    """Looks at a Movement now and then. `ended` is set once no more of it may be begun here; `movement` is as last seen."""

    def __init__(self, flows: FlowStore, movement: Movement, look_seconds: float) -> None:
        self._flows = flows
        self._look_seconds = min(look_seconds, LOOK_SECONDS)
        self.movement = movement
        self.ended = anyio.Event()

    def stops(self, label: Label) -> bool:
        """Return whether nothing of a group may be begun."""
        return self.ended.is_set() or bool(self.movement.refused) or label in self.movement.group_wishes

    def paused_groups(self) -> Sequence[Label]:
        """Return the groups that are paused: if there are any, it is no wonder that nothing moves."""
        return self.movement.groups_that(Want.PAUSE)

    async def note(self, movement: Movement) -> None:
        """Take note of the Movement as it is stored now, and take back pauses that are over."""
        self.movement = movement = await resume_expired(self._flows, movement)
        if movement.settled or movement.wish.want is not Want.RUN:
            self.ended.set()

    async def look_again(self) -> None:
        """Look once. A store that does not answer ends nothing."""
        try:
            await self.note(await self._flows.read_movement(self.movement.flow, self.movement.number))
        except PipelineError as error:
            log.info("wish_not_read", reason=str(error))

    async def run(self) -> None:
        """Look until `ended`."""
        while not self.ended.is_set():
            await anyio.sleep(self._look_seconds)
            await self.look_again()
