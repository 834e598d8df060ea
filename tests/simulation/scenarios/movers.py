"""The scenario of `pipeline move`: the command is typed until the Movement has settled, whatever becomes of each process."""

from __future__ import annotations

import trio

from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import Choices, Movement
from pipeline.engine.movements.lifecycle import UnwantedError
from pipeline.engine.movers.mover import Mover
from tests.simulation.platform.plan import FLOW
from tests.simulation.scenarios.chores import Chores
from tests.simulation.scenarios.helpers import SimulatedHelp
from tests.simulation.scenarios.proof import Proof
from tests.simulation.scenarios.wishes import Wishes
from tests.simulation.scenarios.world import World

MOST_LAUNCHES = 30
ALL = ("*",)
"""The pattern of all streams: any number of rows may be deleted."""


async def movers(world: World) -> None:
    """Move as often as the plan says; then let sleepers wake, and move once more without faults."""
    chores, wishes = Chores(world), Wishes(world)
    world.nursery.start_soon(chores.run)
    world.nursery.start_soon(wishes.run)
    for number in range(world.plan.movements):
        await _move_until_settled(world, chores, wishes, number)
        if world.model.broken:
            return
        await chores.between(f"{number}")
        await wishes.rerun(f"{number}")
    await world.no_more_faults()
    await wishes.end()
    await chores.stop()
    movement = await _launch(world, ALL)
    if movement is not None and movement.groups_that(Want.STOP):  # one from before, which could not be moved whole
        movement = await _launch(world, ALL)
    world.model.arrivals[FLOW].check_equal(world.app.tables)
    if movement is None or world.model.broken:
        return
    await chores.at_last()
    await chores.bring_all()
    await trio.sleep(3600)
    world.check_nothing_leaks(movement)
    await Proof(world).run()


async def _move_until_settled(world: World, chores: Chores, wishes: Wishes, number: int) -> None:
    for attempt in world.disks.attempts(MOST_LAUNCHES):
        moment = f"{number}.{attempt}"
        if attempt:
            await trio.sleep(world.plan.pause_seconds(moment))
        if number or attempt:
            world.edit(moment)
        await chores.free()
        await wishes.free()
        if await _launch(world, world.plan.allow_deletes(moment)) is not None or world.model.broken:
            return
    world.model.must(False, f"the Movement has not settled after {MOST_LAUNCHES} launches")


async def _launch(world: World, allow_deletes: tuple[str, ...]) -> Movement | None:
    """Start a process, wait until it has ended or is given up for dead, and return the Movement it has settled."""
    alone, faults, refusals = world.is_calm(), len(world.dealer.dealt), world.disks.refusals
    latest = world.model.latest(FLOW)
    stops = (
        latest is not None and not latest.settled and latest.wish.want is Want.STOP
    )  # a dead process seems to work on
    process = world.process("mover")
    launched = _commands(world)
    source = world.source(process)
    destination = world.destination(FLOW, process)
    help_ = SimulatedHelp(world, process) if world.plan.has_help else None
    choices = Choices(allow_deletes=allow_deletes)

    async def main() -> Movement | None:
        try:
            return await Mover(world.context(process), FLOW, source, destination, process.name, help_).run(choices)
        except UnwantedError as error:
            world.story.tell(process.name, f"not now: {error}")
            return None

    world.start(process, main)
    await process.given_up.wait()
    settled = process.result if isinstance(process.result, Movement) else None
    same = (faults, refusals, launched) == (len(world.dealer.dealt), world.disks.refusals, _commands(world))
    undisturbed = alone and same and not stops
    world.model.must(settled or not undisturbed, f"{process.name} was undisturbed, and did not settle its Movement")
    return settled


def _commands(world: World) -> int:
    """The number of commands that were started. A helper is part of its command."""
    return sum(not process.name.startswith("helper") for process in world.processes)
