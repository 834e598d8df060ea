"""A clock for trio that advances when every task waits, and a sleep without a cancel scope of its own.

`trio.testing.MockClock` with `trio.sleep` does the same; a simulated world would spend a seventh of its time in its cancel scopes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

import trio
from trio.lowlevel import Abort, Task


@dataclass(order=True, slots=True)
class _Sleeper:
    """A task that sleeps until `end`; None once it has been cancelled."""

    end: float
    number: int
    task: Task | None = field(compare=False)

    def abort(self, _: object) -> Abort:
        self.task = None
        return Abort.SUCCEEDED


class VirtualClock(trio.abc.Clock):
    """The virtual time in seconds since the start of the run."""

    def __init__(self) -> None:
        self._now = 0.0
        self._sleepers: list[_Sleeper] = []
        self._numbers = count()

    def start_clock(self) -> None:
        """Do nothing: the clock does not run by itself."""

    def current_time(self) -> float:
        """Return the time."""
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Advance to the deadline, or to the first task that sleeps less long. trio asks when every task waits."""
        while self._sleepers and self._sleepers[0].task is None:
            heappop(self._sleepers)
        first = min(deadline, self._sleepers[0].end) if self._sleepers else deadline
        if first == float("inf"):
            return first
        self._now = max(self._now, first)
        while self._sleepers and self._sleepers[0].end <= self._now:
            if (task := heappop(self._sleepers).task) is not None:
                trio.lowlevel.reschedule(task)
        return 0.0

    async def sleep(self, seconds: float) -> None:
        """Sleep for this number of seconds of this clock."""
        if seconds <= 0:
            await trio.lowlevel.checkpoint()
            return
        sleeper = _Sleeper(self._now + seconds, next(self._numbers), trio.lowlevel.current_task())
        heappush(self._sleepers, sleeper)
        await trio.lowlevel.wait_task_rescheduled(sleeper.abort)
