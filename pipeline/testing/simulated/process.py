"""A simulated process: it may die, be stopped and go on, and every call of a port it makes may go wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from anyio import Event, current_time, sleep, sleep_until

from pipeline.domain.errors import PipelineError, RefusedError, TransientError
from pipeline.testing.simulated.calls import CrashError, Work
from pipeline.testing.simulated.faults import NEED_ROOM, Dealer, Fault, Kind, kinds_of, method_of
from pipeline.testing.simulated.story import Story

T = TypeVar("T")
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
MOST_CALLS = 20_000
LOOKS_DEAD_SECONDS = 5.0
"""A process that is stopped for longer is given up, and another one is started."""


class NoFaults:
    """A dealer with which all goes well."""

    def __init__(self) -> None:
        self.dealt: list[Fault] = []

    def deal(self, process: str, call: str, kinds: Sequence[Kind]) -> Fault | None:
        return None


@dataclass
class Disks:
    """The disks of store, queues and destination; each may be full until a moment, for all processes.

    `refusals` counts what the destination has refused for that.
    """

    full_until: dict[str, float] = field(default_factory=dict)
    refusals: int = 0

    def fill(self, name: str, seconds: float) -> None:
        """Fill the disk under the port of the call `name`."""
        self.full_until[name.split(".")[0]] = current_time() + seconds
        self.refuse(name)

    def check_room(self, name: str) -> None:
        """RefusedError while the disk to which the call `name` writes is full."""
        until = self.full_until.get(name.split(".")[0])
        if until is not None and current_time() < until:
            self.refuse(name)

    def refuse(self, name: str) -> None:
        """Raise RefusedError."""
        self.refusals += name.startswith("destination")
        raise RefusedError(f"{name} was refused: the disk is full")

    def have_room(self) -> bool:
        """Whether none is full."""
        return all(current_time() >= moment for moment in self.full_until.values())

    def attempts(self, most: int) -> Iterator[int]:
        """Number attempts until `most` of them have ended with room on every disk. The others prove nothing."""
        number = with_room = 0
        while with_room < most:
            yield number
            number += 1
            with_room += self.have_room()


current: ContextVar[Process] = ContextVar("current")
"""The process to which a task belongs."""


@dataclass
class Process:
    """One process.

    `late` runs a call that takes effect after its caller has ended. `on_call` is called at each call, and each call takes
    `latency_seconds`. `calls_left` ends a run that makes no progress. `given_up` is set when the process has ended or
    seems dead. `result` is its return value, `seen` the app as it saw it last. `rolls_back`: the app undoes what the process
    has not committed.
    """

    name: str
    dealer: Dealer = field(default_factory=NoFaults)
    story: Story = field(default_factory=Story)
    disks: Disks = field(default_factory=Disks)
    late: Callable[[float, Callable[[], Awaitable[object]]], None] = lambda seconds, work: None
    on_call: Callable[[], None] = lambda: None
    latency_seconds: Callable[[], float] = lambda: 0.0
    clock_offset_seconds: float = 0.0
    dead: bool = False
    rolls_back: bool = False
    frozen_until: float = 0.0
    given_up: Event = field(default_factory=Event)
    ended: Event = field(default_factory=Event)
    result: object = None
    seen: Any = None
    calls_left: int = MOST_CALLS

    def now(self) -> datetime:
        """The time of day, as this process believes it to be."""
        return EPOCH + timedelta(seconds=current_time() + self.clock_offset_seconds)

    def note_seen(self, app: object) -> None:
        """Remember what it saw of the app."""
        self.seen = app

    async def gate(self) -> None:
        """Return while the process is alive and not stopped."""
        while self.frozen_until and not self.dead and current_time() < self.frozen_until:  # noqa: ASYNC110  it may be stopped again
            await sleep_until(self.frozen_until)
        if self.dead:
            raise CrashError(self.name)

    def die(self) -> None:
        """Die here and now."""
        self.dead = True
        self.story.tell(self.name, "is dead")
        raise CrashError(self.name)

    def _freeze(self, seconds: float) -> None:
        self.frozen_until = current_time() + seconds
        if seconds >= LOOKS_DEAD_SECONDS:
            self.given_up.set()

    def point(self, name: str) -> Fault | None:
        """Return what goes wrong at this call, and tell it."""
        self.calls_left -= 1
        self.on_call()
        if self.calls_left < 0:
            raise AssertionError(f"{self.name} goes round in circles: it has called ports {MOST_CALLS:,} times")
        fault = self.dealer.deal(self.name, name, kinds_of(name))
        self.story.tell(self.name, name, str(fault) if fault else "")
        return fault

    async def call(
        self,
        name: str,
        work: Work[T],
        halfway: Work[object] | None = None,
        *,
        lost: Callable[[str], Exception] = TransientError,
    ) -> T:
        """Do `work` as a call of a port, with whatever goes wrong; `halfway` does its first half.

        `lost` is the error of a call that gets no answer.
        """

        async def work_with_room() -> T:
            if method_of(name) in NEED_ROOM:
                self.disks.check_room(name)
            return await work()

        await self.gate()
        if latency := self.latency_seconds():
            await sleep(latency)
            await self.gate()
        fault = self.point(name)
        if fault is not None:
            await self._before(name, fault, work_with_room, halfway, lost)
        try:
            result = await work_with_room()
        except PipelineError as error:
            self.story.tell(self.name, f"  {name.split()[0]}: {type(error).__name__}: {error}")
            raise
        if fault is not None:
            await self._after(name, fault, lost)
        await self.gate()
        return result

    async def _before(
        self,
        name: str,
        fault: Fault,
        work: Work[object],
        halfway: Work[object] | None,
        lost: Callable[[str], Exception],
    ) -> None:
        match fault.kind:
            case Kind.DIE_BEFORE:
                self.die()
            case Kind.DIE_HALFWAY:
                if halfway is not None:
                    await halfway()
                self.die()
            case Kind.DIE_LATE:
                self.late(fault.seconds, work)
                self.die()
            case Kind.FAIL_LATE:
                self.late(fault.seconds, work)
                raise lost(f"{name} timed out")
            case Kind.FAIL_BEFORE:
                raise lost(f"{name} was throttled")
            case Kind.REFUSE:
                self.disks.refuse(name)
            case Kind.FULL:
                self.disks.fill(name, fault.seconds)
            case Kind.HANG_BEFORE:
                await sleep(fault.seconds)
                await self.gate()
            case Kind.FREEZE_BEFORE:
                self._freeze(fault.seconds)
                await self.gate()
            case _:
                pass

    async def _after(self, name: str, fault: Fault, lost: Callable[[str], Exception]) -> None:
        match fault.kind:
            case Kind.DIE_AFTER:
                self.die()
            case Kind.FAIL_AFTER:
                raise lost(f"{name}: the connection was lost before the answer came")
            case Kind.HANG_AFTER:
                await sleep(fault.seconds)
            case Kind.FREEZE_AFTER:
                self._freeze(fault.seconds)
            case _:
                pass
