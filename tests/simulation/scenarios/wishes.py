"""What operators wish at any moment: pause, and resume later; stop; run again what did not succeed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import trio

from pipeline.codec.documents.message import MovementStarted, encode_message
from pipeline.domain.lifecycle.table import Verb
from pipeline.domain.lifecycle.wish import Want
from pipeline.domain.movement import Choices
from pipeline.engine.control import verbs
from pipeline.engine.control.early_end import EarlyEnd, fence_by
from pipeline.engine.control.queued import begin_queued, drop_queued, queue_start
from pipeline.engine.control.reruns import create_rerun, movement_to_rerun
from pipeline.testing.simulated.process import Process
from pipeline.testing.simulated.unreliable_queue import SimulatedQueue
from tests.simulation.platform.plan import FLOW, of_seed
from tests.simulation.scenarios.world import World

SHORTEST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 70.0, 4480.0


@dataclass
class Wishes:
    """The operators who pause, resume, stop and run again. None forgets a Movement that he has paused."""

    world: World
    over: bool = False

    async def run(self) -> None:
        """Wish what the plan says, each after a number of calls. A pause that took effect late is found now and then."""
        if self.world.plan.wishes or self.world.plan.group_wishes:
            self.world.nursery.start_soon(self._remember)
            self.world.nursery.start_soon(self._wish_of_groups)
        self.world.nursery.start_soon(self._queue_starts)
        self.world.nursery.start_soon(self._fill_disks)
        for number, (pause, what) in enumerate(self.world.plan.wishes):
            await self.world.calls_made(pause)
            if self.over:
                return
            if what == "stop":
                self.world.begin("stopper", self._stop)
                continue
            process = self.world.begin("pauser", self._pause)
            await trio.sleep(of_seed(self.world.plan.seed, "resume", number).choice((0.5, 5.0, 60.0)))
            await process.given_up.wait()
            await self.free()

    async def _wish_of_groups(self) -> None:
        """Wish what the plan says of single groups, as `run` does of all."""
        for number, (pause, what) in enumerate(self.world.plan.group_wishes):
            await self.world.calls_made(pause)
            if self.over:
                return
            verb = Verb(what)
            who = "stopper" if verb is Verb.STOP else "pauser"
            process = self.world.begin(who, partial(self._wish_of_one, verb, number))
            if verb is Verb.PAUSE:
                await trio.sleep(of_seed(self.world.plan.seed, "resume group", number).choice((0.5, 5.0, 60.0)))
                await process.given_up.wait()
                await self.free()

    async def _queue_starts(self) -> None:
        """Queue starts, as `pipeline start --queue` does."""
        for number, pause in enumerate(self.world.plan.queued_starts):
            await self.world.calls_made(pause)
            if self.over:
                return
            self.world.begin("queuer", partial(self._queue, number))

    async def _fill_disks(self) -> None:
        """Let the destination's disk be full for a while; then resume what it has refused, at once or later."""
        for number, (pause, seconds) in enumerate(self.world.plan.full_disks):
            await self.world.calls_made(pause)
            if self.over:
                return
            self.world.story.tell("world", f"the disk of the destination is full for {seconds:g} seconds")
            self.world.disks.full_until["destination"] = trio.current_time() + seconds
            random = of_seed(self.world.plan.seed, "resume refused", number)
            await trio.sleep(seconds * random.choice((0.5, 1.0, 1.5)))
            latest = self.world.model.latest(FLOW)
            if latest is not None and latest.refused and not latest.settled and not self.over:
                self.world.begin("resumer", self._resume)

    async def _remember(self) -> None:
        """Resume what stays paused. Looking takes steps: less often the longer nothing is."""
        pause = SHORTEST_LOOK_SECONDS
        while not self.over:
            await trio.sleep(pause)
            pause = SHORTEST_LOOK_SECONDS if self._wants(Want.PAUSE) else min(2 * pause, LONGEST_LOOK_SECONDS)
            await self.free()

    async def free(self) -> None:
        """Resume until nothing is paused."""
        while self._wants(Want.PAUSE):
            process = self.world.begin("resumer", self._resume)
            await process.given_up.wait()
            await trio.sleep(0.5)

    async def end(self) -> None:
        """Wish nothing more, and wait until nothing is paused, no wish is on its way, and there is room."""
        self.over = True
        for process in self.world.processes:
            if process.name.startswith(("pauser", "stopper", "resumer", "queuer")):
                await process.ended.wait()
        while self.world.late or not self.world.disks.have_room():  # noqa: ASYNC110  looked at now and then
            await trio.sleep(1.0)
        await self.free()

    async def rerun(self, moment: str) -> None:
        """Run the latest Movement again, perhaps, if it may be."""
        if (
            not (self.world.plan.wishes or self.world.plan.group_wishes)
            or of_seed(self.world.plan.seed, "rerun", moment).random() < 0.5
        ):
            return
        process = self.world.begin("rerunner", self._rerun)
        await process.given_up.wait()

    def _wants(self, want: Want) -> bool:
        latest = self.world.model.latest(FLOW)
        wanted = () if latest is None or latest.settled else (latest.wish, *latest.group_wishes.values())
        return any(wish.want is want for wish in wanted)

    async def _pause(self, process: Process) -> None:
        await verbs.wish(self.world.context(process).flows, FLOW, Verb.PAUSE, who=process.name)

    async def _wish_of_one(self, verb: Verb, number: int, process: Process) -> None:
        latest = self.world.model.latest(FLOW)
        if latest is not None and latest.file_lists:
            label = of_seed(self.world.plan.seed, "group", number).choice(sorted(latest.file_lists))
            await verbs.wish(self.world.context(process).flows, FLOW, verb, groups=[label], who=process.name)

    async def _resume(self, process: Process) -> None:
        await verbs.wish(self.world.context(process).flows, FLOW, Verb.RESUME, who=process.name)

    async def _stop(self, process: Process) -> None:
        context = self.world.context(process)
        await drop_queued(context.flows, FLOW, process.name)
        movement = await verbs.wish(context.flows, FLOW, Verb.STOP, who=process.name)
        early_end = EarlyEnd(context.flows, context.limits, fence_by(lambda f: self.world.destination(FLOW, process)))
        for _ in range(20):
            if (await early_end.cancel(movement)).settled:
                return
            await trio.sleep(0.5)

    async def _queue(self, number: int, process: Process) -> None:
        flows = self.world.context(process).flows
        choices = Choices(allow_deletes=self.world.plan.allow_deletes(f"queued {number}"))
        begun = await begin_queued(flows, await queue_start(flows, FLOW, choices, process.name))
        if begun is not None:
            exports = SimulatedQueue(self.world.exports, process, "exports")
            await exports.send([encode_message(MovementStarted(FLOW, begun.number))])

    async def _rerun(self, process: Process) -> None:
        flows = self.world.context(process).flows
        await create_rerun(flows, *await movement_to_rerun(flows, FLOW, None))
