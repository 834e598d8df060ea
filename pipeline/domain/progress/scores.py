"""How good the time left was that was shown: each range, and how long it then took."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from pipeline.domain.progress.model import TimeLeft

SCORED_PERCENTS = (25, 50, 75)


@dataclass(frozen=True, slots=True)
class Shown:
    """The range of seconds that was shown at a percent. `came` is how long it then took; None until that is known.

    `at` is when it was shown, by the clock of the store; None where one process keeps the time.
    """

    percent: int
    low: float
    high: float
    came: float | None = None
    at: datetime | None = None


def newly_shown(before: Sequence[Shown], percent: int, left: TimeLeft | None, at: datetime) -> Shown | None:
    """Return what is to be kept of a range that is shown at a time; None if nothing is, or if that percent is kept before."""
    reached = [wanted for wanted in SCORED_PERCENTS if percent >= wanted]
    if left is None or not reached or any(shown.percent >= reached[-1] for shown in before):
        return None
    return Shown(reached[-1], round(left.low, 3), round(left.high, 3), at=at)


def what_came(shown: Sequence[Shown], ended: datetime | None) -> Iterator[Shown]:
    """Give what was shown, with what came, of a Movement that has ended at a time."""
    for one in shown:
        if one.at is not None and ended is not None:
            yield replace(one, came=max(0.0, round((ended - one.at).total_seconds(), 3)))


class ScoreKeeper:
    """Keeps the first range that is shown from each of `SCORED_PERCENTS` on."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Shown, float]] = {}

    def note(self, percent: int, left: TimeLeft | None, at: float) -> None:
        """Note what is shown at a time, in seconds that were worked."""
        reached = [wanted for wanted in SCORED_PERCENTS if percent >= wanted and wanted not in self._kept]
        if left is not None and left.high > 0 and reached:
            wanted = reached[-1]  # a jump over several of them is scored once
            self._kept[wanted] = Shown(wanted, round(left.low, 3), round(left.high, 3)), at

    def ended(self, at: float) -> tuple[Shown, ...]:
        """Return what was shown with what came, of a Movement that ends now."""
        return tuple(replace(shown, came=round(at - when, 3)) for _, (shown, when) in sorted(self._kept.items()))
