"""What a seed makes of a run before anything goes wrong, and what may go wrong in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

from pipeline.engine.movements.context import Limits
from pipeline.testing.simulated.faults import Kind, SeededDealer

VISIBILITY_SECONDS = 0.5
FREEZE_SECONDS = (0.4, 2.0, 8.0, 40.0)
_DIE = (Kind.DIE_BEFORE, Kind.DIE_AFTER)
_THEMES = (
    _DIE,
    (*_DIE, Kind.HALF),
    (Kind.FAIL_BEFORE, Kind.FAIL_AFTER, Kind.HALF),
    (Kind.FAIL_BEFORE, Kind.FAIL_AFTER),
    (Kind.FAIL_BEFORE, Kind.WAIT),
    (Kind.FAIL_AFTER, Kind.DIE_AFTER),
    (Kind.WAIT, Kind.HANG_BEFORE, Kind.HANG_AFTER),
    (Kind.FREEZE_BEFORE, Kind.FREEZE_AFTER),
    (Kind.FREEZE_BEFORE, Kind.FREEZE_AFTER, *_DIE),
    (Kind.LOSE, Kind.DOUBLE, Kind.DELAY, *_DIE),
)
_READING_THEMES = (
    (Kind.CHANGE,),
    (Kind.CHANGE,),
    (Kind.CHANGE, *_DIE),
    (Kind.CHANGE, Kind.FAIL_BEFORE, Kind.FAIL_AFTER),
    (Kind.FAIL_BEFORE, Kind.FAIL_AFTER),
    (*_DIE, Kind.FAIL_BEFORE),
)
"""What goes wrong where an author's Exporter reads an app."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The world of one seed. `first_changes` are the changes that make the first rows, `changes` those before a Movement."""

    seed: int
    movements: int
    first_changes: int
    changes: int
    limits: Limits

    def smaller(self) -> Iterator[Plan]:
        """Yield plans that are simpler, each in one way, the simplest first."""
        yield from (replace(self, movements=number) for number in range(1, self.movements))
        yield from (replace(self, first_changes=number) for number in (1, 2, 4) if number < self.first_changes)
        yield from (replace(self, changes=number) for number in (1, 2) if number < self.changes)


def of_seed(seed: int, *what: object) -> Random:
    """Return a generator for one decision: decisions do not depend on how many were made before."""
    return Random(f"{seed} {what}")


def plan_of(seed: int) -> Plan:
    """Return the plan of a seed."""
    random = of_seed(seed, "plan")
    limits = Limits(
        event_file_rows=random.choice((1, 2, 3, 5, 100)),
        range_rows=random.choice((2, 3, 5)),
        importers=random.choice((1, 2, 4)),
        visibility_seconds=VISIBILITY_SECONDS,
        sweep_seconds=0.4,
        idle_timeout_seconds=60.0,
        progress_seconds=0.5,
    )
    return Plan(
        seed,
        movements=random.choice((1, 2, 2, 3)),
        first_changes=random.choice((2, 4, 8, 12)),
        changes=random.choice((1, 3, 6)),
        limits=limits,
    )


def dealer_of(seed: int, *, reads: bool) -> SeededDealer:
    """Return the dealer of a seed: one to six faults, of a few kinds. `reads`: an author's Exporter reads the app."""
    random = of_seed(seed, "faults")
    themes = (*_THEMES, *_READING_THEMES, *_READING_THEMES) if reads else _THEMES
    kinds: tuple[Kind, ...] = random.choice(themes)
    if random.random() < 0.25:
        kinds = tuple(random.sample(sorted({kind for theme in themes for kind in theme}), 5))
    rarity = random.choice((16.0, 40.0, 90.0, 200.0))  # calls that ask an app have 12 times the chance
    most = random.choice((2, 4, 8) if reads else (1, 1, 2, 3, 6))
    return SeededDealer(random, most, rarity, frozenset(kinds), FREEZE_SECONDS)
