"""Runs a command as a process and measures it."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

_SMALL_PARENT = Path(__file__).with_name("small_parent.py")


@dataclass(frozen=True, slots=True)
class Run:
    """The wall-clock and processor seconds, peak resident memory in bytes, and output of one process.

    Processor seconds include those of its ended children; the memory is that of the largest.
    """

    seconds: float
    processor_seconds: float
    peak_bytes: int
    output: bytes

    @property
    def summary(self) -> dict[str, dict[str, int]]:
        """The last JSON object of the output."""
        last: dict[str, dict[str, int]] = orjson.loads(self.output.splitlines()[-1])
        return last


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several measurements, the least and the most."""

    median: float
    least: float
    most: float


def spread(figures: Sequence[float]) -> Spread:
    """Return the spread of at least one measurement."""
    return Spread(statistics.median(figures), min(figures), max(figures))


def run(
    arguments: Sequence[str | Path],
    directory: Path,
    settings: Mapping[str, str] | None = None,
    statuses: Collection[str] = ("0",),
) -> Run:
    """Run a command to its end. RuntimeError with its output if its exit status is none of these."""
    taken, said = directory / "taken", directory / "said"
    parent = [sys.executable, "-I", "-S", _SMALL_PARENT, taken]
    with said.open("wb") as errors:
        printed = subprocess.run(
            [str(argument) for argument in [*parent, *arguments]],
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**_as_installed(), **(settings or {})},
            check=True,
        ).stdout
    status, seconds, processor_seconds, peak_bytes = taken.read_text().split()
    if status not in statuses:
        raise RuntimeError(f"{arguments} ended with {status}: {(printed + said.read_bytes())[-2000:]!r}")
    return Run(float(seconds), float(processor_seconds), int(peak_bytes), printed)


def move(
    *arguments: str | Path,
    directory: Path,
    settings: Mapping[str, str] | None = None,
    statuses: Collection[str] = ("0",),
) -> Run:
    """Run `pipeline move … --json`."""
    return run([sys.executable, "-m", "pipeline", "move", *arguments, "--json"], directory, settings, statuses)


def _as_installed() -> dict[str, str]:
    """Return the environment without a ban on compiled modules: an installed package has them, too."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
