"""Running a command as a process of its own, and what it took."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson


@dataclass(frozen=True, slots=True)
class Run:
    """What one process took: wall-clock seconds and the peak of its resident memory in bytes; and what it printed."""

    seconds: float
    peak_bytes: int
    output: bytes

    @property
    def summary(self) -> dict[str, dict[str, int]]:
        """The last JSON object it printed."""
        last: dict[str, dict[str, int]] = orjson.loads(self.output.splitlines()[-1])
        return last


def run(arguments: Sequence[str | Path], directory: Path, settings: Mapping[str, str] | None = None) -> Run:
    """Run a command to its end; raise when it fails."""
    begun = time.perf_counter()
    with (directory / "output").open("w+b") as output:
        process = subprocess.Popen(
            [str(argument) for argument in arguments],
            cwd=directory,
            stdout=output,
            env={**os.environ, **(settings or {})},
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        printed = output.read()
    if process.returncode != 0:
        raise RuntimeError(f"{arguments} ended with {process.returncode}: {printed[-2000:]!r}")
    return Run(seconds, usage.ru_maxrss * 1024, printed)


def move(*arguments: str | Path, directory: Path, settings: Mapping[str, str] | None = None) -> Run:
    """Run `pipeline move … --json`."""
    return run([sys.executable, "-m", "pipeline", "move", *arguments, "--json"], directory, settings)
