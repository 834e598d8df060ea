"""Real processes on real servers, killed twenty times in four kinds of worlds: nothing is lost, nothing comes twice."""

from __future__ import annotations

import random

import pytest

from tests.torture.checks import BrokenError
from tests.torture.diary import Diary
from tests.torture.run import Plan, torture

KILLS = 20


@pytest.mark.slow
def test_twenty_kills_lose_nothing_and_import_nothing_twice() -> None:
    diary = Diary()
    seed = random.randrange(10**6)
    try:
        assert torture(Plan.small(seed, KILLS), diary) >= KILLS
    except BrokenError as broken:
        pytest.fail(f"{broken}\nagain: python -m tests.torture --seed {seed} --small\n{diary.text()}", pytrace=False)
