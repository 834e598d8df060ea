"""Running the Mover on fakes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Choices, Movement
from pipeline.engine.movements.context import EngineContext, Limits
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movers.mover import Mover
from pipeline.ports.event_queue import EventQueue
from pipeline.ports.object_store import ObjectStore
from pipeline.ports.reporter import Event
from pipeline.testing.simulated.calling import CallingQueue, CallingStore
from pipeline.testing.simulated.calls import Faults
from pipeline.testing.simulated.clock import ManualClock
from pipeline.testing.simulated.event_queue import MemoryEventQueue
from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.fakes.destination import MemoryDestination
from tests.fakes.rows import Tables
from tests.fakes.source import MemorySource

FLOW = FlowName("crm")
SMALL = Limits(event_file_rows=4, range_rows=3, sweep_seconds=1.0, visibility_seconds=30.0)


@dataclass
class RecordingReporter:
    """Records every event."""

    events: list[Event] = field(default_factory=list)

    def report(self, event: Event) -> None:
        self.events.append(event)


@dataclass
class World:
    """All that outlives a process: store, queue, source, destination, and the time."""

    tables: Tables
    store: ObjectStore = field(default_factory=MemoryObjectStore)
    queue: EventQueue = field(default_factory=lambda: MemoryEventQueue(visibility_seconds=30.0))
    destination: MemoryDestination = field(default_factory=MemoryDestination)
    clock: ManualClock = field(default_factory=ManualClock)
    limits: Limits = SMALL
    reporter: RecordingReporter = field(default_factory=RecordingReporter)
    worker: str = "worker"
    only: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow_deletes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    """Texts whose rows the source cannot give."""
    fails: dict[str, Exception] = field(default_factory=dict)
    """What reading a table raises after its rows."""

    @property
    def flows(self) -> FlowStore:
        """The Flows in the store."""
        return FlowStore(self.store, self.clock)

    @property
    def choices(self) -> Choices:
        """What a person chooses for the next Movement."""
        return Choices(self.only, self.exclude, self.allow_deletes)

    async def move(self, faults: Faults | None = None) -> Movement:
        """Move once in a process of its own."""
        faults = faults or Faults()
        store, queue = CallingStore(self.store, faults), CallingQueue(self.queue, faults)
        destination = replace(self.destination, calls=faults)
        flows = FlowStore(store, self.clock)
        context = EngineContext(store, queue, self.clock, self.reporter, flows, self.limits)
        source = MemorySource(self.tables, faults, labels=self.labels, rejects=self._why_unreadable, fails=self.fails)
        return await Mover(context, FLOW, source, destination, self.worker).run(self.choices)

    def _why_unreadable(self, text: str) -> str:
        return f"{text} cannot be read; mend it" if text in self.unreadable else ""
