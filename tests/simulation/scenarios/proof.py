"""The end of a run: `verify` names the rows that differ and no others, and `--repair` makes destination and source equal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from pipeline.domain.comparison.report import Difference, StreamReport
from pipeline.domain.ids import StreamName
from pipeline.domain.movement import Choices, Movement
from pipeline.engine.movers.mover import Mover
from pipeline.engine.verify.repair import InvalidatedStreams, begin_repair
from pipeline.engine.verify.verifier import Verifier, VerifyRequest
from pipeline.testing.simulated.process import Process
from tests.fakes.source import MemorySource
from tests.simulation.model.arrivals import rows_that_differ
from tests.simulation.platform.plan import FLOW, is_file, of_seed
from tests.simulation.scenarios.world import World


@dataclass
class Proof:
    """Verifies and repairs a world in which nothing else happens any more."""

    world: World
    found: list[tuple[StreamName, Difference]] = field(default_factory=list)
    differing: Sequence[StreamReport] = ()

    async def run(self) -> None:
        """Verify; let a person change rows at the destination, and verify again; repair."""
        world, model = self.world, self.world.model
        await self._must_end("verify", self._verify)
        model.arrivals[FLOW].change_by_hand(world.app.tables, of_seed(world.plan.seed, "by hand"))
        await self._must_end("verify", self._verify)
        if self.differing and not model.broken:
            await self._must_end("repair", self._repair)
            model.arrivals[FLOW].check_equal(world.app.tables)

    async def _must_end(self, what: str, work: Callable[[Process], Awaitable[object]]) -> None:
        process = self.world.process(what)
        self.world.start(process, lambda: work(process))
        await process.given_up.wait()
        self.world.model.must(process.result, f"{process.name} was undisturbed, and did not {what}")

    async def _verify(self, process: Process) -> bool:
        world, self.found = self.world, []
        parts, place = world.context(process), world.place
        copy = MemorySource(
            place.tables, process, world.plan.block_rows + 1, place.location, is_file=is_file, extra=world.app.extra
        )
        flow = await parts.flows.read_flow(FLOW)
        verifier = Verifier(
            parts.store, parts.flows, process, flow, source=world.source(process), copy=world.planted.copy(copy)
        )
        result = await verifier.run(VerifyRequest(), lambda stream, difference: self.found.append((stream, difference)))
        self.differing = result.differing
        found = {(stream, difference.key[0]) for stream, difference in self.found}
        different = rows_that_differ(world.app.tables, place.tables)
        world.model.must(found == different, f"{process.name} finds {sorted(found, key=str)}, not {sorted(different)}")
        world.model.must(result.equal is not bool(different), f"{process.name} says that {result.equal=}")
        return True

    async def _repair(self, process: Process) -> Movement:
        world = self.world
        parts = world.context(process)
        flow = await parts.flows.read_flow(FLOW)
        with InvalidatedStreams() as invalidated:
            for stream, difference in self.found:
                invalidated.note(stream, difference)
            invalidated.note_streams(self.differing)
            begun = await begin_repair(parts.store, parts.flows, process, flow, invalidated)
        mover = Mover(parts, FLOW, world.source(process), world.destination(FLOW, process), process.name)
        return await mover.run(Choices(begun.only, begun.exclude, allow_deletes=("*",)))
