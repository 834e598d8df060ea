"""Retries of the engine: with growing pauses after errors that pass, and at once after a lost compare-and-set.

Adapters retry single requests by themselves (`pipeline/aws/retries.py`); here whole pieces of work are retried.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, TypeVar

import anyio

from pipeline.domain.errors import ConflictError, PipelineError, TransientError

if TYPE_CHECKING:
    from tenacity import RetryCallState

COMPARE_AND_SET_TRIES = 20
"""A document is changed by few processes, a few times a second. Losing more often than this points to a defect."""

T = TypeVar("T")
Note = Callable[[BaseException | None, float], object]
"""Called before each pause with the error and the seconds to wait."""


class LostRaceError(ConflictError):
    """Another process has changed the document since it was read."""


def backoff_seconds(failures: int, first_seconds: float, longest_seconds: float = inf) -> float:
    """Return the pause after this many failures in a row, 1 or more: the first pause, doubled each time, up to a limit."""
    return min(first_seconds * 2.0 ** (failures - 1), longest_seconds)


async def retry(
    work: Callable[[], Awaitable[T]],
    *,
    on: type[PipelineError],
    note: Note,
    first_seconds: float,
    longest_seconds: float = inf,
    tries: int | None = None,
) -> T:
    """Return the result of `work`; after an error of type `on`, call `note`, pause, and run it again.

    After `tries` runs (None: no limit) the last error is raised. Other errors, and cancellation, end it at once.
    """

    from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, stop_never

    def before_sleep(state: RetryCallState) -> None:
        note(state.outcome.exception() if state.outcome else None, state.upcoming_sleep)

    return await AsyncRetrying(
        retry=retry_if_exception_type(on),
        stop=stop_never if tries is None else stop_after_attempt(tries),
        wait=lambda state: backoff_seconds(state.attempt_number, first_seconds, longest_seconds),
        before_sleep=before_sleep,
        sleep=anyio.sleep,
        reraise=True,
    )(work)


async def compare_and_set(attempt: Callable[[], Awaitable[T]], what: str) -> T:
    """Return the result of `attempt`, which reads, decides and writes; run it again after a LostRaceError.

    TransientError after `COMPARE_AND_SET_TRIES` runs; `what` names the contended document in it.
    """
    with suppress(LostRaceError):
        return await attempt()
    from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt  # most races are won

    lost, tries = retry_if_exception_type(LostRaceError), stop_after_attempt(COMPARE_AND_SET_TRIES - 1)
    try:
        return await AsyncRetrying(retry=lost, stop=tries, sleep=anyio.sleep, reraise=True)(attempt)
    except LostRaceError as error:
        raise TransientError(f"Other processes keep changing {what}. Try again.") from error
