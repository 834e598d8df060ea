"""Receiving messages and having them handled, some side by side, until told to stop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import anyio.abc
import structlog

from pipeline.domain.errors import PipelineError
from pipeline.engine.messaging.leases import give_back
from pipeline.ports.event_queue import EventQueue, Message

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0

Handle = Callable[[Message], Awaitable[None]]

log = structlog.get_logger()


class Consumer:
    """Hands messages of `queue` to `handle`, at most `room` at a time. What waits in the queue, another may take.

    `patient`: a queue that does not answer is asked again, after pauses that grow to a minute; otherwise it is an error.
    """

    def __init__(
        self, queue: EventQueue, handle: Handle, *, room: int, wait_seconds: float, patient: bool = False
    ) -> None:
        self._queue = queue
        self._handle = handle
        self._room = anyio.Semaphore(room)
        self._wait_seconds = wait_seconds
        self._patient = patient
        self._pause_seconds = FIRST_PAUSE_SECONDS

    async def run(self, stop: anyio.Event | None = None) -> None:
        """Receive until `stop` is set or this is cancelled; then wait for what is in hand."""
        async with anyio.create_task_group() as handlers, anyio.create_task_group() as receiving:
            if stop is not None:
                receiving.start_soon(_cancel_at, stop, receiving.cancel_scope, name="await stop")
            while True:
                await self._room.acquire()
                await self._receive(handlers)

    async def _receive(self, handlers: anyio.abc.TaskGroup) -> None:
        received = False
        try:
            for message in await self._queue.receive(wait_seconds=self._wait_seconds):
                received = True
                handlers.start_soon(self._handle_in_room, message, name="handle message")
            self._pause_seconds = FIRST_PAUSE_SECONDS
        except PipelineError as error:
            if not self._patient:
                raise
            log.warning("queue_not_answering", reason=str(error), pause_seconds=self._pause_seconds)
            await anyio.sleep(self._pause_seconds)
            self._pause_seconds = min(2 * self._pause_seconds, LONGEST_PAUSE_SECONDS)
        finally:
            if not received:
                self._room.release()

    async def _handle_in_room(self, message: Message) -> None:
        try:
            await self._handle(message)
        finally:
            self._room.release()


async def _cancel_at(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def giving_back(queue: EventQueue, handle: Handle, visibility_seconds: float) -> Handle:
    """Return a `handle` that outlives errors: the message is given back, and comes again after a growing while.

    A message that fails each time ends in the dead-letter queue, after as many deliveries as the queue allows.
    """

    async def handle_or_give_back(message: Message) -> None:
        try:
            await handle(message)
        except PipelineError as error:
            pause_seconds = min(2.0**message.receive_count, visibility_seconds)
            log.warning(
                "message_given_back",
                reason=str(error),
                error=type(error).__name__,
                receive_count=message.receive_count,
                pause_seconds=pause_seconds,
            )
            await give_back(queue, message, after_seconds=pause_seconds)

    return handle_or_give_back
