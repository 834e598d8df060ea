"""Ending work when an event is set."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from pipeline.domain.errors import TransientError


async def run_until_set(event: anyio.Event, work: Callable[[], Awaitable[object]]) -> bool:
    """Run `work`, and cancel it as soon as `event` is set; return whether it ran to its end.

    It is a task of its own: a cancellation that nothing here asks for is then known to be one of a plug-in.
    """
    finished = False
    async with anyio.create_task_group() as group:

        async def cancel() -> None:
            await event.wait()
            group.cancel_scope.cancel()

        async def run() -> None:
            nonlocal finished
            await work()
            finished = True
            group.cancel_scope.cancel()

        group.start_soon(cancel, name="wait for event")
        group.start_soon(run, name="work")
    if not finished and not event.is_set():
        raise TransientError("A plug-in has cancelled the task that it was called in. Run the command again.")
    return finished
