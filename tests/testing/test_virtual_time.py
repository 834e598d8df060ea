"""On the virtual loop waiting takes no time, and the order of events is always the same."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from pipeline.testing import run_virtually


def test_waiting_takes_no_time() -> None:
    async def main() -> tuple[float, list[int]]:
        order = list[int]()

        async def wake(number: int) -> None:
            await anyio.sleep(1000 - number)
            order.append(number)

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(wake, number)
        with anyio.move_on_after(100):
            await anyio.Event().wait()
        return anyio.current_time(), order

    begun = time.monotonic()
    assert run_virtually(main) == (1100.0, [4, 3, 2, 1, 0])
    assert time.monotonic() - begun < 100  # of 1,100 virtual seconds


def test_functions_in_threads_are_waited_for() -> None:
    async def main() -> tuple[int, int, float]:
        found = await asyncio.to_thread(int, "5"), await to_thread.run_sync(int, "6")
        return *found, anyio.current_time()

    assert run_virtually(main) == (5, 6, 0.0)


@pytest.mark.parametrize("how", ["processor", "disk"])
def test_a_function_in_a_thread_is_waited_for_however_long_it_works(how: str, tmp_path: Path) -> None:
    def work() -> None:
        end = time.monotonic() + 0.3
        with (tmp_path / "file").open("wb") as file:
            while time.monotonic() < end:
                if how == "disk":
                    os.fsync(file.fileno())

    async def main() -> list[tuple[str, float]]:
        order = list[tuple[str, float]]()

        async def tick() -> None:
            await anyio.sleep(1)
            order.append(("tick", anyio.current_time()))

        async with anyio.create_task_group() as group:
            group.start_soon(tick)
            await to_thread.run_sync(work)
            order.append(("worked", anyio.current_time()))
        return order

    assert run_virtually(main) == [("worked", 0.0), ("tick", 1.0)]


def test_an_error_in_a_thread_is_raised_where_it_is_awaited() -> None:
    async def main() -> None:
        await to_thread.run_sync(int, "five")

    with pytest.raises(ValueError, match="five"):
        run_virtually(main)


def test_a_thread_that_waits_for_a_lock_does_not_hold_up_the_others() -> None:
    async def main() -> float:
        lock = threading.Lock()
        lock.acquire()

        async def release() -> None:
            await anyio.sleep(10)
            lock.release()

        async with anyio.create_task_group() as group:
            group.start_soon(release)
            assert await to_thread.run_sync(lock.acquire)
        return anyio.current_time()

    assert run_virtually(main) >= 10.0


def test_what_can_never_go_on_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="nothing will happen any more"):
        run_virtually(lambda: anyio.Event().wait())


def test_time_passes_though_there_is_always_something_to_do() -> None:
    async def main() -> float:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 5)
            while anyio.current_time() < 5:  # noqa: ASYNC110  # it never waits
                await asyncio.sleep(0)
        return anyio.current_time()

    assert run_virtually(main) == 5.0
