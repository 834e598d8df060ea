"""Whether people who look slow down a Movement: 100 pages follow it, each as a browser does, or none."""

from __future__ import annotations

import os
import re
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

VIEWERS, ROWS, PAIRS = 100, int(os.environ.get("BENCH_ROWS", "1000000")), int(os.environ.get("BENCH_PAIRS", "5"))
LEAST = 0.97
SETTLED_SECONDS = 25.0
"""By then all pages have learnt how often they may ask."""
PIPELINE = [sys.executable, "-m", "pipeline"]
FOLLOW = """
import asyncio, re, sys, aiohttp
async def follow(url, cookies, at):
    async with aiohttp.ClientSession(cookies=cookies) as client:
        await asyncio.sleep(at)
        async with client.get(url) as answer:
            text = await answer.text()
        while True:
            await asyncio.sleep(int((re.search(r"every (\\d+)s", text) or [0, "5"])[1]))
            async with client.get(url, headers={"HX-Request": "true"}) as answer:
                text = await answer.text()
            assert answer.status in (200, 404), answer.status  # a Movement that has not begun is not there
            print(answer.status, flush=True)
async def main(base, token, flow, viewers):
    paths = [f"/flows/{flow}", f"/flows/{flow}/movements/1"]
    await asyncio.gather(*(follow(base + paths[n % 2], {"pipeline_token": token}, n / 20) for n in range(int(viewers))))
asyncio.run(main(*sys.argv[1:]))
"""


def run(directory: Path) -> None:
    """Measure, and print a table."""
    print(f"A Movement of {ROWS:,} rows, with {VIEWERS} viewers or none, {PAIRS} pairs")
    with sqlite3.connect(directory / "app.db") as db:
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT, more TEXT)")
        db.executemany("INSERT INTO t VALUES (?, ?, ?)", ((row, f"name {row}", "x" * 80) for row in range(ROWS)))
    seconds: dict[int, list[float]] = {0: [], VIEWERS: []}
    busy, answers = [], []
    with _serving(directory) as (base, token, server):
        for pair in range(PAIRS):
            for viewers, times in seconds.items():
                flow, copy = f"flow{viewers}-{pair}", f"{viewers}-{pair}.db"
                create = [*PIPELINE, "flow", "create", flow, "app.db", copy, "--home", "home"]
                subprocess.run(create, cwd=directory, check=True, capture_output=True)
                with _watching(base, token, flow, viewers, directory / "answers") as answered:
                    asked = answered()
                    before = sum(server.cpu_times()[:2])
                    times.append(_move(directory, copy, flow))
                    if viewers:
                        busy.append((sum(server.cpu_times()[:2]) - before) / times[-1])
                        answers.append((answered() - asked) / times[-1])
    for viewers, times in seconds.items():
        median = statistics.median(times)
        print(
            f"  {viewers:4} viewers {median:6.2f} s {ROWS / median:10,.0f} rows/s  ({min(times):.2f} to {max(times):.2f} s)"
        )
    ratios = [alone / watched for alone, watched in zip(seconds[0], seconds[VIEWERS], strict=True)]
    print(f"  throughput, median of the pairs {statistics.median(ratios):6.3f} (wanted: at least {LEAST})")
    print(f"  of one processor, the server takes {statistics.median(busy):6.1%} while they look")
    print(f"  pages answered a second            {statistics.median(answers):6.1f}")
    if not min(answers):
        raise SystemExit("In a pair, no page was answered: the machine is too busy to measure this.")


def _move(directory: Path, copy: str, flow: str) -> float:
    begun = time.perf_counter()
    move = [*PIPELINE, "move", "app.db", copy, "--flow", flow, "--home", "home", "--json"]
    subprocess.run(move, cwd=directory, check=True, capture_output=True)
    return time.perf_counter() - begun


@contextmanager
def _serving(directory: Path) -> Iterator[tuple[str, str, psutil.Process]]:
    serve = [*PIPELINE, "serve", "--port", "0", "--home", "home"]
    with subprocess.Popen(serve, cwd=directory, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        found = re.search(r"(http://\S+)/\?token=(\S+)", server.stdout.readline())
        assert found is not None
        try:
            yield found[1], found[2], psutil.Process(server.pid)
        finally:
            server.terminate()


@contextmanager
def _watching(base: str, token: str, flow: str, viewers: int, answers: Path) -> Iterator[Callable[[], int]]:
    """Let this number of pages follow a Flow and its Movement, at the lowest priority: they stand for other computers.

    Gives a function that returns how many answers of the server they have got.
    """
    if not viewers:
        yield lambda: 0
        return
    follow = ["nice", "-n", "19", sys.executable, "-c", FOLLOW, base, token, flow, str(viewers)]
    with answers.open("wb") as file, subprocess.Popen(follow, stdout=file) as pages:
        try:
            time.sleep(SETTLED_SECONDS)
            yield lambda: answers.read_bytes().count(b"\n")
            if pages.poll() is not None:
                raise SystemExit("The pages have stopped to follow: what was measured is worth nothing.")
        finally:
            pages.terminate()
