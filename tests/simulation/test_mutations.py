"""The simulation's teeth: every planted fault is found within the seeds it is given."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from tests.simulation.mutations import Mutation
from tests.simulation.planted import MUTATIONS, find
from tests.simulation.seeds import open_pool

Searches = dict[str, Future[tuple[int, str] | None]]


@pytest.fixture(scope="module")
def searches() -> Iterator[Searches]:
    """All searches, begun on all processors at once."""
    with open_pool() as pool:
        yield {mutation.name: pool.submit(find, mutation.name) for mutation in MUTATIONS}


def test_there_are_at_least_twenty() -> None:
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS) >= 20


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_planted_fault_is_found(mutation: Mutation, searches: Searches) -> None:
    assert searches[mutation.name].result() is not None
