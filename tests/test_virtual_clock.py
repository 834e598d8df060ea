"""The virtual clock wakes tasks as trio's own mock clock does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio
import trio.testing

from tests.virtual_clock import VirtualClock

Told = list[tuple[str, float]]


async def story(sleep: Callable[[float], Awaitable[None]]) -> Told:
    """Sleep in several tasks, one of which is cancelled and one of which is late; tell when each continues."""
    told: Told = []

    async def sleeper(name: str, *pauses: float) -> None:
        for pause in pauses:
            await sleep(pause)
            told.append((name, trio.current_time()))

    async def limited() -> None:
        with trio.move_on_after(2.5):
            await sleeper("limited", 2, 2)
        told.append(("limited ends", trio.current_time()))
        with trio.CancelScope() as scope:
            scope.cancel()
            await sleeper("cancelled", 1)
        await sleeper("limited again", 0, 0.25)

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleeper, "a", 1, 0, 4)
        nursery.start_soon(sleeper, "b", 0.5, 3)
        nursery.start_soon(limited)
    return [(name, moment - start) for name, moment in told]


def test_tasks_continue_when_they_would_on_trios_mock_clock() -> None:
    clock = VirtualClock()
    told = trio.run(story, clock.sleep, clock=clock)
    assert told == trio.run(story, trio.sleep, clock=trio.testing.MockClock(autojump_threshold=0))
    assert ("limited ends", 2.5) in told
    assert "cancelled" not in dict(told)
