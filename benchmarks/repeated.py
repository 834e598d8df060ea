"""How long a repeated Movement takes to find that 10,000 Event Files are already imported."""

from __future__ import annotations

import statistics
from pathlib import Path

from benchmarks import data, measuring

FILES = 10_000
ROUNDS = 5


def run(directory: Path) -> None:
    """Measure, and print a table."""
    data.build(directory / "app.db", FILES * 10)
    data.build(directory / "small.db", 10)
    settings = {"PIPELINE_EVENT_FILE_ROWS": "10", "PIPELINE_EVENT_FILE_BYTES": "1000"}
    first = measuring.move("app.db", "copy.db", directory=directory, settings=settings)
    measuring.move("small.db", "small-copy.db", directory=directory)
    again = [measuring.move("app.db", "copy.db", directory=directory) for _ in range(ROUNDS)]
    small = [measuring.move("small.db", "small-copy.db", directory=directory) for _ in range(ROUNDS)]
    print("A repeated Movement, nothing changed, whole processes, medians of", ROUNDS)
    for name, runs in (("Event Files imported before", again), ("Event File imported before", small)):
        listed = runs[-1].summary["event_files"]["skipped"]
        print(f"  {listed:>7,} {name:32} {statistics.median(run.seconds for run in runs):6.2f} s")
    print(f"  the first Movement of the {first.summary['event_files']['imported']:,} took {first.seconds:.1f} s")
