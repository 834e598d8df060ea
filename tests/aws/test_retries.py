"""Retries: which errors are retried, how often, and after which waits."""

from __future__ import annotations

import anyio
import pytest

from pipeline.aws.options import AwsOptions
from pipeline.aws.retries import retried, wait_seconds
from pipeline.domain.errors import ConflictError, PipelineError, TransientError

QUICK = AwsOptions(tries=4, first_wait_seconds=0.001, longest_wait_seconds=0.002)


class Failing:
    """Fails this many times with an error, and then returns how often it was called."""

    def __init__(self, times: int, error: PipelineError) -> None:
        self.times = times
        self.error = error
        self.calls = 0

    async def __call__(self) -> int:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return self.calls


async def test_an_error_that_passes_is_retried() -> None:
    attempt = Failing(3, TransientError("slow down"))
    assert await retried(attempt, QUICK) == 4
    assert attempt.calls == 4


async def test_an_error_that_lasts_is_raised_with_the_number_of_tries() -> None:
    attempt = Failing(9, TransientError("slow down"))
    with pytest.raises(TransientError, match=r"slow down; tried 4 times in \d s"):
        await retried(attempt, QUICK)
    assert attempt.calls == 4


async def test_an_error_that_does_not_pass_is_not_retried() -> None:
    attempt = Failing(9, ConflictError("somebody else"))
    with pytest.raises(ConflictError):
        await retried(attempt, QUICK)
    assert attempt.calls == 1


async def test_cancellation_ends_a_wait() -> None:
    attempt = Failing(9, TransientError("slow down"))
    with anyio.move_on_after(0.05) as scope:
        await retried(attempt, AwsOptions(tries=4, first_wait_seconds=600.0, longest_wait_seconds=600.0))
    assert scope.cancelled_caught


def test_waits_are_random_below_a_limit_that_doubles_up_to_a_cap() -> None:
    options = AwsOptions(first_wait_seconds=1.0, longest_wait_seconds=6.0)
    for failures, limit in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 6.0), (1000, 6.0)):
        waits = [wait_seconds(failures, options) for _ in range(300)]
        assert 0.0 <= min(waits) < limit / 10
        assert limit * 0.9 < max(waits) <= limit
