"""Requests for messages that outlive whoever waits for them, so that a cancelled wait hides nothing.

SQS goes on with a long poll after its connection is closed: the next message goes to the closed connection, and nobody
sees it before its visibility time-out is over (https://github.com/aws/aws-sdk-java-v2/issues/1395,
https://github.com/aws/aws-sdk-go-v2/issues/2068). So the request of a cancelled wait runs to its end, and what it brings
is given back at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import anyio

from pipeline.domain.errors import PipelineError
from pipeline.ports.event_queue import Message

CLOSE_SECONDS = 2.0
"""How long closing waits for requests that nobody waits for. What a later one brings comes again by its time-out."""

Messages = Sequence[Message]


class LongPolls:
    """The requests under way. asyncio only.

    They are plain tasks, owned by this object until `close`: a task group around the queue's life would put every error of
    the caller's own body into an exception group.
    """

    def __init__(self, give_back: Callable[[Messages], Awaitable[None]]) -> None:
        self._give_back = give_back
        self._tasks: set[asyncio.Task[Any]] = set()

    async def wait(self, request: Coroutine[Any, Any, Messages]) -> Messages:
        """Return what the request brings. Cancelled, it leaves the request to its end and gives back what that brings."""
        poll = self._start(request, "poll for messages")
        try:
            return await asyncio.shield(poll)
        except asyncio.CancelledError:
            self._start(self._give_back_what_comes(poll), "give messages back")
            raise

    async def close(self) -> None:
        """Let requests end for a moment, then abort them."""
        with anyio.CancelScope(shield=True):
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _give_back_what_comes(self, poll: asyncio.Task[Messages]) -> None:
        """A failure is nobody's concern any more, and loses nothing: what came is visible again by itself, only later."""
        with suppress(PipelineError):
            messages = await poll
            if messages:
                await self._give_back(messages)
