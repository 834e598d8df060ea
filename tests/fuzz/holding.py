"""What must hold for every hostile input: an error of our own with a clear message, or a result; and soon."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

from hypothesis import HealthCheck, Phase, settings

from pipeline.domain.errors import DefectError, PipelineError

T = TypeVar("T")

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "100"))
"""How many examples each property tries; raise it for a longer hunt: `FUZZ_EXAMPLES=10000 pytest tests/fuzz`."""

SECONDS_AN_EXAMPLE = 20.0
"""Far more than any example takes, even on a machine with much else to do: what takes longer hangs."""

MAX_MESSAGE_CHARACTERS = 4_000
"""A message is read by a person, and written into documents and logs."""


def fuzz(shard: float = 1.0) -> settings:
    """The settings of a property that tries `share` of the usual number of examples."""
    return settings(
        max_examples=max(10, int(EXAMPLES * shard)),
        deadline=None,
        derandomize="FUZZ_EXAMPLES" not in os.environ,  # the short run is the same each time; a hunt is not
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    )


class HangError(AssertionError):
    """An example took longer than any honest one."""


@contextmanager
def in_time(seconds: float = SECONDS_AN_EXAMPLE) -> Iterator[None]:
    """Raise HangError in the main thread when what is done inside takes too long."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise HangError(f"not done after {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, interrupt)
    outer, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    begun = time.monotonic()
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)
        # pytest-timeout uses the same timer: it gets back what it had.
        left = max(outer - (time.monotonic() - begun), 0.001) if outer else 0.0
        signal.setitimer(signal.ITIMER_REAL, left)


def check_message(error: PipelineError, naming: str = "") -> None:
    """A message says something, names the thing, is of bounded length, and can be written down as UTF-8."""
    text = str(error)
    assert text.strip()
    assert len(text) <= MAX_MESSAGE_CHARACTERS, f"a message of {len(text)} characters: {text[:200]}"
    text.encode()
    assert naming in text, f"{naming!r} is not named in: {text[:500]}"
    assert not isinstance(error, DefectError), f"blames our own code for what came from outside: {text[:500]}"


def result_or_error(work: Callable[[], T], naming: str = "") -> T | None:
    """Return what `work` returns, or None when it raised an error as it should be; everything else passes through."""
    with in_time():
        try:
            return work()
        except PipelineError as error:
            check_message(error, naming)
            return None
