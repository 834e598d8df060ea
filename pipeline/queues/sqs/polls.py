"""Requests for messages that outlive whoever waits for them, so that a cancelled wait hides nothing.

SQS goes on with a long poll after its connection is closed: the next message goes to the closed connection, and nobody
sees it before its visibility time-out is over (https://github.com/aws/aws-sdk-java-v2/issues/1395,
https://github.com/aws/aws-sdk-go-v2/issues/2068). So the request of a cancelled wait goes on. Whoever waits next takes it
over; if nobody does, what it brings is given back at once.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import anyio

from pipeline.domain.errors import PipelineError
from pipeline.ports.event_queue import Message

CLOSE_SECONDS = 6.0
"""How long closing waits for requests that nobody waits for, longer than a worker's longest. What a later one brings comes
again by its time-out."""

Messages = Sequence[Message]
Poll = asyncio.Task[Messages]


class LongPolls:
    """The requests under way. asyncio only.

    They are plain tasks, owned by this object until `close`: a task group around the queue's life would put every error of
    the caller's own body into an exception group.

    Args:
        ask: makes one request for so many messages, waiting so many seconds.
        give_back: makes messages visible again.
    """

    def __init__(
        self,
        ask: Callable[[int, int], Coroutine[Any, Any, Messages]],
        give_back: Callable[[Messages], Awaitable[None]],
    ) -> None:
        self._ask = ask
        self._give_back = give_back
        self._tasks: set[asyncio.Task[Any]] = set()
        self._orphans: dict[Poll, int] = {}
        """Requests that nobody waits for, each with the number of messages it may bring."""

    async def wait(self, max_messages: int, wait_seconds: int) -> Messages:
        """Return what a request brings. Cancelled, it leaves the request to whoever waits next."""
        deadline = anyio.current_time() + wait_seconds
        poll = self._adopt(max_messages) if wait_seconds > 0 else None
        if poll is not None:
            messages = await self._see(poll, max_messages, wait_seconds)
            wait_seconds = math.ceil(deadline - anyio.current_time())
            if messages or wait_seconds <= 0:
                return messages
        poll = self._start(self._ask(max_messages, wait_seconds), "poll for messages")
        return await self._see(poll, max_messages, None)

    async def close(self) -> None:
        """Let requests end for a moment, then abort them."""
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(CLOSE_SECONDS):
                while self._tasks:
                    await asyncio.wait(self._tasks)
            late = set(self._tasks)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _see(self, poll: Poll, max_messages: int, patience_seconds: float | None) -> Messages:
        """Wait for a request; when that ends before the request does, nobody waits for it any more."""
        done: set[Poll] = set()
        try:
            done, _ = await asyncio.wait({poll}, timeout=patience_seconds)
        finally:
            if not done:
                self._orphans[poll] = max_messages
                poll.add_done_callback(self._came_for_nobody)
        return poll.result() if done else []

    def _adopt(self, max_messages: int) -> Poll | None:
        """Return a request that nobody waits for and that brings no more than so many messages."""
        poll = next((poll for poll, most in self._orphans.items() if most <= max_messages), None)
        if poll is not None:
            del self._orphans[poll]
        return poll

    def _came_for_nobody(self, poll: Poll) -> None:
        """A failure is nobody's concern any more, and loses nothing: what came is visible again by itself, only later."""
        was_left = self._orphans.pop(poll, None) is not None  # or somebody waits for it again
        if was_left and not poll.cancelled():
            with suppress(PipelineError):
                if messages := poll.result():
                    self._start(self._return(messages), "give messages back")

    async def _return(self, messages: Messages) -> None:
        with suppress(PipelineError):
            await self._give_back(messages)

    def _start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
