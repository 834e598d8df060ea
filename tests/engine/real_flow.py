"""A Flow between real databases or trees, with its store in memory."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.comparison.report import StreamReport, Verification
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Choices, Movement
from pipeline.engine.movements.context import EngineContext, Limits
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movers.mover import Mover
from pipeline.engine.verify.repair import InvalidatedStreams, begin_repair
from pipeline.engine.verify.verifier import Verifier, VerifyRequest
from pipeline.ports.destination import Destination
from pipeline.ports.source import Source
from pipeline.testing.simulated.clock import ManualClock
from pipeline.testing.simulated.event_queue import MemoryEventQueue
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.engine.mover_world import RecordingReporter

FLOW = FlowName("crm")
LIMITS = Limits(event_file_rows=100, range_rows=16)


@dataclass(frozen=True)
class Places:
    """A source and a destination, and both as sources, to compare them."""

    source: Source
    destination: Destination
    readable_source: Source
    copy: Source


class RealFlow:
    """A Flow between real places, with its store in memory."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._store, self._clock = MemoryObjectStore(), ManualClock()
        self._flows = FlowStore(self._store, self._clock)

    async def move(self, only: tuple[str, ...] = (), exclude: tuple[str, ...] = ()) -> Movement:
        """Move once."""
        queue = MemoryEventQueue(visibility_seconds=30.0)
        context = EngineContext(self._store, queue, self._clock, RecordingReporter(), self._flows, LIMITS)
        mover = Mover(context, FLOW, self._places.source, self._places.destination, "worker")
        return await mover.run(Choices(only, exclude))

    async def accept(self, *kinds: str) -> None:
        """Accept that these kinds are missing at the destination."""
        await self._flows.accept_missing(FLOW, kinds)

    async def verify(
        self, request: VerifyRequest | None = None, invalidated: InvalidatedStreams | None = None
    ) -> Verification:
        """Compare."""
        flow = await self._flows.read_flow(FLOW)
        source, copy = self._places.readable_source, self._places.copy
        verifier = Verifier(self._store, self._flows, self._clock, flow, source=source, copy=copy)
        return await verifier.run(request or VerifyRequest(), None if invalidated is None else invalidated.note)

    async def repair(self) -> Movement:
        """Move what differs."""
        with InvalidatedStreams() as invalidated:
            found = await self.verify(invalidated=invalidated)
            invalidated.note_streams(found.differing)
            flow = await self._flows.read_flow(FLOW)
            begun = await begin_repair(self._store, self._flows, self._clock, flow, invalidated)
        return await self.move(begun.only, begun.exclude)

    async def repaired(self) -> tuple[int, int]:
        """Repair, check that nothing differs or is left to do, and return the number of upserts and deletes."""
        repaired = await self.repair()
        assert repaired.status == "SUCCESS", repaired.problems
        found = await self.verify()
        assert found.equal, found.differing
        again = await self.move()
        assert again.totals.files_exported == 0
        return repaired.totals.upserts, repaired.totals.deletes


def one(found: Verification) -> StreamReport:
    """Return the one stream that differs."""
    (report,) = found.differing
    return report
