"""Long-running workers on fakes. Each is a process that can die, be stopped, and start again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import anyio

from pipeline.codec.documents.message import MovementStarted, encode_message
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Flow, Movement
from pipeline.engine.control.early_end import fence_by
from pipeline.engine.maintenance.worker import MaintenanceWorker
from pipeline.engine.movements.context import EngineContext, Limits
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movements.lifecycle import start_movement
from pipeline.engine.workers.export_worker import ExportWorker
from pipeline.engine.workers.import_worker import ImportWorker
from pipeline.engine.workers.sweep import Sweep
from pipeline.ports.destination import Destination
from pipeline.ports.event_queue import EventQueue
from pipeline.ports.source import Source
from pipeline.testing.simulated.calling import CallingQueue, CallingStore
from pipeline.testing.simulated.calls import CrashError, Faults
from pipeline.testing.simulated.event_queue import MemoryEventQueue
from tests.engine.mover_world import FLOW, World
from tests.fakes.rows import Tables
from tests.fakes.source import MemorySource

LIMITS = Limits(
    event_file_rows=4, range_rows=3, sweep_seconds=5.0, visibility_seconds=30.0, progress_seconds=2.0, shard_files=2
)


@dataclass
class Fleet(World):
    """A world with a queue for exporters, in which workers run."""

    limits: Limits = LIMITS
    exports: EventQueue = field(default_factory=lambda: MemoryEventQueue(visibility_seconds=30.0))

    async def start(self) -> Movement:
        """Start a Movement, as `pipeline start` does."""
        movement = await self.start_unannounced()
        await self.exports.send([encode_message(MovementStarted(FLOW, movement.number))])
        return movement

    async def start_unannounced(self) -> Movement:
        """Start a Movement whose message is lost."""
        flow = await self.flows.connect(FLOW, MemorySource.location, self.destination.location)
        return await start_movement(self.flows, flow, self.choices)

    async def settled(self, number: int, *, within_seconds: float = 3600.0) -> Movement:
        """Wait until a Movement has settled."""
        return await self._until(number, lambda movement: movement.settled, within_seconds)

    async def exported(self, number: int) -> Movement:
        """Wait until a Movement is exported."""
        return await self._until(number, lambda movement: movement.exported, 3600.0)

    async def _until(self, number: int, holds: Callable[[Movement], bool], within_seconds: float) -> Movement:
        with anyio.fail_after(within_seconds):
            while True:
                movement = await self.flows.read_movement(FLOW, number)
                if holds(movement):
                    return movement
                await anyio.sleep(0.1)

    @asynccontextmanager
    async def workers(self, *workers: WorkerProcess) -> AsyncIterator[None]:
        """Run these workers, and stop them at the end."""
        stop = anyio.Event()
        async with anyio.create_task_group() as group:
            for worker in workers:
                group.start_soon(worker.run, stop)
            yield
            stop.set()


@dataclass
class WorkerProcess:
    """One process. It dies where `faults` says; its effects until then stay."""

    fleet: Fleet
    name: str
    roles: Sequence[str] = ("export", "import", "sweep")
    faults: Faults = field(default_factory=Faults)
    only_flows: frozenset[FlowName] = frozenset()
    death: anyio.Event = field(default_factory=anyio.Event)

    async def run(self, stop: anyio.Event) -> None:
        """Work until stopped or dead."""
        try:
            await self._run(stop)
        except BaseExceptionGroup as group:
            _, rest = group.split(CrashError)
            if rest is not None:
                raise rest from None
            self.death.set()

    async def _run(self, stop: anyio.Event) -> None:
        fleet = self.fleet
        store, imports = CallingStore(fleet.store, self.faults), CallingQueue(fleet.queue, self.faults)
        exports = CallingQueue(fleet.exports, self.faults)
        flows = FlowStore(store, fleet.clock)
        context = EngineContext(store, imports, fleet.clock, fleet.reporter, flows, fleet.limits, self.only_flows)
        async with anyio.create_task_group() as group:
            if "export" in self.roles:
                group.start_soon(ExportWorker(context, exports, self._source, self.name).run, stop)
            if "import" in self.roles:
                group.start_soon(ImportWorker(context, self._destination, self.name).run, stop)
            maintenance = MaintenanceWorker(context, self.name)
            if "maintain" in self.roles:
                group.start_soon(maintenance.run, stop)
            if "sweep" in self.roles:
                fence = fence_by(self._destination) if "import" in self.roles else None
                group.start_soon(Sweep(context, exports, fence, self.name, maintenance.note).run, stop)

    def _source(self, flow: Flow) -> Source:
        return MemorySource(self.fleet.tables, self.faults)

    def _destination(self, flow: Flow) -> Destination:
        return replace(self.fleet.destination, calls=self.faults)

    @property
    def imported(self) -> list[str]:
        """Return the Event Files that this process has imported."""
        calls = [call.removeprefix("after destination.load ") for call in self.faults.trace if "after d" in call]
        return [call for call in calls if "/" in call]


def numbered(rows: int, text: str = "x") -> Tables:
    """Return one table with this many rows."""
    return {"a": dict.fromkeys(range(rows), text)}
