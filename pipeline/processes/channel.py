"""The channel to a subprocess that serves an object: requests, replies, errors and log events cross one socket.

The subprocess opens a *service* and calls its methods, one request after the other. The parent MAY send requests ahead;
replies come in the order of the requests. The subprocess ends by itself when the parent closes the channel or is killed.

Neither side can block the other for good: the subprocess receives in a thread of its own, so a request is accepted however
many values of replies wait to be received.

`multiprocessing` and `anyio.to_process` start no faster (0.11 s here, all three), run the caller's script again, and
have no replies of many values. What would have to be written around them is as long as this module.
"""

from __future__ import annotations

import pickle
import socket
import subprocess
import sys
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar, TypeVarTuple

import anyio
from anyio.to_thread import run_sync

from pipeline.domain.errors import PipelineError, TransientError
from pipeline.log_events import log

JOIN_SECONDS = 5.0
"""How long a subprocess may take to end after its channel is closed before it is killed."""

_START = """
import sys
purpose, descriptor, *sys.path[:] = sys.argv[1:]
from pipeline.processes.process_setup import configure_before_imports
configure_before_imports()
from pipeline.processes.server import main
main(int(descriptor))
"""

S = TypeVar("S")
T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")
OpenService = Callable[[anyio.Event], AbstractAsyncContextManager[S]]
"""Opens the service in the subprocess. MUST be picklable. The event is set when the parent has closed the channel."""


@dataclass(frozen=True, slots=True)
class Request:
    """The call of a method of the service."""

    method: Callable[..., Any]
    arguments: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Value:
    """One value of the reply to the oldest open request."""

    value: Any


@dataclass(frozen=True, slots=True)
class ReplyEnd:
    """The end of the reply to the oldest open request."""

    error: PipelineError | None = None


@dataclass(frozen=True, slots=True)
class LogEvent:
    """An event to log in the parent."""

    level: str
    event: str
    values: Mapping[str, int | float | str]


Message = Value | ReplyEnd | LogEvent


class SubprocessGoneError(TransientError):
    """A subprocess ended before it replied."""


class Subprocess(Generic[S]):
    """A subprocess that serves an S, and the parent's end of its channel."""

    def __init__(self, open_service: OpenService[S], purpose: str) -> None:
        """Start the subprocess that `purpose` describes, such as "imports into …". TransientError when that fails."""
        self._purpose = purpose
        self.process, self.connection = _start(purpose)
        self.receiving = anyio.Lock()
        self._open_replies: deque[Reply[Any]] = deque()
        self.opened: Reply[None] = self._send(open_service)
        """Comes when the service is open, or could not be opened."""

    @property
    def has_message(self) -> bool:
        """Whether something can be received without waiting."""
        with suppress(OSError):
            return self.connection.poll()
        return True

    def call(self, method: Callable[[S, *Arguments], Coroutine[Any, Any, T]], *arguments: *Arguments) -> Reply[T]:
        """Request the call of a coroutine method, whose result is the one value of the reply."""
        return self._send(Request(method, arguments))

    def stream(self, method: Callable[[S, *Arguments], AsyncGenerator[T, None]], *arguments: *Arguments) -> Reply[T]:
        """Request the iteration over an asynchronous generator method, whose items are the values of the reply."""
        return self._send(Request(method, arguments))

    def close(self) -> None:
        """Close the channel. The subprocess ends by itself."""
        self.connection.close()

    async def aclose(self, join_seconds: float = JOIN_SECONDS) -> None:
        """Close the channel and wait until the subprocess has ended; kill it after `join_seconds`."""
        self.close()
        with anyio.CancelScope(shield=True):
            await run_sync(self._join, join_seconds)

    def receive(self) -> None:
        """Receive one message, and block until there is one."""
        try:
            message: Message = self.connection.recv()
        except (EOFError, OSError) as error:
            raise SubprocessGoneError(
                f"The subprocess that {self._purpose} ended unexpectedly. Run the command again."
            ) from error
        match message:
            case LogEvent():
                log.log(message.level, message.event, message.values)
            case ReplyEnd():
                self._open_replies.popleft().end = message
            case Value():
                self._open_replies[0].received.append(message.value)

    def _send(self, message: object) -> Reply[Any]:
        pickled, reply = pickle.dumps(message), Reply[Any](self)
        self._open_replies.append(reply)
        with suppress(OSError):  # the subprocess is gone: so is the reply
            self.connection.send_bytes(pickled)
        return reply

    def _join(self, seconds: float) -> None:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Reply(Generic[T]):
    """The values that come in reply to one request."""

    def __init__(self, subprocess: Subprocess[Any]) -> None:
        self._subprocess = subprocess
        self.received: deque[T] = deque()
        self.end: ReplyEnd | None = None
        self.kept_waiting = False
        """Whether a value had not arrived yet when it was asked for."""

    async def value(self) -> T:
        """Return the value of a call; raise the PipelineError that it raised, or SubprocessGoneError."""
        await self._wait()
        return self._next()

    def value_blocking(self) -> T:
        """Return the value of a call, and block the event loop until there is one. No other task may wait for a reply."""
        while not self._has_next:
            self._subprocess.receive()
        return self._next()

    async def values(self) -> AsyncGenerator[T, None]:
        """Give the values of a stream; raise the PipelineError that it ended with, or SubprocessGoneError."""
        await self._wait()
        while self.received or self.end != ReplyEnd():
            yield self._next()
            await self._wait()

    async def _wait(self) -> None:
        async with self._subprocess.receiving:
            while not self._has_next:
                if not self._subprocess.has_message:
                    self.kept_waiting = True
                    await anyio.wait_readable(self._subprocess.connection)
                self._subprocess.receive()

    @property
    def _has_next(self) -> bool:
        return bool(self.received) or self.end is not None

    def _next(self) -> T:
        if not self.received and self.end is not None and self.end.error is not None:
            raise self.end.error
        return self.received.popleft()


@asynccontextmanager
async def open_subprocess(
    open_service: OpenService[S], purpose: str, join_seconds: float = JOIN_SECONDS
) -> AsyncIterator[Subprocess[S]]:
    """Start a subprocess and wait until its service is open; close it with the context."""
    started = Subprocess(open_service, purpose)
    try:
        await started.opened.value()
        yield started
    finally:
        await started.aclose(join_seconds)


def _start(purpose: str) -> tuple[subprocess.Popen[bytes], Connection]:
    here, there = socket.socketpair()
    connection = Connection(here.detach())
    with there:
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", _START, purpose, str(there.fileno()), *sys.path],
                pass_fds=[there.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C at the terminal interrupts the parent only
            )
        except OSError as error:
            connection.close()
            raise TransientError(f"The subprocess that {purpose} cannot be started: {error}") from error
    return process, connection
