"""The scenario of `pipeline move`: the command is typed until the Movement has settled, whatever becomes of each process."""

from __future__ import annotations

import trio

from pipeline.domain.movement import Movement
from pipeline.engine.mover import Mover
from tests.simulation.destination import SimulatedDestination
from tests.simulation.source import SimulatedSource
from tests.simulation.world import FLOW, World

MOST_LAUNCHES = 30


async def movers(world: World) -> None:
    """Move as often as the plan says; then let sleepers wake, and move once more without faults."""
    for number in range(world.plan.movements):
        await _move_until_settled(world, number)
        if world.model.broken:
            return
    await world.no_more_faults()
    await world.all_ended()
    movement = await _launch(world)
    world.model.check_arrived(world.app.tables)
    if movement is not None:
        await trio.sleep(3600)
        world.check_nothing_leaks(movement)


async def _move_until_settled(world: World, number: int) -> None:
    for attempt in range(MOST_LAUNCHES):
        moment = f"{number}.{attempt}"
        if attempt:
            await trio.sleep(world.plan.pause_seconds(moment))
        if number or attempt:
            world.plan.edit(world.app.tables, moment)
        if await _launch(world) is not None or world.model.broken:
            return
    world.model.must(False, f"the Movement has not settled after {MOST_LAUNCHES} launches")


async def _launch(world: World) -> Movement | None:
    """Start a process, wait until it has ended or is given up for dead, and return the Movement it has settled."""
    alone, faults = world.is_calm(), len(world.dealer.dealt)
    process = world.process("mover")
    source = SimulatedSource(world.app, process, world.plan.block_rows)
    destination = SimulatedDestination(world.place, process)
    world.start(process, lambda: Mover(world.parts(process), FLOW, source, destination, process.name).run())
    await process.given_up.wait()
    settled = process.result if isinstance(process.result, Movement) else None
    undisturbed = alone and faults == len(world.dealer.dealt)
    world.model.must(settled or not undisturbed, f"{process.name} was undisturbed, and did not settle its Movement")
    return settled
