"""Faults planted in what is shown of the progress."""

from __future__ import annotations

from dataclasses import replace

from pipeline.assembly.progress_counts import Tally
from pipeline.ports.reporter import Event, MovementBegun
from tests.simulation.planted_faults.worlds import MOVERS
from tests.simulation.scenarios.planting import in_tallies


@in_tallies(range(100))
class PercentThatFalls(Tally):
    """The percentage follows the counts down, too: when a further group is found, there is more to do than before."""

    @property
    def percent(self) -> int:
        """Return the percentage of the counts alone."""
        groups = list(self.groups.values())
        if self.status == "SUCCESS":
            return 100
        return min(99, int(100 * sum(group.fraction for group in groups) / len(groups))) if groups else 0


@in_tallies(MOVERS)
class PercentOfOneProcess(Tally):
    """A process that carries a Movement on begins at 0 again, and shows what it does itself."""

    def report(self, event: Event) -> None:
        """Count an event, and forget what was done before."""
        super().report(replace(event, percent=0) if isinstance(event, MovementBegun) else event)
