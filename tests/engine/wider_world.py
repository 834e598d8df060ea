"""Derived Flows, compaction and pruning on fakes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Movement, Status
from pipeline.domain.planning.retention import Reason
from pipeline.engine.maintenance.compaction import Compaction, Compactor
from pipeline.engine.maintenance.needed import Kept
from pipeline.engine.maintenance.pruning import Pruner, Pruning
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.derived_flows import add_destination
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movers.derived_mover import DerivedMover
from pipeline.ports.object_store import ObjectInfo
from pipeline.testing.simulated.calling import CallingQueue, CallingStore
from pipeline.testing.simulated.calls import CrashError, Faults
from tests.engine.mover_world import FLOW, World
from tests.fakes.destination import MemoryDestination
from tests.fakes.rows import Table


def numbered(*numbers: int, text: str = "text") -> Table:
    """Return a table with these rows."""
    return {number: f"{text} {number}" for number in numbers}


@contextmanager
def may_crash() -> Iterator[None]:
    """Suppress the death of a process, and nothing else."""
    try:
        yield
    except CrashError:
        return
    except BaseExceptionGroup as group:
        rest = group.split(CrashError)[1]
        if rest is not None:
            raise


@dataclass
class WiderWorld(World):
    """A world with derived Flows. `further` holds the destination of each."""

    further: dict[FlowName, MemoryDestination] = field(default_factory=dict)

    def context(self, faults: Faults | None = None) -> EngineContext:
        """Return the context of a process."""
        faults = faults or Faults()
        store, queue = CallingStore(self.store, faults), CallingQueue(self.queue, faults)
        return EngineContext(store, queue, self.clock, self.reporter, FlowStore(store, self.clock), self.limits)

    async def add_destination(self, name: str) -> FlowName:
        """Add a destination, with a derived Flow."""
        flow = FlowName(name)
        self.further.setdefault(flow, MemoryDestination(location=f"memory:{name}"))
        await add_destination(self.flows, self.clock, FLOW, flow, self.further[flow].location)
        return flow

    async def bring(self, flow: FlowName, faults: Faults | None = None) -> Movement:
        """Bring a derived Flow up to date in a process of its own."""
        faults = faults or Faults()
        destination = replace(self.further[flow], calls=faults)
        return await DerivedMover(self.context(faults), flow, destination, "worker").run()

    async def compact(self, *streams: str, faults: Faults | None = None) -> Compaction:
        """Compact in a process of its own."""
        return await Compactor(self.context(faults), FLOW).run(streams)

    async def listed(self) -> list[FileEntry]:
        """Return all entries of the Flow's File Lists, label by label."""
        latest = await self.flows.latest(await self.flows.read_flow(FLOW))
        assert latest is not None
        return [entry for _, key in sorted(latest.file_lists.items()) for entry in await self.flows.read_file_list(key)]

    async def prune(self, *, deleting: bool = True, faults: Faults | None = None, **kept: timedelta) -> Pruning:
        """Prune in a process of its own, or return what would be pruned."""
        context = self.context(faults)
        pruner = Pruner(context.store, context.flows, self.clock, FLOW, "worker", replace(Kept(), **kept))
        return await pruner.run(ignore, take_over=True) if deleting else await pruner.preview(ignore)

    async def keys(self) -> set[str]:
        """Return all keys of the Flow."""
        return {info.key for info in await self.store.list_page(f"flows/{FLOW}/", limit=100_000)}


def ignore(info: ObjectInfo, reason: Reason) -> None:
    """Ignore an object that is deleted."""


async def abandon(world: World, at: str = "after store.put flows/crm/events/1/a/full/3.jsonl.zst") -> None:
    """Let a Movement die in the middle of its export of the stream `a`, and settle it as timed out."""
    with may_crash():
        await world.move(Faults(crash_on=at))
    movement = await world.flows.read_movement(FLOW, 1)
    assert movement.unfinished == {"a": 1}
    moment = world.clock.now()
    await world.flows.update(FLOW, 1, lambda now: now.to(Status.TIMED_OUT, moment))
