"""Stopping in two steps: the first signal lets what is in progress end cleanly, the second ends the process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
import anyio.abc

from pipeline.cli import exit_codes
from pipeline.cli.output.error_output import InterruptedBySignalError

Result = TypeVar("Result")

STOPPING = "Stopping once transactions in progress have ended. The same command carries on. (Again: stop at once.)"
_SHOW_CURSOR = "\x1b[?25h"


async def until_interrupted(work: Callable[[], Awaitable[Result]]) -> Result:
    """Return what `work` returns; InterruptedBySignalError when SIGINT or SIGTERM came first and cancelled it."""
    results: list[Result] = []
    async with anyio.create_task_group() as group:
        scope = anyio.CancelScope()
        await group.start(_watch, scope)
        with scope:
            results.append(await work())
        group.cancel_scope.cancel()
    if not results:
        raise InterruptedBySignalError
    return results[0]


async def _watch(scope: anyio.CancelScope, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for _ in signals:
            if scope.cancel_called:
                _end_now()
            print(STOPPING, file=sys.stderr, flush=True)
            scope.cancel()


def _end_now() -> None:
    """End the process as it is: whatever is half done will be found and carried on."""
    if sys.stderr.isatty():
        sys.stderr.write(_SHOW_CURSOR)
        sys.stderr.flush()
    os._exit(exit_codes.INTERRUPTED)
