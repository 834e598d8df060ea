"""Moving between two apps in memory when nothing goes wrong, and what has become of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Choices, Movement, marks_namespace
from pipeline.engine.movements.context import EngineContext, Limits
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movers.mover import Mover
from pipeline.kit.dump.dumped_rows import dumped_rows
from pipeline.kit.exporter import Exporter
from pipeline.kit.importer import Importer
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.kit.reading.source import ExporterSource
from pipeline.ports.destination import Rejection
from pipeline.ports.reporter import SilentReporter
from pipeline.testing.simulated.event_queue import MemoryEventQueue
from pipeline.testing.simulated.object_store import MemoryObjectStore
from pipeline.testing.simulated.process import current
from pipeline.testing.torture.interception.author_process import AuthorProcess
from pipeline.testing.torture.interception.journal import Journal
from pipeline.testing.torture.interception.wrapped import KeyNames, wrapped_exporter, wrapped_importer
from pipeline.testing.torture.oracle import Oracle, Rows, key_text

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
        self._wrapped = wrapped_importer(self.importer, self.target, self.journal, self.keys)

    async def move(self) -> Movement:
        """Move once."""
        current.set(self.process)
        self.process.calls_left = 10_000_000
        flows = FlowStore(self.store, self.process)
        context = EngineContext(self.store, self.queue, self.process, SilentReporter(), flows, Limits())
        source = ExporterSource("suite:source", wrapped_exporter(self.exporter, self.client), None)
        return await Mover(context, FLOW, source, self._destination(), "suite").run(Choices(allow_deletes=("*",)))

    def _destination(self) -> ImporterDestination:
        return ImporterDestination("suite:destination", self._wrapped, None, self.store)

    async def rejections(self) -> list[Rejection]:
        """Return the records that the Importer has rejected."""
        flow = await FlowStore(self.store, self.process).read_flow(FLOW)
        async with self._destination().open(marks_namespace(FLOW, flow.created)) as session:
            return list(await session.retry_rejected())

    async def move_whole(self) -> Movement:
        """Move once; AssertionError when an Event File has failed."""
        movement = await self.move()
        if movement.totals.files_failed:
            raise AssertionError("\n".join(movement.problems))
        return movement

    async def check(self, expected: Rows) -> None:
        """AssertionError names in what the target differs from the expected rows. Rejected records are left out."""
        rejected = frozenset((one.file.stream, key_text(one)) for one in await self.rejections())
        dumped = [(str(one.stream), one.key, one.row) async for one in dumped_rows(self.importer, self.target)]
        if broken := Oracle(self.importer, self.journal, rejected).judge(expected, dumped).broken:
            raise AssertionError("\n".join(broken))

    @property
    def calls(self) -> int:
        """How often the Importer's functions have been called for a row."""
        return sum(len(calls) for calls in self.journal.calls.values())
