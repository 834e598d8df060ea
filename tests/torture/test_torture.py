"""Twenty kills of real processes on real servers: nothing is lost, and nothing is imported twice."""

from __future__ import annotations

import random

import pytest

from tests.torture.checks import BrokenError
from tests.torture.run import Plan, torture
from tests.torture.run_log import RunLog

KILLS = 20


@pytest.mark.slow
def test_twenty_kills_lose_nothing_and_import_nothing_twice() -> None:
    run_log = RunLog()
    seed = random.randrange(10**6)
    try:
        assert torture(Plan.small(seed, KILLS), run_log) >= KILLS
    except BrokenError as broken:
        pytest.fail(f"{broken}\nagain: python -m tests.torture --seed {seed} --small\n{run_log.text()}", pytrace=False)
