"""A run that depends on its seed alone: trio's order of tasks, a virtual clock, no threads, no real time.

trio shuffles each batch of runnable tasks, by a generator of its own. Here it is seeded, and each batch is sorted first
(trio's own hook for Hypothesis), so that addresses of objects have no say either.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import anyio
import anyio.lowlevel
import pytest
import structlog
import trio
import trio.testing

from pipeline.engine.maintenance import needed, stream_compaction
from pipeline.testing.simulated import process
from tests.virtual_clock import VirtualClock

T = TypeVar("T")
Wake = Callable[[], Awaitable[None]]

after_sleep: ContextVar[Wake | None] = ContextVar("after_sleep", default=None)
"""What a task awaits after a sleep: its process may be stopped or dead."""
listener: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)
"""Called with each event that the engine logs."""


async def _run_inline(work: Callable[..., T], *arguments: object, **_: object) -> T:
    await anyio.lowlevel.checkpoint()
    return work(*arguments)


async def _no_threads(*_: object, **__: object) -> None:
    raise AssertionError("a thread was requested: patch the module that has imported `run_sync` by its name")


def _sleep_as_process(clock: VirtualClock) -> Callable[[float], Awaitable[None]]:
    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        wake = after_sleep.get()
        if wake is not None:
            await wake()

    return sleep


def _to_listener(_: object, __: str, event: MutableMapping[str, Any]) -> str:
    hear = listener.get()
    if hear is not None:
        name = event.pop("event")
        hear(" ".join([f"log {name}", *(f"{key}={value}" for key, value in sorted(event.items()))]))
    raise structlog.DropEvent


@contextmanager
def _seeded(seed: int, clock: VirtualClock) -> Iterator[None]:
    internals = trio._core._run
    shuffler = internals._r
    state = shuffler.getstate()
    shuffler.seed(seed)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(internals, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
            patch.setattr(anyio, "sleep", _sleep_as_process(clock))
            patch.setattr(process, "sleep", clock.sleep)
            patch.setattr(process, "current_time", clock.current_time)
            for module in (anyio.to_thread, stream_compaction, needed):
                patch.setattr(module, "run_sync", _run_inline)
            patch.setattr(trio.to_thread, "run_sync", _no_threads)
            with structlog.testing.capture_logs(processors=[_to_listener]):
                yield
    finally:
        shuffler.setstate(state)


def run_seeded(seed: int, main: Callable[[], Awaitable[T]]) -> T:
    """Run `main` to its end; the same seed gives the same run, step by step. Sleeping takes no time."""
    clock = VirtualClock()
    with _seeded(seed, clock):
        return trio.run(main, clock=clock)
