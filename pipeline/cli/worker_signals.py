"""Stopping a worker in two steps: the first signal drains it, the second ends the process."""

from __future__ import annotations

import os
import signal

import anyio
import anyio.abc
import structlog

log = structlog.get_logger()


async def set_at_signal(stop: anyio.Event, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    """Set `stop` at the first SIGTERM or SIGINT; at the second end the process as it is, with 128 + the signal."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        task_status.started()
        async for number in signals:
            if stop.is_set():
                os._exit(128 + number)
            log.warning("worker_draining", signal=signal.Signals(number).name)
            stop.set()
