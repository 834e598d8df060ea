"""The other commands of operators, at any moment: compact, prune, both as the pipeline does them by itself, add destinations and
import into them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import trio

from pipeline.codec.documents.flow import decode_flow
from pipeline.domain import object_keys
from pipeline.domain.ids import FlowName
from pipeline.engine.maintenance.automatic import AutomaticMaintenance
from pipeline.engine.maintenance.compaction import Compactor
from pipeline.engine.maintenance.pruning import Pruner
from pipeline.engine.movements.derived_flows import add_destination
from pipeline.engine.movers.derived_mover import DerivedMover
from pipeline.testing.simulated.process import Process
from tests.simulation.platform.plan import FLOW, of_seed
from tests.simulation.scenarios.world import World


@dataclass
class Chores:
    """The operators of a world. A pruner takes over from another one only if that has ended."""

    world: World
    further: list[FlowName] = field(default_factory=list)
    over: bool = False

    async def run(self) -> None:
        """Start the chores of the plan, each after a number of calls, and wait for none."""
        for pause, chore in self.world.plan.chores:
            await self.world.calls_made(pause)
            if self.over:
                return
            self.begin(chore)

    async def between(self, moment: str) -> None:
        """Do something when a Movement has settled; the next one is begun when it has ended, or at once."""
        if not self.world.plan.chores:
            return
        random = of_seed(self.world.plan.seed, "between", moment)
        process = self.begin(random.choice(self.world.plan.chores)[1])
        if process is not None and random.random() < 0.6:
            await process.given_up.wait()

    async def free(self) -> None:
        """Prune the Flow if a pruner that has ended still claims it. Wait for one that is stopped."""
        while self._is_claimed():
            for pruner in self._pruners():
                await pruner.ended.wait()
            while self.world.late:  # noqa: ASYNC110  looked at now and then, as operators do
                await trio.sleep(1.0)
            if self._is_claimed():
                pruner = self.world.begin("pruner", self._prune)
                await pruner.given_up.wait()
                await trio.sleep(1.0)

    def _is_claimed(self) -> bool:
        document = self.world.bucket.content.get(object_keys.flow_key(FLOW))
        return document is not None and decode_flow(document, "flow.json").pruning is not None

    def _pruners(self) -> list[Process]:
        return [process for process in self.world.processes if process.name.startswith("pruner")]

    async def stop(self) -> None:
        """Begin with nothing more, and wait until all that goes on has ended."""
        self.over = True
        await self.world.all_ended()
        await self.free()

    def begin(self, chore: str) -> Process | None:
        """Begin with a chore; return its process, None when there is nothing to it."""
        match chore:
            case "compact":
                return self.world.begin("compactor", self._compact)
            case "prune":
                return self.world.begin("pruner", self._prune)
            case "maintain":
                return self.world.begin("maintainer", self._maintain)
            case "add":
                return self._add() if len(self.further) < self.world.plan.further else None
            case _:
                flow = self.further[-1] if self.further else None
                return None if flow is None else self.world.begin("bringer", partial(self._bring, flow))

    async def at_last(self) -> None:
        """Without faults, all chores can be done, and leave what everybody needs."""
        if self.world.plan.chores:
            for chore in ("prune", "compact", "prune"):
                await self._must_end(chore, self.begin(chore))
        for flow in self.further:  # the process that did so before may have been killed
            await self._must_end("add", self.world.begin("adder", partial(self._connect, flow)))
        while len(self.further) < self.world.plan.further:
            await self._must_end("add", self.begin("add"))

    async def bring_all(self) -> None:
        """Bring every further destination up to date, by hand: each must be equal."""
        for flow in self.further:
            process = self.world.begin("bringer", partial(self._bring, flow))
            await process.given_up.wait()
            self.world.model.must(
                process.result, f"{process.name} was undisturbed, and did not bring {flow} up to date"
            )
            self.world.check_further(flow)

    async def _must_end(self, chore: str, process: Process | None) -> None:
        if process is not None:
            await process.given_up.wait()
            self.world.model.must(process.result, f"{process.name} was undisturbed, and did not {chore}")

    async def _compact(self, process: Process) -> bool:
        await Compactor(self.world.context(process), FLOW).run()
        return True

    async def _prune(self, process: Process) -> bool:
        others = [pruner for pruner in self._pruners() if pruner is not process]
        take_over = all(other.ended.is_set() for other in others) and not self.world.late
        parts = self.world.context(process)
        pruner = Pruner(parts.store, parts.flows, process, FLOW, process.name)
        await pruner.run(lambda info, reason: None, take_over=take_over)
        return True

    async def _maintain(self, process: Process) -> bool:
        return await AutomaticMaintenance(self.world.context(process), process.name, alone=self._is_alone()).run(FLOW)

    def _is_alone(self) -> bool:
        return bool(self.world.plan.seed % 3)

    def _add(self) -> Process:
        flow = FlowName(f"backup{len(self.further)}")
        self.world.add_place(flow, has_transactions=of_seed(self.world.plan.seed, flow).random() < 0.75)
        self.further.append(flow)
        return self.world.begin("adder", partial(self._connect, flow))

    async def _connect(self, flow: FlowName, process: Process) -> bool:
        place = self.world.places[flow]
        await add_destination(self.world.context(process).flows, process, FLOW, flow, place.location)
        return True

    async def _bring(self, flow: FlowName, process: Process) -> bool:
        parts = self.world.context(process)
        await add_destination(parts.flows, process, FLOW, flow, self.world.places[flow].location)
        destination = self.world.destination(flow, process)
        parts = replace(parts, limits=replace(parts.limits, shard_files=0))
        await DerivedMover(parts, flow, destination, process.name).run()
        return True
