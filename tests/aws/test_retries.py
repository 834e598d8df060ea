"""The one layer of retries: what is tried again, how often, and how long it waits."""

from __future__ import annotations

import anyio
import pytest

from pipeline.aws.options import AwsOptions
from pipeline.aws.retries import retried, wait_seconds
from pipeline.domain.errors import ConflictError, PipelineError, TransientError

QUICK = AwsOptions(tries=4, first_wait_seconds=0.001, longest_wait_seconds=0.002)


class Failing:
    """Fails so many times with an error, and then tells the number of the attempt."""

    def __init__(self, times: int, error: PipelineError) -> None:
        self.times = times
        self.error = error
        self.numbers: list[int] = []

    async def __call__(self, number: int) -> int:
        self.numbers.append(number)
        if len(self.numbers) <= self.times:
            raise self.error
        return number


async def test_a_passing_condition_is_waited_out() -> None:
    attempt = Failing(3, TransientError("slow down"))
    assert await retried(attempt, QUICK) == 4
    assert attempt.numbers == [1, 2, 3, 4]


async def test_the_tries_have_an_end_that_tells_their_number() -> None:
    attempt = Failing(9, TransientError("slow down"))
    with pytest.raises(TransientError, match=r"slow down; tried 4 times in \d s"):
        await retried(attempt, QUICK)
    assert attempt.numbers == [1, 2, 3, 4]


async def test_what_does_not_pass_is_not_tried_again() -> None:
    attempt = Failing(9, ConflictError("somebody else"))
    with pytest.raises(ConflictError):
        await retried(attempt, QUICK)
    assert attempt.numbers == [1]


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
