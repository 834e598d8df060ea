"""What a person reads of a seed that failed."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.testing.simulated.faults import Fault
from pipeline.testing.simulated.shrink import shrunk
from tests.simulation.run import Run, simulate


def told(run: Run, dealt: Sequence[Fault]) -> str:
    """Return the story of a run, what is broken, and the command that runs it again; `dealt` are its seed's faults."""
    chosen = ",".join(str(number) for number, fault in enumerate(dealt, start=1) if fault in run.faults)
    fewer = "" if len(run.faults) == len(dealt) else f" --faults {chosen or 'none'}"
    return "\n".join(
        [
            f"seed {run.seed}, {len(run.faults)} of its {len(dealt)} faults",
            run.story.text().rstrip("\n"),
            *(f"BROKEN: {what}" for what in run.broken),
            f"again: python -m tests.simulation --seed {run.seed} --story{fewer}",
        ]
    )


def failure_report(run: Run) -> str:
    """Return the shortest story found in which the seed of this run fails."""
    return told(shrunk(run, lambda faults: simulate(run.seed, faults)), run.faults)


def chosen(faults: Sequence[Fault], numbers: str) -> tuple[Fault, ...]:
    """Return the faults with these 1-based numbers: `3,7`, or `none`."""
    if numbers == "none":
        return ()
    return tuple(faults[int(number) - 1] for number in numbers.split(","))
