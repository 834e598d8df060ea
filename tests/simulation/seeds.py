"""Many seeds, on all processors."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

from tests.simulation.run import simulate

BATCH = 100
"""Seeds that a worker runs at a time."""


def failing(seeds: Sequence[int]) -> list[int]:
    """Return those of these seeds that fail."""
    return [seed for seed in seeds if simulate(seed).broken]


def open_pool() -> ProcessPoolExecutor:
    """One process a processor, each started afresh: nothing of the parent's state can reach a run."""
    return ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"))


def batches(first: int, count: int) -> Iterator[range]:
    """Cut seeds `first` to `first + count - 1` into batches."""
    for start in range(first, first + count, BATCH):
        yield range(start, min(start + BATCH, first + count))


def submitted(pool: ProcessPoolExecutor, first: int, count: int) -> list[tuple[range, Future[list[int]]]]:
    """Begin with all batches."""
    return [(batch, pool.submit(failing, batch)) for batch in batches(first, count)]
