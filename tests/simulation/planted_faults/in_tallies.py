"""Faults planted in what is shown of the progress."""

from __future__ import annotations

from pipeline.assembly.progress_counts import Tally
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
