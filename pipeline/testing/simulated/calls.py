"""How fakes make the calls of a process: a test decides what comes of each call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from anyio.lowlevel import checkpoint

T = TypeVar("T")
Work = Callable[[], Awaitable[T]]


class CrashError(BaseException):
    """The process has died."""


class Calls(Protocol):
    """The calls of ports that one process makes."""

    async def call(self, name: str, work: Work[T], halfway: Work[object] | None = None) -> T:
        """Await `work` and return its result. `halfway` does its first half, for a process that dies within.

        `name` is the port, a dot, the method, and what it is about: `store.put flows/crm/flow.json`.
        """
        ...


class Unhindered:
    """Every call does what it should."""

    async def call(self, name: str, work: Work[T], halfway: Work[object] | None = None) -> T:
        return await work()


UNHINDERED = Unhindered()


@dataclass
class Faults:
    """Counts the calls of ports, and dies before (even number) or after (odd number) a call, or at a call by its name."""

    crash_at: int | None = None
    crash_on: str | None = None
    calls: int = 0
    dead: bool = False
    trace: list[str] = field(default_factory=list)

    def _moment(self, name: str) -> None:
        if self.dead:
            raise CrashError(name)
        self.trace.append(name)
        if self.calls == self.crash_at or name == self.crash_on:
            self.dead = True
            raise CrashError(name)
        self.calls += 1

    async def call(self, name: str, work: Work[T], halfway: Work[object] | None = None) -> T:
        self._moment(f"before {name}")
        result = await work()
        self._moment(f"after {name}")
        return result


def value(what: T) -> Work[T]:
    """Return work whose result is known."""

    async def work() -> T:
        await checkpoint()
        return what

    return work
