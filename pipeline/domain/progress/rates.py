"""How long one kind of work takes: a mean that forgets slowly, and how much it varies."""

from __future__ import annotations

import math
from dataclasses import dataclass

SHORT_SECONDS, LONG_SECONDS = 60.0, 600.0
"""What was measured this long ago counts e times less than what is measured now: the first in the first ten minutes."""


@dataclass(slots=True)
class Rate:
    """Seconds a unit of work. `units` and `seconds` are of what was measured, older ones counting less."""

    units: float = 0.0
    seconds: float = 0.0
    squares: float = 0.0
    samples: float = 0.0
    total: float = 0.0

    def add(self, units: float, seconds: float) -> None:
        """Note how long some units took."""
        if units <= 0 or seconds < 0:
            return
        keep = math.exp(-seconds / (SHORT_SECONDS if self.total < LONG_SECONDS else LONG_SECONDS))
        self.units = self.units * keep + units
        self.seconds = self.seconds * keep + seconds
        self.squares = self.squares * keep + units * (seconds / units) ** 2
        self.samples = self.samples * keep + 1
        self.total += seconds

    def lose(self, seconds: float) -> None:
        """Note time that went by beside the units."""
        self.seconds += max(0.0, seconds)
        self.total += max(0.0, seconds)

    @property
    def is_known(self) -> bool:
        """Whether anything was measured."""
        return self.units > 0

    @property
    def mean(self) -> float:
        """Seconds a unit."""
        return self.seconds / self.units if self.units else 0.0

    @property
    def spread(self) -> float:
        """How much single measurements differ from the mean, as a share of it; 1 with fewer than two."""
        if self.samples < 2 or not self.mean:
            return 1.0
        variance = self.squares / self.units - self.mean**2
        return min(1.0, math.sqrt(max(0.0, variance)) / self.mean)

    @property
    def doubt(self) -> float:
        """How far the mean of what is to come may be from `mean`, as a share of it."""
        return self.spread / math.sqrt(max(1.0, self.samples))
