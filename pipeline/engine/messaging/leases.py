"""The lease of a message: renewed while work on it goes on, and given back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from pipeline.domain.errors import LeaseLostError, RefusedError, TransientError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.log_events import log
from pipeline.ports.event_queue import EventQueue, Message


@asynccontextmanager
async def held(queue: EventQueue, message: Message, visibility_seconds: float) -> AsyncIterator[None]:
    """Renew the lease of a message at a third of its time-out while the context is open.

    A lost lease does no harm: the next receiver finds what is marked, and every load checks the marks itself.
    """
    with unwrap_exception_group():
        async with anyio.create_task_group() as group:
            group.start_soon(_renew, queue, message, visibility_seconds, name="renew lease")
            yield
            group.cancel_scope.cancel()


async def _renew(queue: EventQueue, message: Message, seconds: float) -> None:
    while True:
        await anyio.sleep(seconds / 3)
        try:
            await queue.extend(message.receipt, seconds)
        except LeaseLostError:
            log.info("lease_lost")
            return
        except (TransientError, RefusedError) as error:
            log.warning("lease_renewal_failed", reason=str(error))  # two more attempts follow before it expires


async def give_back(queue: EventQueue, message: Message, *, after_seconds: float = 0.0) -> None:
    """Make the message visible to others after a while. If this fails, the visibility time-out does it later."""
    try:
        await queue.extend(message.receipt, after_seconds)
    except (LeaseLostError, TransientError, RefusedError) as error:
        log.info("message_return_failed", reason=str(error))


async def reject(queue: EventQueue, message: Message, reason: str) -> None:
    """Make the message a dead letter with the reason. If this fails, the queue does it later without one."""
    try:
        await queue.reject(message, reason)
    except (LeaseLostError, TransientError, RefusedError) as error:
        log.info("message_return_failed", reason=str(error))
