"""A whole run: Movers are started until each Movement has settled, processes die, freeze and wake; then all is checked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

import trio

from pipeline.domain.errors import LeaseLostError, PipelineError, RefusedError, TransientError
from pipeline.domain.ids import FlowName
from pipeline.domain.movement import Movement, Status
from pipeline.engine.flows import FlowStore
from pipeline.engine.mover import Mover
from pipeline.engine.parts import EngineParts
from pipeline.ports.reporter import Event
from tests.simulation.destination import REFUSED_PREFIX, Place, SimulatedDestination
from tests.simulation.faults import Dealer, Fault, ScriptedDealer, seeded_dealer
from tests.simulation.model import Model
from tests.simulation.plan import VISIBILITY_SECONDS, Plan, of_seed, plan_of
from tests.simulation.process import CrashError, Disk, NoFaults, Process
from tests.simulation.queue import Ring, SimulatedQueue
from tests.simulation.scheduler import after_sleep, listener, run_seeded
from tests.simulation.source import App, SimulatedSource, Tables, copied
from tests.simulation.store import Bucket, SimulatedStore
from tests.simulation.story import Story

FLOW = FlowName("crm")
MOST_LAUNCHES = 30


class _Silent:
    def report(self, event: Event) -> None:
        return None


@dataclass
class Launch:
    """One process that moves once. `ended` is set when it is gone; `movement` is what it settled, if it did."""

    process: Process
    source: SimulatedSource
    ended: trio.Event = field(default_factory=trio.Event)
    movement: Movement | None = None


@dataclass
class World:
    """All that a run consists of."""

    plan: Plan
    dealer: Dealer
    story: Story = field(default_factory=Story)
    disk: Disk = field(default_factory=Disk)
    launches: list[Launch] = field(default_factory=list)
    late: int = 0

    def __post_init__(self) -> None:
        """Build what outlives processes."""
        self.app = App(copied(self.plan.tables), self.plan.labels)
        self.bucket = Bucket()
        self.place = Place(has_transactions=self.plan.has_transactions)
        self.model = Model(self.bucket, self.place)
        self.ring = Ring(
            visibility_seconds=VISIBILITY_SECONDS, random=of_seed(self.plan.seed, "ring"), on_send=self.model.sent
        )

    async def run(self) -> None:
        """Live through the plan; what is broken stands in the model."""
        self.story.now = trio.current_time
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for number in range(self.plan.movements):
                if not self.model.broken:
                    await self._move_until_settled(number)
            if not self.model.broken:
                await self._end()
            nursery.cancel_scope.cancel()

    async def _move_until_settled(self, number: int) -> None:
        for attempt in range(MOST_LAUNCHES):
            moment = f"{number}.{attempt}"
            if attempt:
                await trio.sleep(self.plan.pause_seconds(moment))
            if number or attempt:
                self.plan.edit(self.app.tables, moment)
            launch = await self._launch()
            if self.model.broken:
                return
            if launch.movement is not None:
                self._check_settled(launch, launch.movement)
                return
        self.model.must(False, f"the Movement has not settled after {MOST_LAUNCHES} launches")

    async def _launch(self, dealer: Dealer | None = None) -> Launch:
        """Start a process, and wait until it has ended or is given up for dead."""
        name = f"mover-{len(self.launches) + 1}"
        process = Process(
            name,
            dealer or self.dealer,
            self.story,
            self.disk,
            self._later,
            clock_offset_seconds=self.plan.clock_offset_seconds(name),
        )
        alone, faults = self._is_calm(), len(self.dealer.dealt)
        launch = Launch(process, SimulatedSource(self.app, process, self.plan.block_rows))
        self.launches.append(launch)
        self._nursery.start_soon(self._live, launch)
        await process.given_up.wait()
        undisturbed = alone and faults == len(self.dealer.dealt)
        self.model.must(launch.movement or not undisturbed, f"{name} was undisturbed, and did not settle its Movement")
        return launch

    def _is_calm(self) -> bool:
        """Whether no other process lives, nothing is on its way, and there is room on the disk."""
        living = any(not launch.ended.is_set() for launch in self.launches)
        return not living and not self.late and trio.current_time() >= self.disk.full_until

    def _later(self, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
        async def run() -> None:
            await trio.sleep(seconds)
            self.story.tell("network", "a call that was on its way takes effect")
            with suppress(PipelineError):
                await work()
            self.late -= 1

        self.late += 1
        self._nursery.start_soon(run)

    async def _live(self, launch: Launch) -> None:
        process = launch.process
        after_sleep.set(process.gate)
        listener.set(lambda text: self.story.tell(process.name, text))
        self.story.tell(process.name, f"starts, its clock {process.clock_offset_seconds:+.0f}s off")
        try:
            launch.movement = await self._mover(launch).run()
            self.story.tell(process.name, f"ends: Movement {launch.movement.number} {launch.movement.status}")
        except (TransientError, RefusedError, LeaseLostError, CrashError) as error:
            self.story.tell(process.name, f"ends: {type(error).__name__}: {error}")
            replaced = launch is not self.launches[-1] or not isinstance(error, LeaseLostError)
            self.model.must(replaced, f"{process.name} gave way, and nobody has taken its place")
        except Exception as error:  # noqa: BLE001  whatever it is, nobody could act on it
            self.story.tell(process.name, f"ends: {error!r}")
            self.model.must(process.dead, f"{process.name} ended with {error!r}")
        finally:
            launch.ended.set()
            process.given_up.set()

    def _mover(self, launch: Launch) -> Mover:
        process = launch.process
        store = SimulatedStore(self.bucket, process)
        flows = FlowStore(store, process)
        parts = EngineParts(store, SimulatedQueue(self.ring, process), process, _Silent(), flows, self.plan.limits)
        return Mover(parts, FLOW, launch.source, SimulatedDestination(self.place, process), process.name)

    def _check_settled(self, launch: Launch, movement: Movement) -> None:
        expected = Status.INCOMPLETE if _refused(launch.source.seen) else Status.SUCCESS
        if self._is_calm():
            self.model.must(
                movement.status is expected,
                f"Movement {movement.number} settled as {movement.status}, not {expected}: {movement.problems}",
            )
            self._check_arrived(launch.source.seen)

    def _check_arrived(self, seen: Tables) -> None:
        refused = _refused(seen)
        for name in sorted(seen.keys() | self.place.tables.keys()):
            wanted, held = seen.get(name, {}), self.place.tables.get(name, {})
            numbers = {number for number in wanted.keys() | held.keys() if (name, number) not in refused}
            wrong = sorted(number for number in numbers if wanted.get(number) != held.get(number))
            self.model.must(
                not wrong, f"the rows {wrong} of {name} are not at the destination as they are at the source"
            )

    async def _end(self) -> None:
        """Let sleepers wake and end, then move once more without faults: all must be as at the source."""
        for launch in self.launches:
            launch.process.dealer = NoFaults()
        for launch in self.launches:
            await launch.ended.wait()
        await trio.sleep(10)
        self.story.tell("world", "no faults from here on")
        launch = await self._launch(NoFaults())
        if launch.movement is None:
            return
        self._check_settled(launch, launch.movement)
        await trio.sleep(3600)
        self._check_nothing_leaks(launch.movement)

    def _check_nothing_leaks(self, movement: Movement) -> None:
        must = self.model.must
        must(self.bucket.uploads == 0, f"{self.bucket.uploads} uploads were left open")
        must(self.ring.in_flight() == 0, f"{self.ring.in_flight()} leases are still held")
        listed = {entry.id for key in movement.file_lists.values() for entry in self.model.lists[key]}
        unlisted = sorted(str(file) for file in self.place.marks[FLOW] if file not in listed)
        must(not unlisted, f"{', '.join(unlisted)} was loaded, and the last File List does not name it")


def _refused(tables: Tables) -> set[tuple[str, int]]:
    return {
        (name, number)
        for name, table in tables.items()
        for number, text in table.items()
        if text.startswith(REFUSED_PREFIX)
    }


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a seed: the promises that were broken, the faults that were dealt, the story."""

    seed: int
    broken: tuple[str, ...]
    faults: tuple[Fault, ...]
    story: Story


def simulate(seed: int, script: Sequence[Fault] | None = None) -> Run:
    """Run the world of a seed, with the faults it deals, or with those of `script` instead."""
    plan = plan_of(seed)
    dealer: Dealer = seeded_dealer(Random(seed)) if script is None else ScriptedDealer(script)
    world = World(plan, dealer)
    try:
        run_seeded(seed, world.run)
    except AssertionError as error:
        world.model.broken.append(str(error))
    return Run(seed, tuple(world.model.broken), tuple(dealer.dealt), world.story)
