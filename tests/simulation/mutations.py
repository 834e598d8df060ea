"""Planted faults: each breaks one rule of the engine or of an adapter, and the simulation must find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.simulation.run import Run, simulate

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]


@dataclass(frozen=True, slots=True)
class Mutation:
    """A planted fault, and the seeds among which one must fail with it."""

    plant: Plant
    seeds: range

    @property
    def name(self) -> str:
        """What is wrong."""
        return self.plant.__name__


MUTATIONS: list[Mutation] = []


def found_within(count: int, *, first: int = 0) -> Callable[[Plant], Plant]:
    """Make a function that plants a fault one of `MUTATIONS`."""

    def listed(plant: Plant) -> Plant:
        MUTATIONS.append(Mutation(plant, range(first, first + count)))
        return plant

    return listed


def first_failing(mutation: Mutation) -> Run | None:
    """Return the first run that fails with the fault planted; None when none does."""
    with pytest.MonkeyPatch.context() as patch:
        mutation.plant(patch)
        for seed in mutation.seeds:
            run = simulate(seed)
            if run.broken:
                return run
    return None
