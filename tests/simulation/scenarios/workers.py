"""The scenario of long-running workers: some export, some import, one sweeps. A worker that dies or is stopped is replaced."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio
import trio

from pipeline.codec.documents.message import MovementStarted, encode_message
from pipeline.domain.errors import ConfigurationError
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import Choices, Movement
from pipeline.engine.control.early_end import fence_by
from pipeline.engine.movements.lifecycle import start_movement
from pipeline.engine.workers.export_worker import ExportWorker
from pipeline.engine.workers.import_worker import ImportWorker
from pipeline.engine.workers.sweep import Sweep
from pipeline.testing.simulated.process import Process
from pipeline.testing.simulated.unreliable_queue import SimulatedQueue
from tests.simulation.platform.plan import FLOW
from tests.simulation.scenarios.chores import Chores
from tests.simulation.scenarios.proof import Proof
from tests.simulation.scenarios.wishes import Wishes
from tests.simulation.scenarios.world import World

PATIENCE_SECONDS = 900.0
"""A Movement must settle within this time, whatever goes wrong: faults are few, and every wait in the engine is shorter."""
DRAIN_SECONDS = 120.0
"""The time in which a worker must stop after the stop signal."""
LOOK_SECONDS = 0.25
MOST_STARTS = 20


@dataclass
class Fleet:
    """The workers of a world, each kept alive by something like systemd until `stop`."""

    world: World
    stop: anyio.Event = field(default_factory=anyio.Event)
    kept: int = 0

    def keep(self, kind: str, work: Callable[[Process], Awaitable[object]]) -> None:
        """Keep one worker of this kind alive."""
        self.kept += 1
        self.world.nursery.start_soon(self._keep, kind, work)

    async def _keep(self, kind: str, work: Callable[[Process], Awaitable[object]]) -> None:
        for number in range(100):
            process = self.world.process(kind)
            self.world.start(process, lambda process=process: work(process))  # type: ignore[misc]
            await process.given_up.wait()
            if self.stop.is_set():
                break
            pause = self.world.plan.restart_seconds(f"{kind} {number}")
            with trio.move_on_after(pause):
                await self.stop.wait()
        self.kept -= 1

    async def export(self, process: Process) -> None:
        """Work as an exporter."""
        parts, exports = self.world.context(process), SimulatedQueue(self.world.exports, process, "exports")
        source = self.world.source(process)
        await ExportWorker(parts, exports, lambda flow: source, process.name).run(self.stop)

    async def import_(self, process: Process) -> None:
        """Work as an importer."""
        context = self.world.context(process)
        await ImportWorker(context, lambda flow: self.world.destination(flow.name, process), process.name).run(
            self.stop
        )

    async def sweep(self, process: Process) -> None:
        """Announce again what no worker holds."""
        exports = SimulatedQueue(self.world.exports, process, "exports")
        fence = fence_by(lambda flow: self.world.destination(flow.name, process))
        await Sweep(self.world.context(process), exports, fence, process.name).run(self.stop)


async def workers(world: World) -> None:
    """Start as many Movements as the plan says, each when the one before has settled; the last without faults."""
    fleet, chores, wishes = Fleet(world), Chores(world), Wishes(world)
    world.nursery.start_soon(chores.run)
    world.nursery.start_soon(wishes.run)
    for _ in range(world.plan.exporters):
        fleet.keep("exporter", fleet.export)
    for _ in range(world.plan.importers):
        fleet.keep("importer", fleet.import_)
    fleet.keep("sweep", fleet.sweep)
    for number in range(world.plan.movements):
        if number:
            world.edit(f"{number}")
        await _start_and_wait(world, chores, wishes, world.plan.allow_deletes(f"{number}"), editing=True)
        if world.model.broken:
            return
        await chores.between(f"{number}")
    await world.no_more_faults()
    await wishes.end()
    await _no_start_waits(world, chores)
    await world.all_awake()
    chores.over = True
    movement = await _start_and_wait(world, chores, wishes, ("*",), editing=False)
    if movement is not None and movement.groups_that(Want.STOP):  # one from before, which could not be moved whole
        movement = await _start_and_wait(world, chores, wishes, ("*",), editing=False)
    world.model.arrivals[FLOW].check_equal(world.app.tables)
    if not world.model.broken:
        await chores.at_last()
        await _wait_brought(world, chores)
    await _drain(fleet)
    if movement is not None and not world.model.broken:
        world.check_nothing_leaks(movement)
        await Proof(world).run()


async def _no_start_waits(world: World, chores: Chores) -> None:
    """The workers begin a start that is queued by themselves, once no pruner that has died claims the Flow."""
    await chores.free()
    deadline = trio.current_time() + PATIENCE_SECONDS
    while (waits := world.model.starts.waiting(FLOW)) and trio.current_time() < deadline:  # noqa: ASYNC110
        await trio.sleep(LOOK_SECONDS)
    world.model.must(not waits, f"a start has been queued for {PATIENCE_SECONDS:g} seconds, and does not begin")


async def _wait_brought(world: World, chores: Chores) -> None:
    """The workers bring further destinations up to date by themselves."""
    for flow in chores.further:
        deadline = trio.current_time() + PATIENCE_SECONDS
        while not (world.is_brought(flow) or world.model.broken or trio.current_time() > deadline):  # noqa: ASYNC110
            await trio.sleep(LOOK_SECONDS)
        world.check_further(flow)


async def _start_and_wait(
    world: World, chores: Chores, wishes: Wishes, allow_deletes: tuple[str, ...], *, editing: bool
) -> Movement | None:
    """Start a Movement as an operator does, again until it worked; return it settled."""
    before = max((number for flow, number in world.model.movements if flow == FLOW), default=0)
    choices = Choices(allow_deletes=allow_deletes)
    for attempt in world.disks.attempts(MOST_STARTS):
        await chores.free()
        await wishes.free()
        process = world.process("operator")
        world.start(process, lambda process=process: _start(world, process, choices))  # type: ignore[misc]
        await process.given_up.wait()
        if isinstance(process.result, Movement):
            return await _settled(world, max(process.result.number, before), editing=editing)
        latest = world.model.latest(FLOW)
        if latest is not None and not (latest.settled or latest.compaction):  # such as one whose start was queued
            await _settled(world, latest.number, editing=editing)
        await trio.sleep(world.plan.restart_seconds(f"operator {before} {attempt}"))
    world.model.must(False, "a Movement could not be started")
    return None


async def _start(world: World, process: Process, choices: Choices) -> Movement | None:
    parts = world.context(process)
    flow = await parts.flows.connect(FLOW, world.app.location, world.place.location)
    try:
        movement = await start_movement(parts.flows, flow, choices)
    except ConfigurationError as error:
        world.story.tell(process.name, f"not now: {error}")
        latest = world.model.latest(FLOW)
        world.model.must(latest, f"{process.name} was refused before anything was started: {error}")
        return latest if latest is not None and latest.choices == choices else None
    body = encode_message(MovementStarted(FLOW, movement.number))
    await SimulatedQueue(world.exports, process, "exports").send([body])
    return movement


async def _settled(world: World, number: int, *, editing: bool) -> Movement | None:
    deadline, look = trio.current_time() + PATIENCE_SECONDS, 0
    while trio.current_time() < deadline and not world.model.broken:
        movement = world.model.movements[FLOW, number]
        if movement.settled:
            return movement
        await trio.sleep(LOOK_SECONDS)
        look += 1
        if editing and look % 8 == 0:
            world.edit(f"{number} at {look}")
    world.model.must(world.model.broken, f"Movement {number} has not settled within {PATIENCE_SECONDS:g} seconds")
    return None


async def _drain(fleet: Fleet) -> None:
    fleet.stop.set()
    with trio.move_on_after(DRAIN_SECONDS):
        await fleet.world.all_ended()
    late = [process.name for process in fleet.world.processes if not process.ended.is_set()]
    fleet.world.model.must(not late, f"{', '.join(late)} did not stop within {DRAIN_SECONDS:g} seconds")
