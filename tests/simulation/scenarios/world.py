"""What outlives processes, and how a process lives and ends in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace

import trio

from pipeline.assembly.progress_counts import Tally
from pipeline.domain.errors import (
    AbsentError,
    ConfigurationError,
    ConflictError,
    DamagedError,
    LeaseLostError,
    PipelineError,
    RefusedError,
    TransientError,
)
from pipeline.domain.ids import FlowName, ObjectKey
from pipeline.domain.movement import Movement, Status
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.ports.reporter import Event, MovementBegun
from pipeline.testing.simulated.bucket import Bucket
from pipeline.testing.simulated.calling import CallingStore
from pipeline.testing.simulated.calls import CrashError
from pipeline.testing.simulated.faults import Dealer
from pipeline.testing.simulated.process import Disks, NoFaults, Process, current
from pipeline.testing.simulated.story import Story
from pipeline.testing.simulated.unreliable_queue import Ring, SimulatedQueue
from tests.fakes.destination import MemoryDestination
from tests.fakes.rows import copied
from tests.fakes.source import MemorySource
from tests.simulation.model.model import Model, MovementId
from tests.simulation.platform.plan import FLOW, VISIBILITY_SECONDS, Plan, is_file, of_seed, reject_bad, trigger
from tests.simulation.platform.scheduler import after_sleep, listener
from tests.simulation.scenarios.planting import NOTHING, PlantedFault, Ports

QUIET_SECONDS = 10.0
"""After this time without faults, all leases have expired and all late calls have taken effect."""


class Watcher:
    """Watches the progress of one process: its percentage must never fall, nor begin below what processes have shown before."""

    def __init__(self, model: Model, process: Process, tally: type[Tally]) -> None:
        self._model, self._process, self._tally = model, process, tally
        self._tallies: dict[MovementId, Tally] = {}
        self._movement: MovementId | None = None
        self._before = dict(model.percents)

    def report(self, event: Event) -> None:
        """Count the event, and check the percentage."""
        if isinstance(event, MovementBegun):
            self._movement = event.flow, event.movement
        if self._movement is None:
            return
        is_carried_on = self._movement not in self._tallies
        tally = self._tallies.setdefault(self._movement, self._tally(trio.current_time))
        before = self._before.get(self._movement, 0) if is_carried_on else tally.percent
        tally.report(event)
        what = f"{self._process.name} shows {tally.percent} % after {before} %"
        self._model.must(before <= tally.percent <= 100, what)
        self._model.percents[self._movement] = max(tally.percent, self._model.percents.get(self._movement, 0))
        self._model.must(tally.status != Status.SUCCESS or tally.percent == 100, f"{what}, at its end")


@dataclass
class World:
    """All parts of a run. `model` has the rules that were broken."""

    plan: Plan
    dealer: Dealer
    planted: PlantedFault = NOTHING
    story: Story = field(default_factory=Story)
    disks: Disks = field(default_factory=Disks)
    processes: list[Process] = field(default_factory=list)
    late: int = 0
    calls: int = 0
    _at_calls: dict[int, list[trio.Event]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Build what outlives processes."""
        self.app = MemorySource(
            copied(self.plan.tables), location="simulated:source", labels=self.plan.labels, is_file=is_file
        )
        self.bucket = Bucket()
        self.model = Model(self.bucket, self.disks, self.plan.limits.delete_guard_rows)
        self.places: dict[FlowName, MemoryDestination] = {}
        self.place = self.add_place(FLOW, has_transactions=self.plan.has_transactions)
        self.imports, self.exports = self._ring("imports"), self._ring("exports")

    def add_place(self, flow: FlowName, *, has_transactions: bool = True) -> MemoryDestination:
        """Return the destination of a Flow, there from now on."""
        place = self.places[flow] = MemoryDestination(
            rejects=reject_bad, trigger=trigger, has_transactions=has_transactions, location=f"simulated:{flow}"
        )
        self.model.watch(flow, place)
        return place

    def edit(self, moment: str) -> None:
        """Let the users of the app, and of the app at each destination, do something."""
        self.plan.edit(self.app, moment)
        for flow, place in self.places.items():
            self.model.arrivals[flow].lives(self.plan.live(place, moment))

    def count_call(self) -> None:
        """Count a call of a port."""
        self.calls += 1
        for event in self._at_calls.pop(self.calls, ()):
            event.set()

    async def calls_made(self, count: int) -> None:
        """Wait for this number of further calls."""
        event = trio.Event()
        self._at_calls.setdefault(self.calls + count, []).append(event)
        await event.wait()

    def _ring(self, name: str) -> Ring:
        random = of_seed(self.plan.seed, name)
        return Ring(
            visibility_seconds=VISIBILITY_SECONDS,
            random=random,
            on_send=self.model.sent,
            on_acknowledge=lambda body, count: self.model.acknowledged(body, count, self.imports),
        )

    async def run(self, scenario: Callable[[World], Awaitable[None]]) -> None:
        """Run a scenario to its end."""
        self.story.now = trio.current_time
        async with trio.open_nursery() as nursery:
            self.nursery = nursery
            for ring in (self.imports, self.exports):
                await ring.plant(self.plan.poison)
            await scenario(self)
            nursery.cancel_scope.cancel()

    def process(self, kind: str) -> Process:
        """Return a new process of this kind."""
        name = f"{kind}-{sum(process.name.startswith(kind) for process in self.processes) + 1}"
        process = Process(
            name,
            self.dealer,
            self.story,
            self.disks,
            self._later,
            self.count_call,
            self.plan.latency(name),
            clock_offset_seconds=self.plan.clock_offset_seconds(name),
        )
        self.processes.append(process)
        return process

    def context(self, process: Process) -> EngineContext:
        """Return what the engine works with in this process."""
        store = CallingStore(self.bucket, process)
        queue = SimulatedQueue(self.imports, process, "imports")
        ports = self.planted.ports(Ports(store, queue, process))
        reporter, flows = Watcher(self.model, process, self.planted.tally), FlowStore(ports.store, process)
        return EngineContext(ports.store, ports.queue, process, reporter, flows, self.plan.limits)

    def source(self, process: Process) -> MemorySource:
        """Return the app as this process sees it."""
        return replace(self.app, calls=process, block_rows=self.plan.block_rows, on_snapshot=process.note_seen)

    def destination(self, flow: FlowName, process: Process) -> MemoryDestination:
        """Return the destination of a Flow as this process sees it."""
        return replace(self.places[flow], calls=process, session=self.planted.session)

    def start(self, process: Process, main: Callable[[], Awaitable[object]]) -> None:
        """Start a process that does `main`."""
        self.nursery.start_soon(self._live, process, main)

    def begin(self, kind: str, work: Callable[[Process], Awaitable[object]]) -> Process:
        """Start a process of this kind that does `work`; return it. It may be refused: its result is then None."""
        process = self.process(kind)

        async def main() -> object:
            try:
                return await work(process)
            except (AbsentError, ConfigurationError, ConflictError) as error:
                self.story.tell(process.name, f"not now: {error}")
                return None

        self.start(process, main)
        return process

    async def _live(self, process: Process, main: Callable[[], Awaitable[object]]) -> None:
        current.set(process)
        after_sleep.set(process.gate)
        listener.set(lambda text: self.story.tell(process.name, text))
        self.story.tell(process.name, f"starts, its clock {process.clock_offset_seconds:+.0f}s off")
        try:
            process.result = await main()
            self.story.tell(process.name, "ends")
        except (TransientError, RefusedError, LeaseLostError, CrashError) as error:
            self.story.tell(process.name, f"ends: {type(error).__name__}: {error}")
            replaced = len(self.processes) > 1 or not isinstance(error, LeaseLostError)
            self.model.must(replaced, f"{process.name} gave way, and there is nobody else")
        except Exception as error:  # noqa: BLE001  any other error is a broken rule
            self.story.tell(process.name, f"ends: {error!r}")
            pruned = process.given_up.is_set() and isinstance(error, AbsentError | DamagedError)  # it looked dead
            self.model.must(process.dead or pruned, f"{process.name} ended with {error!r}")
        except BaseExceptionGroup:
            if not process.dead:
                raise
            self.story.tell(process.name, "is gone")
        finally:
            process.ended.set()
            process.given_up.set()

    def _later(self, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
        async def run() -> None:
            await trio.sleep(seconds)
            self.story.tell("network", "a call that was on its way takes effect")
            with suppress(PipelineError):
                await work()
            self.late -= 1

        self.late += 1
        self.nursery.start_soon(run)

    def is_calm(self) -> bool:
        """Whether no process lives, nothing is on its way, and there is room on the disk."""
        living = any(not process.ended.is_set() for process in self.processes)
        return not living and not self.late and self.disks.have_room()

    async def no_more_faults(self) -> None:
        """End the faults of all processes, present and future; return when the last fault is over."""
        self.story.tell("world", "no faults from here on")
        self.dealer = NoFaults()
        for process in self.processes:
            process.dealer = self.dealer
        await trio.sleep(QUIET_SECONDS)

    async def all_awake(self) -> None:
        """Wait until the stopped processes continue, and a while longer."""
        await trio.sleep_until(max(process.frozen_until for process in self.processes))
        await trio.sleep(QUIET_SECONDS)

    async def all_ended(self) -> None:
        """Wait until all processes have ended and all late calls have taken effect."""
        for process in self.processes:
            await process.ended.wait()
        await trio.sleep(QUIET_SECONDS)

    def is_brought(self, flow: FlowName) -> bool:
        """Whether a further destination has settled a Movement of what the Flow has exported last."""
        latest, origin = self.model.latest(flow), self.model.latest(FLOW)
        if latest is None or origin is None or not latest.settled or latest.file_lists != origin.file_lists:
            return False
        return latest.status is Status.SUCCESS or latest.origin_movement >= origin.number

    def check_further(self, flow: FlowName) -> None:
        """A further destination must be equal to the source."""
        self.model.must(self.is_brought(flow), f"{flow} has not got what {FLOW} has exported last")
        self.model.arrivals[flow].check_equal(self.app.tables)

    @property
    def folded(self) -> Iterator[ObjectKey]:
        """The File Lists that compactions have replaced."""
        for (flow, number), movement in self.model.movements.items():
            if movement.compaction and movement.status is Status.SUCCESS:
                yield from self.model.movements[flow, number - 1].file_lists.values()

    def check_nothing_leaks(self, movement: Movement) -> None:
        """Check at the end that no upload is open, no lease is held and no file is unlisted."""
        must = self.model.must
        self.model.happenings.check_all(self.model.movements)
        self.model.starts.check_refused(self.model.movements)
        must(self.bucket.uploads == 0, f"{self.bucket.uploads} uploads were left open")
        for ring in (self.imports, self.exports):
            must(ring.in_flight() == 0, f"{ring.in_flight()} leases are still held")
            own = [(body, reason) for body, reason in ring.dead if body not in ring.foreign]
            rejected = [reason for _, reason in own if not reason.startswith(("delivered", "failed"))]
            must(not rejected, f"a message of our own was rejected: {', '.join(rejected)}")
        lists = [*movement.file_lists.values(), *self.folded]
        listed = {entry.id for key in lists for entry in self.model.stored.lists[key]}
        unlisted = sorted(str(file) for file in self.place.marked() if file not in listed)
        must(not unlisted, f"{', '.join(unlisted)} was loaded, and the last File List does not name it")
