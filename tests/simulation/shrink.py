"""Shrinking: of a run that fails, the faults that are needed for it."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.testing.simulated.faults import Fault
from tests.simulation.run import Run

Replay = Callable[[tuple[Fault, ...]], Run]


def shrunk(run: Run, replay: Replay) -> Run:
    """Drop faults one by one, as long as the run still fails; return the last that did."""
    at = 0
    while at < len(run.faults):
        fewer = replay(run.faults[:at] + run.faults[at + 1 :])
        if fewer.broken and len(fewer.faults) < len(run.faults):
            run, at = fewer, 0
        else:
            at += 1
    return run
