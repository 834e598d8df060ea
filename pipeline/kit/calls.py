"""Calling authors' functions: their errors become the pipeline's, with the author's line and without secrets."""

from __future__ import annotations

import asyncio
import errno
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Container, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
from anyio.lowlevel import checkpoint

from pipeline.domain.errors import ConfigurationError, PipelineError, TransientError, UnreadableError
from pipeline.domain.exception_groups import most_urgent
from pipeline.domain.flows.findings import CheckFinding, Severity
from pipeline.kit.authors_line import line_of, raising_line
from pipeline.kit.configuration.secret import text_of, without_secrets
from pipeline.kit.declared import Check, Connection, Function
from pipeline.kit.errors import Again, Stop
from pipeline.kit.values import Finding, Level
from pipeline.log_events import log

TRIES = 4
FIRST_PAUSE_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 3600.0

T = TypeVar("T")


FAILURES = (Exception, SystemExit, KeyboardInterrupt, BaseExceptionGroup)
"""What an author's function raises when it fails. `sys.exit` in it ends the function, not the pipeline.

A KeyboardInterrupt is its own, since the pipeline waits for signals itself. An event loop would stop at once, with all else.
"""


class TaskCancelledError(Exception):
    """An author's function was cancelled, or a task that it waited for."""


class BrokenOffError(Exception):
    """An author's function raised what is no Exception: what ends a generator, or what a module written in Rust panics with."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


_RUST_MODULE = "pyo3_runtime"
"""The module that a panic of a function in Rust names as its own."""


RESTARTED: list[Any] = []
"""What `repeated` yields before it begins again."""


@contextmanager
def cancellations_as_errors() -> Iterator[None]:
    """Raise TaskCancelledError for a cancellation that the pipeline has not asked for, and BrokenOffError as it says.

    An author's function raises one when a task that it waits for was cancelled, such as that of a connection which is
    closed, or when it cancels its own. A task group would take it for the end of the task, and what the function was to do
    for done. A task of a task group is cancelled by that alone; the first one also by the program that runs it.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        is_first = anyio.get_current_task().parent_id is None
        if anyio.current_effective_deadline() == -math.inf or task is None or (is_first and task.cancelling()):
            raise
        while task.cancelling():
            task.uncancel()
        raise TaskCancelledError("it was cancelled, or a task that it waited for").with_traceback(
            error.__traceback__
        ) from error
    except BaseException as error:
        if not isinstance(error, GeneratorExit) and type(error).__module__ != _RUST_MODULE:
            raise
        raise BrokenOffError(error).with_traceback(error.__traceback__) from error


async def raise_own_cancellation() -> None:
    """Raise here what a function that has returned has asked for its own task, and not somewhere in the pipeline."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # another event loop runs
        return
    if task is not None and task.cancelling():
        await checkpoint()


@dataclass(slots=True)
class Attempts:
    """The attempts at one piece of work of an author's `function`. `what` says what it does.

    `reads_stream`: it reads one stream, so what it raises to the last says nothing about other streams.
    """

    function: Function
    what: str
    tries: int = TRIES
    reads_stream: bool = False
    failures: int = 0

    async def wait_after(self, error: BaseException) -> None:
        """Wait before the next attempt; raise the pipeline's error when there is to be none.

        Of a group, which a task group of the author's raises, the most urgent error counts.
        """
        error = most_urgent(error)
        if isinstance(error, Again):
            log.info("plugin_waits", what=self.what, seconds=error.after)
            await anyio.sleep(min(max(error.after, 0.0), LONGEST_WAIT_SECONDS))
            return
        self.failures += 1
        if isinstance(error, PipelineError | Stop) or self.failures == self.tries:
            raise translated(error, self.function, self.what, reads_stream=self.reads_stream) from error
        log.info("plugin_call_retried", what=self.what, reason=shown(error, self.function), tries=self.failures)
        await anyio.sleep(FIRST_PAUSE_SECONDS * 2 ** (self.failures - 1))


async def call(
    function: Function,
    *arguments: object,
    what: str,
    author: Function | None = None,
    tries: int = TRIES,
    reads_stream: bool = False,
) -> Any:
    """Return what an author's coroutine function returns.

    `Again` waits as long as it says, and calls again. `Stop` is an UnreadableError. Any other exception is taken for one
    that passes: after `tries` calls it is a TransientError with the author's line, or with `reads_stream` an
    UnreadableError, unless the app does not answer. `what` says what the function does. `author` is the author's function
    that `function` calls, where it is another one.
    """
    attempts = Attempts(author or function, what, tries, reads_stream)
    while True:
        try:
            with cancellations_as_errors():
                found = await function(*arguments)
                await raise_own_cancellation()
                return found
        except FAILURES as error:  # raised again, unless it may pass
            await attempts.wait_after(error)


@asynccontextmanager
async def opened(function: Callable[[], AsyncIterator[T]], name: Function, what: str) -> AsyncIterator[T]:
    """Open what an author's function yields once, and close it at the end."""
    attempts = Attempts(name, what)
    while True:
        generator = function()
        try:
            with cancellations_as_errors():
                value = await anext(generator)
            break
        except StopAsyncIteration:
            raise ConfigurationError(
                f"{line_of(name)}: the function for {what} yields nothing. It must yield once."
            ) from None
        except FAILURES as error:  # raised again, unless it may pass
            await attempts.wait_after(error)
    try:
        yield value
    finally:
        await _close(generator, name, what)


async def _close(generator: AsyncIterator[Any], name: Function, what: str) -> None:
    """Let the function go on after its yield, where it closes what it opened."""
    try:
        with cancellations_as_errors():
            await anext(generator)
    except StopAsyncIteration:
        return
    except FAILURES as error:
        raise translated(error, name, what) from error
    else:
        raise ConfigurationError(f"{line_of(name)}: the function for {what} yields twice. It must yield once.")
    finally:
        if isinstance(generator, AsyncGenerator):
            await generator.aclose()


async def iterated(function: Function, *arguments: object, what: str) -> AsyncGenerator[Any, None]:
    """Yield what an author's generator function yields. Its errors are translated, and nothing is called again."""
    generator = function(*arguments)
    async with aclosing(generator):
        while True:
            try:
                with cancellations_as_errors():
                    value = await anext(generator)
            except StopAsyncIteration:
                return
            except FAILURES as error:
                raise translated(error, function, what) from error
            yield value


async def repeated(function: Function, *arguments: object, what: str, size: int) -> AsyncGenerator[list[Any], None]:
    """Yield the rows of a stream that an author's generator function yields, in lists of `size`, the last one shorter.

    The function is called again as `call` does it with `reads_stream`, with RESTARTED before. A call that comes further
    than all before it begins a new count of failures: a long list may break off more often than a single call.
    """
    attempts, furthest = Attempts(function, what, reads_stream=True), 0
    while True:
        done = 0
        async with aclosing(function(*arguments)) as generator:
            batch, is_whole = list[Any](), False
            try:
                while not is_whole:
                    with cancellations_as_errors():
                        async for value in generator:
                            batch.append(value)
                            if len(batch) == size:
                                break
                        else:
                            is_whole = True
                    if batch:
                        yield batch
                    done, batch = done + len(batch), []
            except FAILURES as error:  # raised again, unless it may pass
                if done + len(batch) > furthest:
                    attempts.failures, furthest = 0, done + len(batch)
                await attempts.wait_after(error)
            else:
                return
        yield RESTARTED


def translated(error: BaseException, function: Function, what: str, *, reads_stream: bool = False) -> PipelineError:
    """Return the pipeline's error for one that an author's function raised.

    A function that reads one stream and fails for good ends that stream alone. If its app does not answer, the other
    streams would fail too, so the Movement waits for the app.
    """
    error = most_urgent(error)
    if isinstance(error, PipelineError):
        return error
    if isinstance(error, Stop):
        return UnreadableError(f"{what} has stopped: {without_secrets(error.reason)} ({line_of(function)})")
    if reads_stream and not _is_unanswered(error):
        return UnreadableError(f"{what}: {shown(error, function)}")
    return TransientError(f"{what}: {shown(error, function)}. Run the command again; it continues where it stopped.")


def _is_unanswered(error: BaseException) -> bool:
    """Whether an app was not reached or did not answer. HTTP clients raise errors of their own, in the place of these."""
    found, pending = dict[int, BaseException](), [error]
    while pending:
        one = pending.pop()
        if id(one) in found:  # the cause of an error may be a group that holds it
            continue
        if isinstance(one, OSError) and one.errno in _UNREACHABLE:
            return True
        if any(type_.__name__ in _UNANSWERED for type_ in type(one).__mro__):
            return True
        found[id(one)] = one
        pending += [other for other in (one.__cause__, one.__context__) if other is not None]
        pending += one.exceptions if isinstance(one, BaseExceptionGroup) else ()
    return False


_UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}
_UNANSWERED = {"ConnectionError", "TimeoutError", "gaierror", "ClientConnectionError", "TransportError"}
"""Names of classes: those of Python, the last but one of aiohttp, and the last one of httpx."""


def shown(error: BaseException, function: Function) -> str:
    """Return an author's exception for people: its type, its text without secrets, and the author's line."""
    text, kind = text_of(error), type(error.error if isinstance(error, BrokenOffError) else error)
    return f"{kind.__name__}{f': {text}' if text else ''} ({raising_line(error, line_of(function))})"


@asynccontextmanager
async def open_client(
    connection: Connection, settings: object | None, place: str, accepted: Container[str] = ()
) -> AsyncIterator[Any]:
    """Open the app, and run the checks that its plug-in declares. A plug-in without a connection has no client.

    ConfigurationError when a check finds an error, unless its id is `accepted`; other findings are logged.
    """
    async with _client(connection.function, settings, connection.takes_settings, place) as client:
        for check in connection.checks.values():
            async for finding in _findings(check, client, place):
                text = without_secrets(finding.text)
                if finding.level is Level.ERROR and not (finding.excludable and check.id in accepted):
                    raise ConfigurationError(f"{place}: {check.title}: {text}")
                log.info("check_found", check=check.id, level=finding.level.value, text=text)
        yield client


async def find_all(connection: Connection, settings: object | None, place: str) -> Sequence[CheckFinding]:
    """Open the app, and return what its checks find, an OK one for each check that finds nothing."""
    found: list[CheckFinding] = []
    async with _client(connection.function, settings, connection.takes_settings, place) as client:
        for check in connection.checks.values():
            own = [_as_finding(check, finding) async for finding in _findings(check, client, place)]
            found += own or [CheckFinding(check.id, Severity.OK, check.title)]
    return found


async def _findings(check: Check, client: object, place: str) -> AsyncIterator[Finding]:
    async for finding in iterated(check.function, client, what=f"check {check.id!r} of {place}"):
        if not isinstance(finding, Finding):
            found = type(finding).__name__
            raise ConfigurationError(f"{line_of(check.function)}: a check yields a {found}, not a Finding.")
        level: object = finding.level  # an author may give anything
        if not isinstance(level, Level):
            levels = ", ".join(f"Level.{one.name}" for one in Level)
            raise ConfigurationError(
                f"{line_of(check.function)}: a Finding has the level {level!r}. The levels are {levels}."
            )
        yield finding


_SEVERITIES = {Level.INFO: Severity.OK, Level.WARNING: Severity.WARNING, Level.ERROR: Severity.BLOCKS}


def _as_finding(check: Check, finding: Finding) -> CheckFinding:
    severity, sample = _SEVERITIES[finding.level], tuple(map(without_secrets, map(str, finding.sample)))
    title = without_secrets(f"{check.title}: {finding.text}")
    steps = without_secrets(finding.steps)
    return CheckFinding(check.id, severity, title, finding.count, sample, steps, finding.excludable)


def _client(
    function: Function | None, settings: object | None, takes_settings: bool, place: str
) -> AbstractAsyncContextManager[Any]:
    if function is None:
        return _no_client()
    open_ = (lambda: function(settings)) if takes_settings else function
    return opened(open_, function, f"connecting to {place}")


@asynccontextmanager
async def _no_client() -> AsyncIterator[None]:
    yield None
