"""Consuming messages, several at a time: receive, hold the lease, handle, acknowledge last.

An importer handles a message in this order of commits: read the File List, skip what is marked, fetch, verify, rows and
mark in one transaction, … . The sweep sends a lost message again; a message that comes twice finds everything marked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Generic, NoReturn, TypeVar

import anyio
import anyio.abc

from pipeline.codec.documents.message import QueueMessage, decode_message
from pipeline.domain.errors import DamagedError, PipelineError
from pipeline.engine.messaging.leases import give_back, held, reject
from pipeline.engine.messaging.stopping import run_until_set
from pipeline.engine.movements.answers import POLL_SECONDS
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.movements.retries import backoff_seconds, retry
from pipeline.log_events import bound, log
from pipeline.ports.event_queue import EventQueue, Message

WAIT_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0

M = TypeVar("M", bound=QueueMessage)


class Consumer(Generic[M]):
    """Passes messages to `handle`, at most `room` at a time; other processes may receive the rest.

    `handle` returns whether the message is done with; otherwise it is given back. Messages of other kinds than `accepts`
    go to the dead-letter queue. `worker` names a long-running worker: receiving is retried after an error, and a message
    whose handling failed is delivered again after a growing pause. The reason is kept beside the Movement; at the last
    delivery the message goes to the dead-letter queue with it. Without a worker, errors are raised.
    """

    def __init__(
        self,
        context: EngineContext,
        queue: EventQueue,
        accepts: tuple[type[M], ...],
        handle: Callable[[M], Awaitable[bool]],
        *,
        room: int,
        worker: str = "",
    ) -> None:
        self._context, self._queue = context, queue
        self._accepts, self._handle = accepts, handle
        self._room = anyio.Semaphore(room)
        self._worker = worker
        self._name = "imports_queue" if queue is context.queue else "exports_queue"

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
                received = await self._receive()
            finally:
                if not received:
                    self._room.release()
            for message in received:
                handlers.start_soon(self._handle_in_room, message, name="handle message")

    async def _receive(self) -> Sequence[Message]:
        if not self._worker:
            return await self._queue.receive(wait_seconds=WAIT_SECONDS)
        receive = partial(self._queue.receive, wait_seconds=POLL_SECONDS)
        with self._context.answers.asking(self._name):
            return await retry(
                receive,
                on=PipelineError,
                note=self._note_failure,
                first_seconds=1.0,
                longest_seconds=LONGEST_PAUSE_SECONDS,
            )

    def _note_failure(self, error: BaseException | None, pause_seconds: float) -> None:
        self._context.answers.fail(self._name)
        log.warning("queue_receive_failed", reason=str(error), pause_seconds=pause_seconds)

    async def _handle_in_room(self, message: Message) -> None:
        try:
            await self._handle_message(message)
        except PipelineError as error:
            if not self._worker:
                raise
            await self._postpone(message, error)
        finally:
            self._room.release()

    async def _postpone(self, message: Message, error: PipelineError) -> None:
        """Keep the error where a person looks, and let the message come again, or be a dead letter with the reason."""
        context, count = self._context, message.receive_count
        announced = self._read(message)
        if not isinstance(announced, str):
            from pipeline.engine.movements.work_errors import record_error  # most work goes right

            await record_error(context.store, announced, self._worker, error, context.clock.now())
        pause_seconds = backoff_seconds(count, 2.0, context.limits.visibility_seconds)
        name = type(error).__name__
        log.warning(
            "message_given_back", reason=str(error), error=name, receive_count=count, pause_seconds=pause_seconds
        )
        if message.is_last:
            await reject(self._queue, message, f"failed {count} times, the last time because: {error}")
        else:
            await give_back(self._queue, message, after_seconds=pause_seconds)

    async def _handle_message(self, message: Message) -> None:
        announced = self._read(message)
        if isinstance(announced, str):
            log.warning("message_rejected", reason=announced)
            await self._queue.reject(message, announced)
            return
        with bound(flow=announced.flow, movement=announced.movement):
            async with held(self._queue, message, self._context.limits.visibility_seconds):
                done = await self._handle(announced)
            if done:
                await self._queue.acknowledge([message.receipt])
            else:
                await give_back(self._queue, message)

    def _read(self, message: Message) -> M | str:
        """Return what the message announces, or why it is rejected."""
        try:
            announced = decode_message(message.body)
        except DamagedError as error:
            return str(error)
        if not isinstance(announced, self._accepts):
            return "it does not belong in this queue. Check the settings exports_queue and imports_queue"
        if not self._context.serves(announced.flow):
            return f"it is about Flow {announced.flow!r}, which this worker does not serve"
        return announced
