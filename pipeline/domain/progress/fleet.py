"""How far a Movement is on which several workers work: what is left is known once it is exported.

No process sees all that happens, so this counts Event Files, by what each worker has stored: those of a group take as long
as its files have taken so far, on as many importers as have some in hand.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from pipeline.domain.progress.model import LEAST_SECONDS, MOST_DOUBT, PASS_DOUBT, PASS_SHARE, TimeLeft

MEASURED_FILES = 5
"""The time left is shown once this many Event Files are imported."""
FLEET_DOUBT = 0.25
"""How far an estimate may be off at least, as a share of it."""


@dataclass(frozen=True, slots=True)
class GroupWork:
    """Event Files of a group: `pending` when it was exported, `done` since then, imported in these `seconds` in all."""

    pending: int
    done: int
    seconds: float


def fleet_percent(groups: Collection[GroupWork], passes: float = 0.0) -> int | None:
    """Return the share of the work that is done, in percent, below 100; None if no file was pending.

    `passes`: how often the destination goes over its rows at the end, to make indexes and to check foreign keys.
    """
    pending = sum(group.pending for group in groups)
    done = sum(min(group.done, group.pending) for group in groups)
    return min(99, int(100 * done / (pending * (1 + PASS_SHARE * passes)))) if pending else None


def fleet_time_left(groups: Collection[GroupWork], at_once: int, passes: float = 0.0) -> TimeLeft | None:
    """Return how long the files that are left take, `at_once` at a time, and then the `passes` over all rows.

    None while nobody works, or little is measured.
    """
    done, seconds = sum(group.done for group in groups), sum(group.seconds for group in groups)
    if not at_once or done < MEASURED_FILES or seconds < LEAST_SECONDS:
        return None
    rates = [(group.seconds / group.done if group.done else seconds / done, group) for group in groups]
    likely = sum(rate * max(0, group.pending - group.done) for rate, group in rates) / at_once
    doubt = min(MOST_DOUBT, FLEET_DOUBT + 1 / math.sqrt(done))
    end = PASS_SHARE * passes * sum(rate * group.pending for rate, group in rates) / at_once
    off = likely * doubt + end * PASS_DOUBT
    return TimeLeft(likely + end - off, likely + end + off)
