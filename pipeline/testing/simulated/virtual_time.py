"""An asyncio event loop in which waiting takes no time.

Functions that run in threads are waited for, so that the order of events does not depend on how fast they are, or on how
busy the computer is. Only one that waits for something else, such as a lock of a database, does not hold up the others.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.lowlevel

from pipeline.kit.authors_line import PACKAGE

T = TypeVar("T")

PATIENCE_SECONDS = 0.002
"""How long real input and output is waited for before the virtual clock advances."""
THREAD_SECONDS, LONGEST_THREAD_SECONDS = 0.01, 60.0
"""How long everything waits for a function that runs in a thread: until it has been asleep for so long, and at most."""
THREADS = 32
BUSY_ROUNDS = 1000
"""After this number of rounds of the loop in which there was always something to do, the clock advances too."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock advances to the next timer as soon as nothing else is to be done."""

    _selector: selectors.BaseSelector
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        self.moment = 0.0
        self._in_threads = self._quiet = 0
        self._threads: ThreadPoolExecutor | None = None
        super().__init__(_Selector(self))
        self._quiet = len(self._selector.get_map())  # what the loop itself watches

    def time(self) -> float:
        """Return the virtual time in seconds since the loop was made."""
        return self.moment

    def advance(self, seconds: float | None) -> None:
        """Advance the clock to the next timer. RuntimeError when there is none, so that nothing would ever happen."""
        if seconds is not None:
            self.moment += seconds
        elif not self.waits_for_others():
            raise RuntimeError("everything waits, and nothing will happen any more")

    def advance_to_next_timer(self) -> None:
        """Advance the clock though there is something to do: as real time passes while a task is asked again to end."""
        self.moment = max([self.moment, *(timer.when() for timer in self._scheduled[:1])])

    def waits_for_others(self) -> bool:
        """Whether something outside the loop may wake it: a socket, or a thread."""
        return self._in_threads > 0 or len(self._selector.get_map()) > self._quiet

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Run a function in a thread, and wait for it; if that takes too long, go on with something else meanwhile."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS)
        thread: list[int] = []

        def run() -> T:
            thread.append(threading.get_native_id())
            return func(*args)

        running = self._threads.submit(copy_context().run, run)
        _wait_while_at_work(running, thread)
        future: asyncio.Future[T] = asyncio.wrap_future(running, loop=self)
        if not running.done():
            self._in_threads += 1
            future.add_done_callback(self._ended_in_thread)
        return future

    def _ended_in_thread(self, future: asyncio.Future[Any]) -> None:
        self._in_threads -= 1

    def close(self) -> None:
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
        super().close()


def _wait_while_at_work(running: Future[Any], thread: Sequence[int]) -> None:
    """Wait until a function has ended, or its thread is seen asleep twice in succession."""
    end, was_asleep = time.monotonic() + LONGEST_THREAD_SECONDS, False
    while wait_for([running], THREAD_SECONDS).not_done and time.monotonic() < end:
        is_asleep = bool(thread) and _is_asleep(thread[0])
        if is_asleep and was_asleep:
            return
        was_asleep = is_asleep


def _is_asleep(thread: int) -> bool:
    """Whether a thread waits for something but the processor or the disk. If the system does not say, it does."""
    try:
        state = Path(f"/proc/self/task/{thread}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return True
    return state not in ("R", "D")


class _Selector(selectors.DefaultSelector):
    """Does not wait: the clock of the loop advances instead."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop
        self._busy = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        self._busy += 1
        if ready or (timeout is not None and timeout <= 0):
            if self._busy % BUSY_ROUNDS == 0:
                self._loop.advance_to_next_timer()
            return ready
        self._busy = 0
        if self._loop.waits_for_others() and (ready := super().select(PATIENCE_SECONDS)):
            return ready
        self._loop.advance(timeout)
        return []


def run_virtually(main: Callable[[], Awaitable[T]]) -> T:
    """Run `main` to its end on a virtual clock: sleeping takes no time, and the order of tasks is always the same."""

    async def run() -> T:
        return await main()

    with _threads_of_the_loop(), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(run())


async def _run_sync(work: Callable[..., T], *arguments: object, **_: object) -> T:
    """Run a function of the pipeline at once, `next` of its rows among them, and any other one in a thread."""
    await anyio.lowlevel.checkpoint()
    code = getattr(work, "__code__", None)
    if work is next or (code is not None and code.co_filename.startswith(PACKAGE)):
        return work(*arguments)
    return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)


@contextmanager
def _threads_of_the_loop() -> Iterator[None]:
    before = anyio.to_thread.run_sync
    anyio.to_thread.run_sync = _run_sync  # type: ignore[assignment]  # its options are about threads
    try:
        yield
    finally:
        anyio.to_thread.run_sync = before
