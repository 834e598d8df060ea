"""Whether notifications slow down an import: 10,000 events wait for a receiver that never answers, or there is none."""

from __future__ import annotations

import base64
import os
import socket
import sqlite3
import statistics
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import anyio

import pipeline
from pipeline import Settings
from pipeline.assembly.commands.notifications import add_endpoint
from pipeline.assembly.commands.workers import Role, run_worker
from pipeline.assembly.runtime import open_runtime
from pipeline.domain.ids import FlowName
from pipeline.domain.notifications.endpoint import Endpoint
from pipeline.domain.outbox.event import EventType, OutboxEvent

EVENTS, ROWS, PAIRS = 10_000, int(os.environ.get("BENCH_ROWS", "300000")), int(os.environ.get("BENCH_PAIRS", "5"))
LEAST = 0.97
STARTED_SECONDS = 2.0
"""By then the notifier has begun to send."""


def run(directory: Path) -> None:
    """Measure, and print a table."""
    print(f"A Movement of {ROWS:,} rows, with a notifier in the same process or without, {PAIRS} pairs")
    anyio.run(_run, directory)


async def _run(directory: Path) -> None:
    os.environ["BENCH_SECRET"] = f"whsec_{base64.b64encode(bytes(32)).decode()}"
    source = directory / "app.db"
    with sqlite3.connect(source) as db:
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, more TEXT)")
        db.executemany("INSERT INTO t VALUES (?, ?, ?)", ((row, f"name {row}", "x" * 80) for row in range(ROWS)))
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as dead:
        homes = {}
        for name in ("without", "with"):
            homes[name] = Settings(home=directory / name)
        await _queue_events(homes["with"], dead.getsockname()[1])
        seconds: dict[str, list[float]] = {"without": [], "with": []}
        for pair in range(PAIRS):
            for name, settings in homes.items():
                seconds[name].append(
                    await _move(source, directory / f"{name}{pair}.db", settings, notify=name == "with")
                )
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    ratios = [alone / beside for alone, beside in zip(seconds["without"], seconds["with"], strict=True)]
    for name, median in medians.items():
        print(f"  {name + ' a notifier':30} {median:6.2f} s {ROWS / median:10,.0f} rows/s")
    print(f"  throughput, median of the pairs {statistics.median(ratios):6.3f} (wanted: at least {LEAST})")


async def _queue_events(settings: Settings, port: int) -> None:
    """Store events of a Flow, which an endpoint that never answers is to get."""
    now = datetime.now(UTC)
    url = f"http://127.0.0.1:{port}/"
    endpoint = replace(Endpoint("dead", url, now), allow_http=True, allow_private=("127.0.0.0/8",))
    async with open_runtime(settings, create_home=True) as runtime:
        await runtime.flows.connect(FlowName("queued"), "sqlite:///none", "sqlite:///nowhere")
        await add_endpoint(endpoint, "env:BENCH_SECRET", settings=settings)
        events = [
            OutboxEvent(EventType.FILE_FAILED, FlowName("queued"), 1, now, f"1/t/full/{at}") for at in range(EVENTS)
        ]
        await runtime.flows.outbox.put(events)


async def _move(source: Path, copy: Path, settings: Settings, *, notify: bool) -> float:
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        if notify:
            group.start_soon(lambda: run_worker(Role.NOTIFY, stop=stop, settings=settings))
            await anyio.sleep(STARTED_SECONDS)
        begun = time.perf_counter()
        await pipeline.move(str(source), str(copy), flow=copy.stem, settings=settings)
        seconds = time.perf_counter() - begun
        stop.set()
    return seconds
