"""Ending work when an event is set."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio


async def run_until_set(event: anyio.Event, work: Callable[[], Awaitable[object]]) -> bool:
    """Run `work`, and cancel it as soon as `event` is set; return whether it ran to its end."""
    finished = False
    async with anyio.create_task_group() as group:

        async def cancel() -> None:
            await event.wait()
            group.cancel_scope.cancel()

        group.start_soon(cancel, name="wait for event")
        await work()
        finished = True
        group.cancel_scope.cancel()
    return finished
