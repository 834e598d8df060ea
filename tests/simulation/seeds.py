"""Many seeds, on all processors."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from pipeline.testing.simulated.faults import Kind
from tests.simulation.run import simulate

BATCH = 100
"""Seeds that a worker runs at a time."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of some seeds: those that fail, and the kinds of faults that were dealt."""

    failed: tuple[int, ...]
    dealt: frozenset[Kind]


def run_seeds(seeds: Sequence[int]) -> Outcome:
    """Run these seeds."""
    runs = [(seed, simulate(seed)) for seed in seeds]
    dealt = frozenset(fault.kind for _, run in runs for fault in run.faults)
    return Outcome(tuple(seed for seed, run in runs if run.broken), dealt)


def open_pool() -> ProcessPoolExecutor:
    """One process for each processor, started without the state of the parent."""
    return ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"), initializer=_collect_less)


def _collect_less() -> None:
    """Look for garbage less often, and not among modules: a run makes much, and drops nearly all of it at once."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def batches(first: int, count: int) -> Iterator[range]:
    """Cut seeds `first` to `first + count - 1` into batches."""
    for start in range(first, first + count, BATCH):
        yield range(start, min(start + BATCH, first + count))


def submitted(pool: ProcessPoolExecutor, first: int, count: int) -> list[tuple[range, Future[Outcome]]]:
    """Submit all batches."""
    return [(batch, pool.submit(run_seeds, batch)) for batch in batches(first, count)]
