"""SIGINT and SIGTERM, in two steps: the first stops cleanly, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import NoReturn, TypeVar

import anyio
import anyio.abc

from pipeline.cli import exit_codes
from pipeline.cli.options import run_async
from pipeline.cli.output.error_output import InterruptedBySignalError
from pipeline.log_events import log

Result = TypeVar("Result")

STOPPING = "Stopping when the transactions in progress have ended. The same command carries on. (Again: stop at once.)"
_SHOW_CURSOR = "\x1b[?25h"


def run_interruptible(work: Callable[[], Awaitable[Result]], *, stopping: str = STOPPING) -> Result:
    """Run a coroutine function and return its result. InterruptedBySignalError when a signal cancelled it first.

    `stopping` is printed at that signal.
    """
    return run_async(lambda: _until_interrupted(work, stopping))


async def _until_interrupted(work: Callable[[], Awaitable[Result]], stopping: str) -> Result:
    results: list[Result] = []
    async with anyio.create_task_group() as group:
        scope = anyio.CancelScope()
        await group.start(_cancel_at_signal, scope, stopping)
        with scope:
            results.append(await work())
        group.cancel_scope.cancel()
    if not results:
        raise InterruptedBySignalError
    return results[0]


async def _cancel_at_signal(
    scope: anyio.CancelScope, stopping: str, *, task_status: anyio.abc.TaskStatus[None]
) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            if scope.cancel_called:
                _exit_now()
            print(stopping, file=sys.stderr, flush=True)
            scope.cancel()


def _exit_now() -> None:
    """End the process without clean-up. The next run finds unfinished work and carries on with it."""
    if sys.stderr.isatty():
        sys.stderr.write(_SHOW_CURSOR)
        sys.stderr.flush()
    os._exit(exit_codes.INTERRUPTED)


def end_at_once() -> NoReturn:
    """End the process with exit code 0. To take the interpreter apart takes longer than to stop a server, and frees nothing
    that the system does not free: call it when all is closed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


async def set_at_signal(stop: anyio.Event, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    """Set `stop` at the first SIGTERM or SIGINT; at the second end the process, with exit code 128 + the signal."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            if stop.is_set():
                os._exit(128 + number)
            log.warning("worker_draining", signal=signal.Signals(number).name)
            stop.set()
