"""A worker and its signals."""

from __future__ import annotations

import signal
import subprocess
import sys

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


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_drains_and_the_second_ends_the_process(second: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", HANGING], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as worker:
        assert worker.stdout is not None
        try:
            seen: list[bytes] = []
            while not any(line == b"ready\n" for line in seen):
                seen.append(worker.stdout.readline())
            worker.send_signal(signal.SIGTERM)
            while b"draining\n" not in seen:
                seen.append(worker.stdout.readline())
            assert worker.poll() is None
            worker.send_signal(second)
            assert worker.wait(10) == 128 + second
        finally:
            worker.kill()
