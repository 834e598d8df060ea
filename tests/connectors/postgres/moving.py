"""Whole Movements between real databases, through the engine, with the store in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.connectors.postgres import PostgresSource
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import NO_CHOICES, Choices, Movement, Status
from pipeline.engine.movements.context import EngineContext, Limits
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movers.mover import Mover
from pipeline.engine.verify.verifier import Verifier, VerifyRequest
from pipeline.ports.destination import Destination
from pipeline.ports.source import Source
from pipeline.testing.simulated.clock import ManualClock
from pipeline.testing.simulated.event_queue import MemoryEventQueue
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.engine.mover_world import RecordingReporter

FLOW = FlowName("flow")


@dataclass
class Movements:
    """A Flow from one place to another."""

    source: Source
    destination: Destination
    limits: Limits = field(default_factory=Limits)
    store: MemoryObjectStore = field(default_factory=MemoryObjectStore)
    clock: ManualClock = field(default_factory=ManualClock)

    def flows(self) -> FlowStore:
        """Return the Flows of the store."""
        return FlowStore(self.store, self.clock)

    async def move(self, choices: Choices = NO_CHOICES) -> Movement:
        """Move once."""
        flows = self.flows()
        queue = MemoryEventQueue(visibility_seconds=30.0)
        parts = EngineContext(self.store, queue, self.clock, RecordingReporter(), flows, self.limits)
        return await Mover(parts, FLOW, self.source, self.destination, "worker").run(choices)


async def succeed(movements: Movements) -> Movement:
    """Move once, with success and without problems."""
    movement = await movements.move()
    assert (movement.status, movement.problems) == (Status.SUCCESS, ())
    return movement


async def equal(movements: Movements) -> bool:
    """Whether the destination, a database, equals the source."""
    flows = movements.flows()
    flow = await flows.read_flow(FLOW)
    copy = PostgresSource(movements.destination.location, copy_of=flow.marks_namespace)
    verifier = Verifier(movements.store, flows, movements.clock, flow, source=movements.source, copy=copy)
    verification = await verifier.run(VerifyRequest())
    return verification.equal
