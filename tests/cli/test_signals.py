"""A worker and its signals."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HANGING = """
import anyio
from pipeline.cli.signals import set_at_signal

async def main():
    stop = anyio.Event()
    async with anyio.create_task_group() as group:
        await group.start(set_at_signal, stop)
        print("ready", flush=True)
        await stop.wait()
        print("draining", flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGTERM, signal.SIGTERM), (signal.SIGHUP, signal.SIGINT), (signal.SIGINT, signal.SIGHUP)],
)
def test_the_first_signal_drains_and_the_second_ends_the_process(first: signal.Signals, second: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", HANGING], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as worker:
        assert worker.stdout is not None
        try:
            seen: list[bytes] = []
            while not any(line == b"ready\n" for line in seen):
                seen.append(worker.stdout.readline())
            worker.send_signal(first)
            while b"draining\n" not in seen:
                seen.append(worker.stdout.readline())
            assert worker.poll() is None
            worker.send_signal(second)
            assert worker.wait(60) == 128 + second
        finally:
            worker.kill()


MOVING = """
import sys
import anyio
from pipeline.cli.main import run
from pipeline.cli.signals import run_interruptible

async def work():
    open(sys.argv[1], "w").write("ready")
    await anyio.sleep(float(sys.argv[2]))

def verb(*args, **kwargs):
    run_interruptible(work)
    return 0

import pipeline.cli.main
pipeline.cli.main.cli.main = verb
sys.exit(run([]))
"""


def test_a_terminal_that_hangs_up_interrupts_a_command(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    terminal, end = pty.openpty()
    command = [sys.executable, "-c", MOVING, str(ready), "3600"]
    with subprocess.Popen(command, stdin=end, stdout=end, stderr=end) as running:
        try:
            assert ready.read_text() == "ready"
            os.close(end)
            os.close(terminal)
            running.send_signal(signal.SIGHUP)
            assert running.wait(60) == 130
        finally:
            running.kill()


def test_a_hang_up_that_nohup_ignores_stays_ignored(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    command = ["nohup", sys.executable, "-c", MOVING, str(ready), "0.5"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            assert ready.read_text() == "ready"
            running.send_signal(signal.SIGHUP)
            assert running.wait(60) == 0
        finally:
            running.kill()
