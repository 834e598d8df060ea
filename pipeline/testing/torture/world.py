"""One run: processes move data between two apps until no more faults come; then both apps must hold the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import anyio
from anyio.abc import TaskGroup

from pipeline.domain.errors import LeaseLostError, PipelineError, RefusedError, TransientError
from pipeline.domain.ids import FlowName, StreamName
from pipeline.domain.movement import Choices, Movement
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.engine.movers.mover import Mover
from pipeline.kit.importer import Importer
from pipeline.kit.loading.destination import ImporterDestination
from pipeline.kit.reading.source import ExporterSource
from pipeline.ports.reporter import SilentReporter
from pipeline.testing.simulated.bucket import Bucket
from pipeline.testing.simulated.calling import CallingStore
from pipeline.testing.simulated.calls import CrashError
from pipeline.testing.simulated.faults import Dealer, Fault
from pipeline.testing.simulated.process import EPOCH, Disks, NoFaults, current
from pipeline.testing.simulated.story import Story
from pipeline.testing.simulated.unreliable_queue import Ring, SimulatedQueue
from pipeline.testing.torture.apps.plain_app import PlainApp
from pipeline.testing.torture.ends import SourceEnd, Subject
from pipeline.testing.torture.interception.author_process import AuthorProcess
from pipeline.testing.torture.interception.journal import Journal
from pipeline.testing.torture.interception.wrapped import wrapped_exporter, wrapped_importer
from pipeline.testing.torture.judging import judged, still_rejected
from pipeline.testing.torture.oracle import Dumped, Verdict
from pipeline.testing.torture.plan import VISIBILITY_SECONDS, Plan, of_seed

FLOW = FlowName("torture")
MOST_LAUNCHES = 30
QUIET_SECONDS = 60.0
"""After this time without faults, all leases have expired, and all processes that were stopped are awake."""
ALL = ("*",)
"""The pattern of all streams: any number of rows may be deleted."""


@dataclass
class World:
    """All parts of a run. `verdict` is what was found wrong."""

    subject: Subject
    plan: Plan
    dealer: Dealer
    story: Story = field(default_factory=Story)
    journal: Journal = field(default_factory=Journal)
    verdict: Verdict = field(default_factory=Verdict)
    processes: list[AuthorProcess] = field(default_factory=list)
    disks: Disks = field(default_factory=Disks)
    dumped: Dumped = ()
    keys_there: list[tuple[float, Mapping[str, frozenset[Any]]]] = field(default_factory=list)

    async def run(self) -> None:
        """Run to the end."""
        self.bucket, self.story.now = Bucket(), anyio.current_time
        self.ring = Ring(visibility_seconds=VISIBILITY_SECONDS, random=of_seed(self.plan.seed, "queue"))
        async with AsyncExitStack() as stack:
            self.observer = self._observer()
            current.set(self.observer)
            self.source = await stack.enter_async_context(self.subject.open_source())
            self.importer, self.target = await stack.enter_async_context(self.subject.open_target())
            self.wrapped = wrapped_importer(self.importer, self.target, self.journal, self._key_names)
            async with anyio.create_task_group() as group:
                self.group: TaskGroup = group
                await self._change("first", self.plan.first_changes)
                await self._move()
                group.cancel_scope.cancel()

    def _observer(self) -> AuthorProcess:
        """Return the process that observes: nothing goes wrong in it, and the story leaves it out."""
        return AuthorProcess("observer", NoFaults(), Story())

    def _key_names(self, stream: str) -> tuple[str, ...]:
        return next(iter(one.key for name, one in self.source.exporter.streams.items() if name == stream), ("id",))

    async def _move(self) -> None:
        for number in range(self.plan.movements):
            if number:
                await self._change(f"before {number}", self.plan.changes)
            await self._move_until_settled(number)
            if self.verdict.broken:
                return
        self._no_more_faults()
        await anyio.sleep(QUIET_SECONDS)
        settled = None
        for _ in range(self._last_movements()):
            settled = await self._launch(ALL)
        if settled is not None and not self.verdict.broken:
            await self._judge(settled)

    def _last_movements(self) -> int:
        """Return how many Movements make both sides equal: a row is gone when two lists that may shift lack it."""
        return 2 if any(stream.shifting for stream in self.source.exporter.streams.values()) else 1

    def _no_more_faults(self) -> None:
        self.story.tell("world", "nothing goes wrong from here on")
        self.dealer = NoFaults()
        for process in self.processes:
            process.dealer = self.dealer

    async def _change(self, moment: str, changes: int) -> None:
        await self.source.change(of_seed(self.plan.seed, "change", moment), changes)
        await self._look()

    async def _change_meanwhile(self, fault: Fault) -> None:
        token = current.set(self.observer)
        try:
            await self._change(f"{fault.point}", of_seed(self.plan.seed, "changes", fault.point).choice((1, 2, 4)))
        finally:
            current.reset(token)

    async def _look(self) -> None:
        """Note which rows there are from now on."""
        rows = await self.source.rows()
        self.keys_there.append((anyio.current_time(), {name: frozenset(table) for name, table in rows.items()}))

    async def _move_until_settled(self, number: int) -> None:
        for attempt in range(MOST_LAUNCHES):
            random = of_seed(self.plan.seed, "launch", number, attempt)
            if attempt:
                await anyio.sleep(random.choice((0.0, 0.05, 0.6, 3.0, 60.0)))
            if await self._launch(random.choice(((), ALL))) is not None or self.verdict.broken:
                return
        self.verdict.broken.append(f"the Movement has not ended after {MOST_LAUNCHES} attempts")

    async def _launch(self, allow_deletes: tuple[str, ...]) -> Movement | None:
        """Start a process, wait until it has ended or is given up for dead, and return the Movement it has settled."""
        process = self._process()
        alone = all(one.ended.is_set() for one in self.processes[:-1])
        dealt = len(self.dealer.dealt)
        self.group.start_soon(
            self._live, process, lambda: self._mover(process).run(Choices(allow_deletes=allow_deletes))
        )
        await process.given_up.wait()
        settled = process.result if isinstance(process.result, Movement) else None
        if settled is None and alone and dealt == len(self.dealer.dealt):
            self.verdict.broken.append(f"nothing went wrong, and {process.name} ended: {process.seen}")
        return settled

    def _process(self) -> AuthorProcess:
        name = f"worker-{len(self.processes) + 1}"
        process = AuthorProcess(name, self.dealer, self.story, self.disks, change=self._change_meanwhile)
        self.processes.append(process)
        self.journal.started[name] = anyio.current_time()
        return process

    def _mover(self, process: AuthorProcess) -> Mover:
        store = CallingStore(self.bucket, process)
        queue = SimulatedQueue(self.ring, process, "queue")
        context = EngineContext(store, queue, process, SilentReporter(), FlowStore(store, process), self.plan.limits)
        return Mover(context, FLOW, self._exporter_source(), self._destination(self.wrapped, store), process.name)

    def _exporter_source(self) -> ExporterSource:
        source: SourceEnd = self.source
        exporter = wrapped_exporter(source.exporter, source.client)
        return ExporterSource("torture:source", exporter, None)

    def _destination(self, importer: Importer, store: Any) -> ImporterDestination:
        return ImporterDestination("torture:destination", importer, None, store)

    async def _live(self, process: AuthorProcess, main: Callable[[], Awaitable[object]]) -> None:
        current.set(process)
        self.story.tell(process.name, "starts")
        try:
            process.result = await main()
            self.story.tell(process.name, "ends")
        except (TransientError, RefusedError, LeaseLostError, CrashError) as error:
            process.note_seen(str(error))
            if not process.dead:
                self.story.tell(process.name, f"ends: {error}")
        except PipelineError as error:
            process.note_seen(str(error))
            if not (process.dead or process.given_up.is_set()):  # one that looked dead may find that others went on
                self.verdict.broken.append(str(error))
        except BaseExceptionGroup:
            if not process.dead:
                raise
        finally:
            process.ended.set()
            process.given_up.set()

    async def _judge(self, settled: Movement) -> None:
        """Compare both apps."""
        if settled.totals.files_failed:
            self.verdict.broken += settled.problems or [f"the last Movement is {settled.status.value}"]
        current.set(self.observer)
        flows = FlowStore(self.bucket, self.observer)
        rejections = await still_rejected(self._destination(self.wrapped, self.bucket), self.bucket, flows, FLOW)
        expected = await self.source.rows()
        found, self.dumped = await judged(self.importer, self.target, self.journal, rejections, expected)
        await self._check_deletes(flows)
        self.verdict.broken += found.broken
        self.verdict.duplicates, self.verdict.races = found.duplicates, found.races

    async def _check_deletes(self, flows: FlowStore) -> None:
        """No row may be deleted that the source had throughout the Movement, unless its lists may shift."""
        for one in self.target.deleted if isinstance(self.target, PlainApp) else ():
            stream = self.source.exporter.streams.get(StreamName(one.stream))
            if stream is None or stream.shifting:
                continue
            movement = await flows.read_movement(FLOW, one.movement)
            begin = (movement.created - EPOCH).total_seconds()
            if self._was_there(one.stream, one.key, begin, one.seconds):
                self.verdict.broken.append(
                    f"{one.stream} {one.key}: Movement {one.movement} has deleted it, and the source had it all the time"
                )

    def _was_there(self, stream: str, key: tuple[Any, ...], begin: float, end: float) -> bool:
        first = max((seconds for seconds, _ in self.keys_there if seconds <= begin), default=0.0)
        return all(key in keys.get(stream, ()) for seconds, keys in self.keys_there if first <= seconds <= end)
