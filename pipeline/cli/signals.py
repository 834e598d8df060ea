"""SIGINT, SIGTERM and SIGHUP, in two steps: the first stops cleanly, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
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
    terminals = _terminals()
    with anyio.open_signal_receiver(*_heeded()) as signals:
        task_status.started()
        async for number in signals:
            if scope.cancel_called:
                _exit_now()
            if number == signal.SIGHUP:
                _leave(terminals)
            print(stopping, file=sys.stderr, flush=True)
            scope.cancel()


def _heeded() -> Sequence[signal.Signals]:
    """Return the signals that stop a command. `nohup` ignores SIGHUP, and so it stays ignored."""
    is_ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return (signal.SIGINT, signal.SIGTERM) if is_ignored else (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _terminals() -> Sequence[int]:
    """Return the descriptors of the outputs that are terminals. Once a terminal has hung up, it is none."""
    return [stream.fileno() for stream in (sys.stdout, sys.stderr) if stream.isatty()]


def _leave(terminals: Sequence[int]) -> None:
    """Drop what is printed to these from now on: they have hung up, and to write to them is an error."""
    for terminal in terminals:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, terminal)
        os.close(nowhere)


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
    """Set `stop` at the first SIGTERM, SIGINT or SIGHUP; at the second end the process, with exit code 128 + the signal."""
    terminals = _terminals()
    with anyio.open_signal_receiver(*_heeded()) as signals:
        task_status.started()
        async for number in signals:
            if stop.is_set():
                os._exit(128 + number)
            if number == signal.SIGHUP:
                _leave(terminals)
            log.warning("worker_draining", signal=signal.Signals(number).name)
            stop.set()
