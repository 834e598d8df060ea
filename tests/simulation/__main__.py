"""`python -m tests.simulation`: run seeds, or print the story of one (docs/how-to/simulate.md)."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.report import chosen, failure_report, told
from tests.simulation.run import simulate
from tests.simulation.seeds import open_pool, submitted

MOST_REPORTS = 3


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many seeds to run (2,000)")
    parser.add_argument("--first", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--seed", type=int, help="run this seed alone")
    parser.add_argument("--story", action="store_true", help="with --seed: tell all that happens, as it happened")
    parser.add_argument("--faults", help="with --seed: only those of its faults with these numbers, as 3,7; or none")
    return parser.parse_args()


def run_one(seed: int, faults: str | None, *, story: bool) -> int:
    """Run one seed and print the result."""
    whole = simulate(seed)
    run = whole if faults is None else simulate(seed, chosen(whole.faults, faults))
    if story:
        print(told(run, whole.faults))
    elif run.broken:
        print(failure_report(run))
    else:
        print(f"seed {seed} holds, with {len(run.faults)} faults")
    return 1 if run.broken else 0


def run_many(first: int, count: int) -> int:
    """Run seeds on all processors; print the shortest stories of the first that fail."""
    begun, failed = time.monotonic(), list[int]()
    with open_pool() as pool:
        for batch, future in submitted(pool, first, count):
            failed += future.result().failed
            rate = (batch.stop - first) / (time.monotonic() - begun)
            print(f"\r{batch.stop - first:,} seeds, {len(failed)} fail, {rate:.0f} a second", end="", file=sys.stderr)
    print(file=sys.stderr)
    for seed in failed[:MOST_REPORTS]:
        print(failure_report(simulate(seed)), end="\n\n")
    if failed:
        print(f"{len(failed)} of {count:,} seeds fail: {', '.join(map(str, failed[:50]))}")
        return 1
    print(f"{count:,} seeds hold, {first:,} to {first + count - 1:,}")
    return 0


if __name__ == "__main__":
    arguments = _parse()
    if arguments.seed is not None:
        sys.exit(run_one(arguments.seed, arguments.faults, story=arguments.story))
    sys.exit(run_many(arguments.first, arguments.seeds))
