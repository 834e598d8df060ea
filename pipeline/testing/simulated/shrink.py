"""Shrinking: of a run that fails, the faults that are needed for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from pipeline.testing.simulated.faults import Fault


class FaultyRun(Protocol):
    """A run: the rules that were broken, and the faults that were dealt."""

    @property
    def broken(self) -> tuple[str, ...]:
        """What was broken."""
        ...

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What went wrong."""
        ...


R = TypeVar("R", bound=FaultyRun)


def shrunk(run: R, replay: Callable[[tuple[Fault, ...]], R]) -> R:
    """Drop faults one by one, as long as the run still fails; return the last that did."""
    at = 0
    while at < len(run.faults):
        fewer = replay(run.faults[:at] + run.faults[at + 1 :])
        if fewer.broken and len(fewer.faults) < len(run.faults):
            run, at = fewer, 0
        else:
            at += 1
    return run
