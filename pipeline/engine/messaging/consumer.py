"""Receiving messages and having several of them handled at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NoReturn

import anyio
import anyio.abc
import structlog

from pipeline.domain.errors import PipelineError
from pipeline.engine.messaging.leases import give_back
from pipeline.engine.messaging.stopping import run_until_set
from pipeline.engine.movements.retries import backoff_seconds, retry
from pipeline.ports.event_queue import EventQueue, Message

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0

Handle = Callable[[Message], Awaitable[None]]

log = structlog.get_logger()


def _log_retry(error: BaseException | None, pause_seconds: float) -> None:
    log.warning("queue_receive_failed", reason=str(error), pause_seconds=pause_seconds)


class Consumer:
    """Passes messages of `queue` to `handle`, at most `room` at a time; other processes may receive the rest.

    `patient`: receiving is retried after an error, with pauses of up to a minute; otherwise the error is raised.
    """

    def __init__(
        self, queue: EventQueue, handle: Handle, *, room: int, wait_seconds: float, patient: bool = False
    ) -> None:
        self._handle = handle
        self._room = anyio.Semaphore(room)
        self._receive: Callable[[], Awaitable[Sequence[Message]]] = partial(queue.receive, wait_seconds=wait_seconds)
        self._patient = patient

    async def run(self, stop: anyio.Event | None = None) -> None:
        """Receive until `stop` is set or this is cancelled; then wait for the messages that are being handled."""
        async with anyio.create_task_group() as handlers:
            if stop is None:
                await self._receive_forever(handlers)
            await run_until_set(stop, partial(self._receive_forever, handlers))

    async def _receive_forever(self, handlers: anyio.abc.TaskGroup) -> NoReturn:
        while True:
            await self._room.acquire()
            received: Sequence[Message] = ()
            try:
                received = await self._receive_patiently() if self._patient else await self._receive()
            finally:
                if not received:
                    self._room.release()
            for message in received:
                handlers.start_soon(self._handle_in_room, message, name="handle message")

    async def _receive_patiently(self) -> Sequence[Message]:
        return await retry(
            self._receive,
            on=PipelineError,
            note=_log_retry,
            first_seconds=FIRST_PAUSE_SECONDS,
            longest_seconds=LONGEST_PAUSE_SECONDS,
        )

    async def _handle_in_room(self, message: Message) -> None:
        try:
            await self._handle(message)
        finally:
            self._room.release()


def giving_back(queue: EventQueue, handle: Handle, visibility_seconds: float) -> Handle:
    """Return a `handle` that gives a message back after an error, to be delivered again after a growing pause.

    After as many deliveries as the queue allows, the message is in the dead-letter queue.
    """

    async def handle_or_give_back(message: Message) -> None:
        try:
            await handle(message)
        except PipelineError as error:
            pause_seconds = backoff_seconds(message.receive_count, 2.0, visibility_seconds)
            log.warning(
                "message_given_back",
                reason=str(error),
                error=type(error).__name__,
                receive_count=message.receive_count,
                pause_seconds=pause_seconds,
            )
            await give_back(queue, message, after_seconds=pause_seconds)

    return handle_or_give_back
