"""How long `pipeline status` and `pipeline history` take for a Flow with 1,000 Movements and 100,000 Event Files."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import anyio

from pipeline.testing.simulated.object_store import MemoryObjectStore
from tests.engine import long_flow

MOVEMENTS, FILES, RUNS = 1_000, 100_000, 5
COMMANDS = (
    ["status"],
    ["status", "--flow", long_flow.FLOW],
    ["history", long_flow.FLOW],
    ["history", long_flow.FLOW, "--json"],
)


def run(directory: Path) -> None:
    """Measure, and print a table."""
    print(f"A Flow with {MOVEMENTS:,} Movements and {FILES:,} Event Files in the embedded store (wanted: under 1 s)")
    anyio.run(_build, directory)
    for command in COMMANDS:
        seconds = []
        for _ in range(RUNS):
            begun = time.perf_counter()
            arguments = [sys.executable, "-m", "pipeline", *command, "--home", str(directory / "home")]
            subprocess.run(arguments, check=True, capture_output=True)
            seconds.append(time.perf_counter() - begun)
        print(f"  {'pipeline ' + ' '.join(command):40} {statistics.median(seconds):6.2f} s")


async def _build(directory: Path) -> None:
    """Store the Flow in memory, and write the objects without waiting for the disk."""
    store = MemoryObjectStore()
    await long_flow.build(store, MOVEMENTS, FILES, f"sqlite://{directory}/app.db", f"sqlite://{directory}/copy.db")
    for key, data in store.contents():
        path = directory / "home" / "store" / "objects" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
