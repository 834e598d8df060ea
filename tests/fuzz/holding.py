"""The invariant for every hostile input: a PipelineError with a clear message, or a result, in bounded time."""

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
"""Examples tried by each property. For a longer run: `FUZZ_EXAMPLES=10000 pytest tests/fuzz`."""

SECONDS_AN_EXAMPLE = 20.0
"""Far more than any example takes, even on a busy machine: an example that takes longer hangs."""

MAX_MESSAGE_CHARACTERS = 4_000
"""A message is read by a person and written to documents and logs."""


def fuzz(fraction: float = 1.0) -> settings:
    """Return the settings of a property that tries this fraction of the usual number of examples."""
    return settings(
        max_examples=max(10, int(EXAMPLES * fraction)),
        deadline=None,
        derandomize="FUZZ_EXAMPLES" not in os.environ,  # the short run is reproducible; a longer one is not
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    )


class HangError(AssertionError):
    """An example took too long."""


@contextmanager
def in_time(seconds: float = SECONDS_AN_EXAMPLE) -> Iterator[None]:
    """Raise HangError in the main thread when the block takes too long."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise HangError(f"not done after {seconds:g} seconds")

    before = signal.signal(signal.SIGALRM, interrupt)
    outer, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    begun = time.monotonic()
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)
        # pytest-timeout uses the same timer: restore its remaining time.
        left = max(outer - (time.monotonic() - begun), 0.001) if outer else 0.0
        signal.setitimer(signal.ITIMER_REAL, left)


def check_message(error: PipelineError, naming: str = "") -> None:
    """Check that the message is not empty, names the object, has a bounded length, and is valid UTF-8."""
    text = str(error)
    assert text.strip()
    assert len(text) <= MAX_MESSAGE_CHARACTERS, f"a message of {len(text)} characters: {text[:200]}"
    text.encode()
    assert naming in text, f"{naming!r} is not named in: {text[:500]}"
    assert not isinstance(error, DefectError), f"reports a defect for hostile input: {text[:500]}"


def result_or_error(work: Callable[[], T], naming: str = "") -> T | None:
    """Return the result of `work`, or None when it raised a valid PipelineError; other exceptions pass through."""
    with in_time():
        try:
            return work()
        except PipelineError as error:
            check_message(error, naming)
            return None
