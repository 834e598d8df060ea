"""Moving between two apps in memory when nothing goes wrong, and what has become of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.domain.ids import FlowName, StreamName
from pipeline.domain.movement import Choices, Movement
from pipeline.engine.movements.context import EngineContext, Limits
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movers.mover import Mover
from pipeline.engine.storage.binaries import BinaryFiles
from pipeline.kit.exporter import Exporter
from pipeline.kit.importer import Importer
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.kit.reading.source import ExporterSource
from pipeline.ports.destination import Loaded, Rejection
from pipeline.ports.reporter import SilentReporter
from pipeline.testing.simulated.event_queue import MemoryEventQueue
from pipeline.testing.simulated.object_store import MemoryObjectStore
from pipeline.testing.simulated.process import current
from pipeline.testing.suites.single_files import Records, event_file
from pipeline.testing.torture.interception.author_process import AuthorProcess
from pipeline.testing.torture.interception.journal import Journal
from pipeline.testing.torture.interception.wrapped import KeyNames, wrapped_exporter, wrapped_importer
from pipeline.testing.torture.judging import judged, still_rejected
from pipeline.testing.torture.oracle import Rows

FLOW = FlowName("suite")


@dataclass
class UndisturbedFlow:
    """A Flow from an Exporter with its client into an Importer with its target."""

    exporter: Exporter
    client: Any
    importer: Importer
    target: Any
    keys: KeyNames
    store: MemoryObjectStore = field(default_factory=MemoryObjectStore)
    queue: MemoryEventQueue = field(default_factory=MemoryEventQueue)
    journal: Journal = field(default_factory=Journal)

    def __post_init__(self) -> None:
        self.process = AuthorProcess("suite")
        self.journal.started[self.process.name] = 0.0
        self._flows = FlowStore(self.store, self.process)
        self._wrapped = wrapped_importer(self.importer, self.target, self.journal, self.keys)

    async def move(self) -> Movement:
        """Move once."""
        current.set(self.process)
        self.process.calls_left = 10_000_000
        context = EngineContext(self.store, self.queue, self.process, SilentReporter(), self._flows, Limits())
        source = ExporterSource("suite:source", wrapped_exporter(self.exporter, self.client), None)
        return await Mover(context, FLOW, source, self._destination(), "suite").run(Choices(allow_deletes=("*",)))

    async def load(self, stream: StreamName, movement: int, records: Records) -> None:
        """Load an Event File of a Movement after the one that was made. AssertionError when it is not loaded."""
        current.set(self.process)
        flow = await self._flows.read_flow(FLOW)
        contents = BinaryFiles(self.store, FLOW, SilentReporter())
        file = await event_file(FLOW, self.exporter.streams[stream], movement, records, contents)
        async with self._destination().open(flow.marks_namespace) as session:
            outcome = await session.load(file, after=())
        assert isinstance(outcome, Loaded), outcome

    def _destination(self) -> ImporterDestination:
        return ImporterDestination("suite:destination", self._wrapped, None, self.store)

    async def rejections(self) -> Sequence[Rejection]:
        """Return the records that the Importer has rejected."""
        return await still_rejected(self._destination(), self.store, self._flows, FLOW)

    async def move_whole(self) -> Movement:
        """Move once; AssertionError when an Event File has failed."""
        movement = await self.move()
        if movement.totals.files_failed:
            raise AssertionError("\n".join(movement.problems))
        return movement

    async def check(self, expected: Rows) -> None:
        """AssertionError names in what the target differs from the expected rows. Rejected records are left out."""
        verdict, _ = await judged(self.importer, self.target, self.journal, await self.rejections(), expected)
        if verdict.broken:
            raise AssertionError("\n".join(verdict.broken))

    @property
    def calls(self) -> int:
        """How often the Importer's functions have been called for a row."""
        return sum(len(calls) for calls in self.journal.calls.values())
