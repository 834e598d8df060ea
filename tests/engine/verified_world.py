"""Verifying and repairing on fakes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.domain.comparison.report import Verification
from pipeline.domain.movement import Movement
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movers.mover import Mover
from pipeline.engine.verify.repair import InvalidatedStreams, begin_repair
from pipeline.engine.verify.verifier import NoteDifference, Verifier, VerifyRequest
from pipeline.testing.simulated.calling import CallingQueue, CallingStore
from pipeline.testing.simulated.calls import Faults
from tests.engine.mover_world import FLOW, World
from tests.fakes.rows import Table
from tests.fakes.source import MemorySource


def numbered(*numbers: int, text: str = "text") -> Table:
    """Return a table with these rows."""
    return {number: f"{text} {number}" for number in numbers}


@dataclass
class VerifiedWorld(World):
    """A world whose destination is compared with its source."""

    block_rows: int = 3

    async def verify(self, request: VerifyRequest | None = None, note: NoteDifference | None = None) -> Verification:
        """Compare. The two sides are cut into blocks differently."""
        flow = await self.flows.read_flow(FLOW)
        source = MemorySource(self.tables, block_rows=self.block_rows)
        copy = MemorySource(self.destination.tables, block_rows=self.block_rows + 1, location="memory:destination")
        verifier = Verifier(self.store, self.flows, self.clock, flow, source=source, copy=copy)
        return await verifier.run(request or VerifyRequest(), note)

    async def repair(self, faults: Faults | None = None, request: VerifyRequest | None = None) -> Movement:
        """Repair in a process of its own."""
        faults = faults or Faults()
        store, queue = CallingStore(self.store, faults), CallingQueue(self.queue, faults)
        with InvalidatedStreams() as invalidated:
            found = await self.verify(request, invalidated.note)
            invalidated.note_streams(found.differing)
            flow = await self.flows.read_flow(FLOW)
            context = EngineContext(store, queue, self.clock, self.reporter, self.flows, self.limits)
            begun = await begin_repair(store, context.flows, self.clock, flow, invalidated)
            source = MemorySource(self.tables, faults)
            mover = Mover(context, FLOW, source, self.destination, "worker")
            return await mover.run(replace(self.choices, only=begun.only, exclude=begun.exclude))
