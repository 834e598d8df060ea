"""Every planted fault is found within its seeds."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from tests.simulation.planted_faults import PLANTED, find
from tests.simulation.scenarios.planting import PlantedFault
from tests.simulation.seeds import open_pool

pytestmark = pytest.mark.slow

Searches = dict[str, Future[tuple[int, str] | None]]


@pytest.fixture(scope="module")
def searches() -> Iterator[Searches]:
    """All searches, started at once on all processors."""
    with open_pool() as pool:
        yield {planted.name: pool.submit(find, planted.name) for planted in PLANTED}


def test_there_are_at_least_twenty_five() -> None:
    assert len({planted.name for planted in PLANTED}) == len(PLANTED) >= 25


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_a_planted_fault_is_found(planted: PlantedFault, searches: Searches) -> None:
    assert searches[planted.name].result() is not None
