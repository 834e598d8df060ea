"""Retries: growing pauses after errors that pass, and a compare-and-set that is tried a bounded number of times."""

from __future__ import annotations

import anyio
import pytest

from pipeline.domain.errors import ConfigurationError, TransientError
from pipeline.engine.movements.retries import COMPARE_AND_SET_TRIES, LostRaceError, compare_and_set, retry
from tests.loops import on_trio


class Failing:
    """Raises `error` the first `failures` times, then returns how often it was called."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures, self.error = failures, error
        self.calls = 0

    async def __call__(self) -> int:
        await anyio.lowlevel.checkpoint()
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error
        return self.calls


def ignore(error: BaseException | None, pause_seconds: float) -> None:
    """Note nothing."""


@on_trio
async def test_pauses_double_up_to_a_limit_and_each_retry_is_noted() -> None:
    begun = anyio.current_time()
    work = Failing(5, TransientError("busy"))
    notes: list[tuple[str, float]] = []

    def note(error: BaseException | None, pause_seconds: float) -> None:
        notes.append((str(error), pause_seconds))

    result = await retry(work, on=TransientError, note=note, first_seconds=1.0, longest_seconds=5.0)
    assert result == 6
    assert anyio.current_time() - begun == pytest.approx(1 + 2 + 4 + 5 + 5, abs=0.01)
    assert notes == [("busy", pause) for pause in (1.0, 2.0, 4.0, 5.0, 5.0)]


@on_trio
async def test_the_last_error_is_raised_and_another_kind_at_once() -> None:
    busy, wrong = Failing(9, TransientError("busy")), Failing(9, ConfigurationError("wrong"))
    with pytest.raises(TransientError, match="busy"):
        await retry(busy, on=TransientError, note=ignore, first_seconds=1.0, tries=3)
    with pytest.raises(ConfigurationError, match="wrong"):
        await retry(wrong, on=TransientError, note=ignore, first_seconds=1.0, tries=3)
    assert (busy.calls, wrong.calls) == (3, 1)


@on_trio
async def test_a_pause_can_be_cancelled() -> None:
    work = Failing(9, TransientError("busy"))
    with anyio.move_on_after(2.5) as scope:
        await retry(work, on=TransientError, note=ignore, first_seconds=1.0)
    assert scope.cancelled_caught
    assert work.calls == 2


@on_trio
async def test_a_lost_race_is_run_again_without_a_pause_and_not_for_ever() -> None:
    begun = anyio.current_time()
    assert await compare_and_set(Failing(3, LostRaceError("lost")), "the document") == 4
    endless = Failing(1000, LostRaceError("lost"))
    with pytest.raises(TransientError, match="Other processes keep changing the document"):
        await compare_and_set(endless, "the document")
    assert endless.calls == COMPARE_AND_SET_TRIES
    assert anyio.current_time() - begun < 0.01
