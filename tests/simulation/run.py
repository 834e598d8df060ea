"""One seed, one run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from random import Random

import pytest

from pipeline.domain.planning import maintenance
from pipeline.engine.maintenance import automatic, state
from pipeline.engine.storage import pack_writer
from pipeline.ports import object_store
from pipeline.testing.simulated.faults import Dealer, Fault, ScriptedDealer, seeded_dealer
from pipeline.testing.simulated.story import Story
from tests.simulation.platform.plan import plan_of
from tests.simulation.platform.scheduler import run_seeded
from tests.simulation.scenarios.movers import movers
from tests.simulation.scenarios.planting import NOTHING, PlantedFault
from tests.simulation.scenarios.workers import workers
from tests.simulation.scenarios.world import World


@dataclass(frozen=True, slots=True)
class Run:
    """The result of a seed: the rules that were broken, the faults that were dealt, the story."""

    seed: int
    broken: tuple[str, ...]
    faults: tuple[Fault, ...]
    story: Story


@contextmanager
def busy_maintenance() -> Iterator[None]:
    """Every Movement is looked at, and two changed files are a long history: a run has few Movements."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "LOOK_EVERY", 1)
        patch.setattr(automatic, "PRUNE_EVERY", 2)
        patch.setattr(maintenance, "LEAST_FILES", 1)
        yield


@contextmanager
def small_packs() -> Iterator[None]:
    """Two contents make a pack, and a page of a listing holds two objects."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pack_writer, "MIN_PACKED", 2)
        patch.setattr(object_store, "PAGE_OBJECTS", 2)
        yield


def simulate(seed: int, script: Sequence[Fault] | None = None, planted: PlantedFault = NOTHING) -> Run:
    """Run the world of a seed, with the faults it deals, or with those of `script` instead; `planted` comes on top."""
    plan = planted.world(plan_of(seed))
    dealer: Dealer = ScriptedDealer(script or ())
    if script is None:
        dealer = seeded_dealer(Random(seed), plan.freeze_seconds, planted.kinds)
    world = World(plan, dealer, planted)
    scenario = workers if plan.importers else movers
    try:
        with busy_maintenance(), small_packs() if plan.has_packs else nullcontext():
            run_seeded(seed, lambda: world.run(scenario))
    except (AssertionError, BaseExceptionGroup) as error:
        world.model.broken.append(repr(error))
    return Run(seed, tuple(world.model.broken), tuple(dealer.dealt), world.story)
