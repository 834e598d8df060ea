"""Many seeds, on all processors."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import get_context

from pipeline.testing.torture.ends import Subject
from pipeline.testing.torture.loading import load_subject
from pipeline.testing.torture.plan import plan_of
from pipeline.testing.torture.run import Run, learned, run_script, run_seed, shortest

BATCH = 5
"""Seeds that a worker runs at a time. When one fails, the batches that the others have begun run to their end."""
MOST_SHRUNK = 3
"""How many failing seeds are shrunk. The shortest of their stories is printed."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to torture, by its names, and the names of the key fields where they are not obvious."""

    names: tuple[str, ...]
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of some seeds: those that fail, and what the delivery levels allow."""

    failed: tuple[int, ...] = ()
    duplicates: int = 0
    races: int = 0

    def with_(self, other: Outcome) -> Outcome:
        """Return the result of these seeds and others."""
        failed = (*self.failed, *other.failed)
        return Outcome(failed, self.duplicates + other.duplicates, self.races + other.races)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a torture: how many seeds were run, and the shortest failing run, if one failed."""

    seeds: int
    outcome: Outcome
    seconds: float
    shortest: Run | None = None


@lru_cache(maxsize=1)
def _subject(names: tuple[str, ...], keys: tuple[tuple[str, tuple[str, ...]], ...]) -> Subject:
    return learned(load_subject(names, dict(keys)))


def subject_of(request: Request) -> Subject:
    """Return what a request names, once in a process."""
    return _subject(request.names, tuple(sorted(request.keys.items())))


def run_seeds(request: Request, seeds: Sequence[int]) -> Outcome:
    """Run seeds until enough of them have failed."""
    subject, failed, duplicates, races = subject_of(request), list[int](), 0, 0
    for seed in seeds:
        run = run_seed(subject, seed)
        duplicates, races = duplicates + run.duplicates, races + run.races
        failed += [seed] if run.broken else []
        if len(failed) == MOST_SHRUNK:
            break
    return Outcome(tuple(failed), duplicates, races)


def run_undisturbed(request: Request, seed: int) -> Run | None:
    """Return the shortest run that fails though nothing goes wrong; None when the seed has none."""
    subject = subject_of(request)
    run = run_script(subject, plan_of(seed), ())
    return shortest(subject, run) if run.broken else None


def run_shortest(request: Request, seed: int) -> Run:
    """Return the shortest story of a seed that fails."""
    subject = subject_of(request)
    return shortest(subject, run_seed(subject, seed))


def torture(request: Request, seeds: Sequence[int], progress: Callable[[int], None] = lambda done: None) -> Result:
    """Run seeds on all processors until one fails. ConfigurationError when the request cannot be run."""
    load_subject(request.names, request.keys)  # its errors name what is to be done
    with open_pool() as pool:
        return torture_in(pool, request, seeds, progress)


def torture_in(
    pool: ProcessPoolExecutor,
    request: Request,
    seeds: Sequence[int],
    progress: Callable[[int], None] = lambda done: None,
) -> Result:
    """Run seeds in these processes until one fails."""
    begun, done, total = time.monotonic(), 0, Outcome()
    found = pool.submit(run_undisturbed, request, seeds[0]).result()
    if found:
        return Result(1, Outcome((found.plan.seed,)), time.monotonic() - begun, found)
    batches = [seeds[start : start + BATCH] for start in range(0, len(seeds), BATCH)]
    futures = [pool.submit(run_seeds, request, batch) for batch in batches]
    for batch, future in zip(batches, futures, strict=True):
        total = total.with_(future.result())
        done += len(batch)
        progress(done)
        if total.failed:
            found = _rest(pool, request, total.failed, futures)
            break
    return Result(done, total, time.monotonic() - begun, found)


def _rest(
    pool: ProcessPoolExecutor, request: Request, failed: Sequence[int], futures: Sequence[Future[Outcome]]
) -> Run:
    for future in futures:
        future.cancel()
    runs = [pool.submit(run_shortest, request, seed) for seed in failed[:MOST_SHRUNK]]
    return min((run.result() for run in runs), key=lambda run: (len(run.faults), len(run.story)))


@contextmanager
def open_pool() -> Iterator[ProcessPoolExecutor]:
    """Start processes in which the order of sets is the same each time, so that a seed gives the same run."""
    before = os.environ.get("PYTHONHASHSEED")
    os.environ["PYTHONHASHSEED"] = "0"
    try:
        with ProcessPoolExecutor(os.cpu_count(), get_context("spawn"), _print_to_standard_error) as pool:
            yield pool
    finally:
        if before is None:
            del os.environ["PYTHONHASHSEED"]
        else:
            os.environ["PYTHONHASHSEED"] = before


def _print_to_standard_error() -> None:
    """Send what plug-ins print in this process to standard error: standard output is for the report."""
    sys.stdout = sys.stderr
