"""Two thousand worlds that misbehave, each by its own seed: nothing is lost, nothing is imported twice, everything settles."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from pipeline.testing.simulated.faults import OF_AUTHORS, Kind
from tests.simulation.report import failure_report
from tests.simulation.run import simulate
from tests.simulation.seeds import Outcome, batches, open_pool, submitted

pytestmark = pytest.mark.slow

SEEDS = 2000
Results = dict[range, Future[Outcome]]


@pytest.fixture(scope="module")
def results() -> Iterator[Results]:
    """All batches, started at once on all processors."""
    with open_pool() as pool:
        yield dict(submitted(pool, 0, SEEDS))


@pytest.mark.parametrize("batch", list(batches(0, SEEDS)), ids=lambda batch: f"{batch.start}-{batch.stop - 1}")
def test_all_rules_hold_in_every_world(batch: range, results: Results) -> None:
    failed = results[batch].result().failed
    assert not failed, failure_report(simulate(failed[0]))


def test_a_seed_tells_the_same_story_in_every_process() -> None:
    seed = 11
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed), "--story"]
    told = [
        subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=True, text=True).stdout
        for _ in range(2)
    ]
    here = simulate(seed).story.text()
    assert told[0] == told[1]
    assert here in told[0]


def test_the_faults_of_a_seed_dealt_from_a_list_give_the_same_run() -> None:
    for seed in range(8):
        run = simulate(seed)
        assert simulate(seed, run.faults).story.text() == run.story.text()


def test_every_kind_of_fault_is_dealt(results: Results) -> None:
    assert {kind for future in results.values() for kind in future.result().dealt} == set(Kind) - set(OF_AUTHORS)
