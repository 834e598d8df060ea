"""Runs the named benchmarks, or all, and prints a table for each."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import (
    at_scale,
    binary_files,
    fleet,
    history,
    http_api,
    kit,
    kit_rows,
    large,
    long_flow,
    many_files,
    many_tables,
    notifying,
    peers,
    postgres,
    postgres_readers,
    rejected,
    repeated,
    repeated_tables,
    tables,
    time_left,
    verify,
    viewers,
)

BENCHMARKS: dict[str, Callable[[Path], None]] = {
    "tables": tables.run,
    "at_scale": at_scale.run,
    "repeated": repeated.run,
    "repeated_tables": repeated_tables.run,
    "verify": verify.run,
    "postgres": postgres.run,
    "postgres_readers": postgres_readers.run,
    "rejected": rejected.run,
    "fleet": fleet.run,
    "large": large.run,
    "binary_files": binary_files.run,
    "history": history.run,
    "http": http_api.run,
    "kit": kit.run,
    "kit_rows": kit_rows.run,
    "long_flow": long_flow.run,
    "many_files": many_files.run,
    "many_tables": many_tables.run,
    "notifying": notifying.run,
    "peers": peers.run,
    "time_left": time_left.run,
    "viewers": viewers.run,
}


def main() -> None:
    """Run the benchmarks named in the arguments."""
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"There is no benchmark {unknown[0]!r}. There are: {', '.join(BENCHMARKS)}")
    for name in names:
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            BENCHMARKS[name](Path(directory))


main()
