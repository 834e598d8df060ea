"""The part of the suites that runs an author's functions under faults."""

from __future__ import annotations

from itertools import chain

import pytest

from pipeline.kit.plugin import Plugin
from pipeline.testing.torture.ends import Subject
from pipeline.testing.torture.loading import name_of
from pipeline.testing.torture.plan import plan_of
from pipeline.testing.torture.report import told
from pipeline.testing.torture.run import learned, run_script, run_seed, shortest
from pipeline.testing.torture.seeds import Request

SEEDS = 100
"""How many seeds are run: some seconds. `pipeline torture` runs 1,000."""


def seeds_of(config: pytest.Config) -> range:
    """Return the seeds to run: `--torture-seeds` of them, from `--torture-first` on."""
    first = config.getoption("--torture-first", default=0)
    return range(first, first + config.getoption("--torture-seeds", default=SEEDS))


def check_under_faults(subject: Subject, seeds: range, plugin: Plugin) -> None:
    """Run a seed without faults, then all of them with theirs; fail with the shortest story of the first that fails."""
    subject = learned(subject)
    runs = chain([run_script(subject, plan_of(seeds.start), ())], (run_seed(subject, seed) for seed in seeds))
    broken = next((run for run in runs if run.broken), None)
    if broken is not None:
        request = Request((name_of(plugin),), subject.keys)
        pytest.fail(told(request, shortest(subject, broken)), pytrace=False)
