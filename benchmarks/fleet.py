"""Workers on SeaweedFS and SQS: how the import of one group scales, and its cost compared with a bare loop.

Each importer is a process. Scaling is measured with a destination that takes 50 ms a transaction, and with one that only
reads every record, so that the processor is the limit.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import anyio

from benchmarks import data
from pipeline.assembly.runtime import open_runtime
from pipeline.domain.ids import FlowName
from pipeline.settings import load_settings
from tests.fleet.fleet import FLOW, Fleet, open_fleet
from tests.servers.ministack import ministack
from tests.servers.seaweedfs import seaweedfs

ROWS = 500_000
FILES = 100
ROUNDS = 3


def run(directory: Path) -> None:
    """Measure, and print tables."""
    with _exported(directory, ROWS, event_file_rows=str(ROWS // FILES)) as fleet:
        _against_bare_loop(fleet)
        _processor_bound(fleet)
    slow = directory / "slow"
    slow.mkdir()
    with _exported(slow, 4000, event_file_rows="10", importers="1", shard_files="4") as fleet:
        _slow_destination(fleet)


@contextmanager
def _exported(directory: Path, rows: int, **settings: str) -> Iterator[Fleet]:
    """Yield a Flow with one exported Movement, which never settles and can be imported many times."""
    with (
        seaweedfs() as s3,
        ministack() as stack,
        open_fleet(directory, s3, stack.sqs, **{"queue_visibility_seconds": "60", **settings}) as fleet,
    ):
        data.build(fleet.source, rows)
        fleet.connect()
        exporter = fleet.spawn("export")
        fleet.start()
        anyio.run(fleet.wait_for, "exported")
        exporter.terminate()
        exporter.wait()
        anyio.run(_keep_open, fleet)
        yield fleet


async def _keep_open(fleet: Fleet) -> None:
    async with open_runtime(load_settings(flags=fleet.as_settings())) as home:
        await home.flows.update(FlowName(FLOW), 1, lambda now: replace(now, exported=False))


def _import(fleet: Fleet, kind: str, processes: int) -> tuple[float, int]:
    """Import the group into an empty destination; return the seconds since its announcement and the largest peak memory."""
    for path in fleet.directory.glob("*.db*"):
        if not path.name.startswith("app.db"):
            path.unlink()
    command = [sys.executable, "-m", "benchmarks.importing", str(fleet.directory), kind]
    environment = {**fleet.environment, "PYTHONPATH": str(Path.cwd())}
    ready = [fleet.directory / f"ready{number}" for number in range(processes)]
    for pattern in ("ready*", "peak*", "imported*", "ended*"):
        for path in fleet.directory.glob(pattern):
            path.unlink()
    with ExitStack() as stack:
        workers = [
            stack.enter_context(subprocess.Popen([*command, str(number)], env=environment))
            for number in range(processes)
        ]
        while not all(path.exists() for path in ready):
            time.sleep(0.01)
        begun = time.monotonic()
        (fleet.directory / "go").touch()
        for worker in workers:
            if worker.wait() != 0:
                raise RuntimeError(f"an importer ended with {worker.returncode}")
    seconds = max(float(path.read_text()) for path in fleet.directory.glob("ended*")) - begun
    (fleet.directory / "go").unlink()
    return seconds, max(int(path.read_text()) for path in fleet.directory.glob("peak*"))


def _against_bare_loop(fleet: Fleet) -> None:
    ours: list[float] = []
    bare: list[float] = []
    peak = 0
    for round_ in range(ROUNDS + 1):
        loop, _ = _import(fleet, "bare", 1)
        worker, memory = _import(fleet, "sqlite", 1)
        if round_:
            bare.append(loop)
            ours.append(worker)
            peak = max(peak, memory)
    ratio = statistics.median(one / two for one, two in zip(bare, ours, strict=True))
    print(f"{ROWS:,} records in {FILES} Event Files on SeaweedFS, into SQLite, medians of {ROUNDS}")
    print(f"  a bare loop (download, parse, upsert)   {_rate(bare)}")
    print(f"  an import worker                        {_rate(ours)}  peak {peak >> 20} MiB")
    print(f"  the worker against the loop: {ratio:.2f} of its rate (0.7 asked for)")


def _rate(seconds: list[float]) -> str:
    median = statistics.median(seconds)
    return f"{median:6.2f} s {ROWS / median:>10,.0f} records/s"


def _processor_bound(fleet: Fleet) -> None:
    one = statistics.median(_import(fleet, "reading", 1)[0] for _ in range(ROUNDS))
    two = statistics.median(_import(fleet, "reading", 2)[0] for _ in range(ROUNDS))
    _print_scaling("the processor is the limit", one, 2, two, 1.4)


def _slow_destination(fleet: Fleet) -> None:
    one = statistics.median(_import(fleet, "slow", 1)[0] for _ in range(ROUNDS))
    four = statistics.median(_import(fleet, "slow", 4)[0] for _ in range(ROUNDS))
    _print_scaling("50 ms a transaction", one, 4, four, 3.5)


def _print_scaling(what: str, one: float, processes: int, several: float, asked: float) -> None:
    print(f"one group, {what}: one importer {one:.2f} s, {processes} of them {several:.2f} s")
    print(f"  {one / several:.2f} times as fast ({asked} asked for)")
