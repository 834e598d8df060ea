"""The one layer that tries a request again: with exponential back-off, full jitter, and a cap on each wait and on tries.

(https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/)
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt

from pipeline.aws.options import AwsOptions
from pipeline.domain.errors import TransientError

T = TypeVar("T")


def wait_seconds(failures: int, options: AwsOptions) -> float:
    """Return how long to wait after so many failures in a row, 1 or more: anything up to a limit that doubles."""
    return random.uniform(0.0, min(options.longest_wait_seconds, options.first_wait_seconds * 2.0 ** (failures - 1)))


async def retried(attempt: Callable[[int], Awaitable[T]], options: AwsOptions) -> T:
    """Return what `attempt` returns, awaiting it again for as long as it raises TransientError and tries are left.

    `attempt` is given its number, 1 at first. From 2 on the request may have taken place already, its answer lost:
    what is not idempotent MUST find out. All other errors, and cancellation, end it at once.
    """
    trying = AsyncRetrying(
        retry=retry_if_exception_type(TransientError),
        stop=stop_after_attempt(options.tries),
        wait=lambda state: wait_seconds(state.attempt_number, options),
        sleep=anyio.sleep,
        retry_error_callback=_give_up,
    )
    number = 0

    async def next_attempt() -> T:
        nonlocal number
        number += 1
        return await attempt(number)

    return await trying(next_attempt)


def _give_up(state: RetryCallState) -> None:
    """Raise the last error, with how often it was met."""
    error = state.outcome.exception() if state.outcome else None
    seconds = state.seconds_since_start or 0.0
    raise TransientError(f"{error}; tried {state.attempt_number} times in {seconds:.0f} s") from error
