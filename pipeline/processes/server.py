"""The subprocess of a channel: opens the service that the parent sends, and serves its requests one after the other."""

from __future__ import annotations

import asyncio
import math
import pickle
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from multiprocessing.connection import Connection
from queue import Queue
from threading import Thread

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from pipeline.domain.errors import PipelineError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.log_events import log
from pipeline.processes.channel import LogEvent, Message, OpenService, ReplyEnd, Request, Value
from pipeline.processes.process_setup import configure_runtime
from pipeline.processes.unhandled import mask_unhandled

MESSAGES_AHEAD = 32
"""Messages that wait to be sent. A service pauses when the parent is further behind."""


def main(descriptor: int) -> None:
    """Serve the parent at the other end of a socket until it closes the channel."""
    configure_runtime()
    mask_unhandled()
    connection = Connection(descriptor)
    with suppress(EOFError):
        open_service: OpenService[object] = connection.recv()
        anyio.run(_Server(connection).run, open_service)


class _Server:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._outbox: Queue[bytes | None] = Queue(MESSAGES_AHEAD)

    async def run(self, open_service: OpenService[object]) -> None:
        log.configure(self._log)
        inbox, requests = anyio.create_memory_object_stream[bytes](math.inf)
        closed = anyio.Event()
        Thread(target=self._receive, args=(asyncio.get_running_loop(), inbox, closed), daemon=True).start()
        sender = Thread(target=self._send_all)
        sender.start()
        try:
            with unwrap_exception_group():
                async with open_service(closed) as service:
                    self._send(Value(None))
                    self._send(ReplyEnd())
                    async for request in requests:
                        await self._serve(service, pickle.loads(request))
        except PipelineError as error:
            self._send(ReplyEnd(error))
        finally:
            self._outbox.put(None)
            sender.join()

    async def _serve(self, service: object, request: Request) -> None:
        error = None
        try:
            reply = request.method(service, *request.arguments)
            if isinstance(reply, AsyncGenerator):
                async with aclosing(reply):
                    async for value in reply:
                        self._send(Value(value))
            else:
                self._send(Value(await reply))
        except PipelineError as raised:
            error = raised
        self._send(ReplyEnd(error))

    def _send(self, message: Message) -> None:
        self._outbox.put(pickle.dumps(message))

    def _send_all(self) -> None:
        """Send messages in a thread; once the parent is gone, drop them."""
        with suppress(OSError):
            while (message := self._outbox.get()) is not None:
                self._connection.send_bytes(message)
            return
        while self._outbox.get() is not None:
            pass

    def _receive(
        self, loop: asyncio.AbstractEventLoop, inbox: MemoryObjectSendStream[bytes], closed: anyio.Event
    ) -> None:
        """Receive requests in a thread, whatever else this process does."""
        with suppress(RuntimeError):  # the event loop has ended before the parent
            with suppress(EOFError, OSError):
                while True:
                    loop.call_soon_threadsafe(inbox.send_nowait, self._connection.recv_bytes())
            loop.call_soon_threadsafe(inbox.close)
            loop.call_soon_threadsafe(closed.set)

    def _log(self, level: str, event: str, values: Mapping[str, object]) -> None:
        """Log an event in the parent."""
        plain = {name: value if isinstance(value, int | float) else str(value) for name, value in values.items()}
        self._send(LogEvent(level, event, plain))
