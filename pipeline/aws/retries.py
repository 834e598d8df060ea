"""The one layer that repeats requests: exponential back-off, full jitter, a limit for each wait and for the tries.

The engine repeats larger pieces of work, with tenacity as well (`engine/movements/retries.py`).

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
    """Return a random wait after this many failures in a row (1 or more), below a limit that doubles each time."""
    return random.uniform(0.0, min(options.longest_wait_seconds, options.first_wait_seconds * 2.0 ** (failures - 1)))


async def retried(attempt: Callable[[], Awaitable[T]], options: AwsOptions) -> T:
    """Return the result of `attempt`, repeated while it raises TransientError and tries are left.

    An attempt that failed may have taken effect, and only its answer was lost: a caller whose request is not idempotent
    MUST find out. All other errors, and cancellation, end it at once.
    """
    retrying = AsyncRetrying(
        retry=retry_if_exception_type(TransientError),
        stop=stop_after_attempt(options.tries),
        wait=lambda state: wait_seconds(state.attempt_number, options),
        sleep=anyio.sleep,
        retry_error_callback=_give_up,
    )
    return await retrying(attempt)


def _give_up(state: RetryCallState) -> None:
    """Raise the last error, with the number of tries."""
    error = state.outcome.exception() if state.outcome else None
    seconds = state.seconds_since_start or 0.0
    raise TransientError(f"{error}; tried {state.attempt_number} times in {seconds:.0f} s") from error
