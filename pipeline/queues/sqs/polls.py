"""Long polls that survive a cancelled wait, so that no message is hidden.

SQS continues a long poll after its connection is closed: it delivers the next message to the closed connection, and the
message stays invisible until its time-out ends (https://github.com/aws/aws-sdk-java-v2/issues/1395,
https://github.com/aws/aws-sdk-go-v2/issues/2068). So the request of a cancelled wait continues. The next wait adopts it;
if there is none, its messages are given back at once.
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

CLOSE_SECONDS, LEAST_CLOSE_SECONDS = 6.0, 1.0
"""How long requests go on after the last wait before closing aborts them, so that a worker stops in time: it closes one queue
after the other. Messages of a request that is aborted then become visible again when their time-out ends."""

Messages = Sequence[Message]
Poll = asyncio.Task[Messages]


class LongPolls:
    """The open requests. asyncio only.

    They are plain tasks, owned by this object until `close`: a task group that lives as long as the queue would wrap
    every error of the caller's body in an exception group.

    Args:
        ask: sends one request, with the most messages to receive and the seconds to wait.
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
        """Requests without a waiting caller, each with the most messages it may receive."""
        self._last_wait = math.inf

    async def wait(self, max_messages: int, wait_seconds: int) -> Messages:
        """Return the messages of one request. Cancelled, it leaves the request to the next wait."""
        deadline = anyio.current_time() + wait_seconds
        poll = self._adopt(max_messages) if wait_seconds > 0 else None
        if poll is not None:
            messages = await self._result(poll, max_messages, wait_seconds)
            wait_seconds = math.ceil(deadline - anyio.current_time())
            if messages or wait_seconds <= 0:
                return messages
        poll = self._start(self._ask(max_messages, wait_seconds), "poll for messages")
        return await self._result(poll, max_messages, None)

    async def close(self) -> None:
        """Wait a moment for open requests, then abort them."""
        now = anyio.current_time()
        seconds = max(LEAST_CLOSE_SECONDS, min(now, self._last_wait) + CLOSE_SECONDS - now)
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(seconds):
                while self._tasks:
                    await asyncio.wait(self._tasks)
            late = set(self._tasks)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _result(self, poll: Poll, max_messages: int, timeout_seconds: float | None) -> Messages:
        """Wait for a request. If the wait ends first, the request becomes an orphan."""
        done: set[Poll] = set()
        try:
            done, _ = await asyncio.wait({poll}, timeout=timeout_seconds)
        finally:
            if not done:
                self._orphans[poll] = max_messages
                self._last_wait = anyio.current_time()
                poll.add_done_callback(self._on_orphan_done)
        return poll.result() if done else []

    def _adopt(self, max_messages: int) -> Poll | None:
        """Return an orphaned request that receives at most this many messages, if there is one."""
        poll = next((poll for poll, most in self._orphans.items() if most <= max_messages), None)
        if poll is not None:
            del self._orphans[poll]
        return poll

    def _on_orphan_done(self, poll: Poll) -> None:
        """Give the messages back. A failure loses nothing: they become visible again when their time-out ends."""
        is_orphan = self._orphans.pop(poll, None) is not None  # else another wait has adopted it
        if is_orphan and not poll.cancelled():
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
