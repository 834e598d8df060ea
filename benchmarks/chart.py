"""Draws bars of rows a second in docs/explanation, in the environment of the other programs, which has matplotlib."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import orjson

from benchmarks.item import OTHERS, ROWS
from localstack.environment import environment

_ROOT = Path(__file__).parents[1]


def draw(name: str, title: str, bars: Sequence[tuple[str, float]], rounds: int) -> None:
    """Write the chart `name`.svg. `bars` are words and rows a second, medians of this many rounds."""
    path = _ROOT / "docs" / "explanation" / f"{name}.svg"
    note = f"medians of {rounds}, side by side in one run on {os.cpu_count()} cores, client and server together"
    table = {"title": f"{title}, {ROWS:,} rows of 12 columns", "bars": bars, "note": note}
    python = environment("others", OTHERS) / "python"
    subprocess.run([python, OTHERS.with_name("plot.py"), path], input=orjson.dumps(table), check=True)
    print(f"  drawn in {path.relative_to(_ROOT)}")
