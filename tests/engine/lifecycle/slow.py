"""Worlds in which imports take time, and what people wish in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import anyio

from pipeline.domain.ids import EventFileId, Label
from pipeline.domain.lifecycle.table import State, Verb
from pipeline.domain.movement import Movement
from pipeline.domain.progress.shown import ShownProgress
from pipeline.engine.control import verbs
from pipeline.engine.control.approvals import next_steps
from pipeline.engine.control.early_end import EarlyEnd, fence_by
from pipeline.engine.control.state import movement_state, shown_progress
from pipeline.ports.destination import FileToLoad, LoadOutcome
from tests.engine.mover_world import FLOW, World
from tests.fakes.destination import MemoryDestination, MemorySession

LOAD_SECONDS = 3.0


@dataclass
class SlowSession(MemorySession):
    """Takes `LOAD_SECONDS` for each Event File."""

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        await anyio.sleep(LOAD_SECONDS)
        return await super().load(file, after=after)


def slow_destination() -> MemoryDestination:
    """Return a destination that takes its time."""
    return MemoryDestination(session=SlowSession)


async def wish(
    world: World, verb: Verb, *groups: str, until: datetime | timedelta | None = None, why: str = ""
) -> Movement:
    """Wish something of the latest Movement, as another process does."""
    labels = [Label(group) for group in groups]
    return await verbs.wish(world.flows, FLOW, verb, groups=labels, who="ann@ops", why=why, until=until)


async def cancel(world: World, *, fenced: bool = True) -> Movement:
    """Try to bring the latest Movement to CANCELLED, as another process does."""

    fence = fence_by(lambda flow: world.destination) if fenced else None
    return await EarlyEnd(world.flows, world.limits, fence).cancel(await latest(world))


async def latest(world: World) -> Movement:
    """Return the latest Movement."""
    found = await world.flows.latest(await world.flows.read_flow(FLOW))
    assert found is not None
    return found


async def state(world: World) -> State:
    """Return the state of the latest Movement."""
    movement = await latest(world)
    signs = await world.flows.read_signs(FLOW, movement.number)
    flow, now = await world.flows.read_flow(FLOW), await world.flows.store_clock.now(FLOW)
    return movement_state(await next_steps(world.flows, flow, movement, now), signs, world.limits)


async def progress(world: World) -> ShownProgress | None:
    """Return how far the latest Movement is, as another process sees it."""
    movement = await latest(world)
    signs = await world.flows.read_signs(FLOW, movement.number)
    return shown_progress(movement, signs, world.limits, await world.flows.store_clock.now(FLOW))


@dataclass
class Moving:
    """A `pipeline move` that runs in the background; `result` is what it returns."""

    world: World
    result: list[Movement] = field(default_factory=list)


@asynccontextmanager
async def moving(world: World) -> AsyncIterator[Moving]:
    """Run a mover while the context is open, and wait for its end."""
    run = Moving(world)

    async def work() -> None:
        run.result.append(await world.move())

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        yield run
