"""A tree of 20,000 small files (100 MB), beside rsync and rclone: whole processes, in turns, in one run.

Each program copies the tree to an empty place, and then again with nothing changed. After both, the copy is compared with
the source: paths, contents, permissions and times. A program that is not installed is left out, and said so.
`BENCH_FILES` sets another number of files.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import measuring

FILES = int(os.environ.get("BENCH_FILES", "20000"))
FILE_BYTES = 5_000
ROUNDS = 3
_OURS = "pipeline move"
_PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "rsync -a": ("rsync", "-a", "source/", "copy/"),
    "rclone sync": ("rclone", "sync", "--quiet", "source", "copy"),
}


@dataclass(frozen=True, slots=True)
class Figures:
    """What one program took for the first copy, and with nothing changed."""

    first: measuring.Run
    again: measuring.Run


def run(directory: Path) -> None:
    """Measure, and print a table."""
    _build(directory / "source")
    print(
        f"{FILES:,} files of {FILE_BYTES:,} bytes; whole processes in turns, medians of {ROUNDS}, fastest and slowest"
    )
    programs: dict[str, Callable[[], measuring.Run]] = {
        _OURS: lambda: measuring.move(
            "source/", "copy/", directory=directory, settings={"PIPELINE_HOME": str(directory / "home")}
        )
    }
    for name, command in _PROGRAMS.items():
        if shutil.which(command[0]) is None:
            print(f"  {name} is not installed, and left out")
        else:
            programs[name] = lambda command=command: measuring.run(command, directory)  # type: ignore[misc]
    figures: dict[str, list[Figures]] = {name: [] for name in programs}
    expected = dict(_described(directory / "source"))
    for _ in range(ROUNDS):
        for name, copy in programs.items():
            figures[name].append(_measure(copy, directory, expected, name))
    _print(figures)


def _build(source: Path) -> None:
    dice = random.Random(1)
    for number in range(FILES):
        file = source / f"{number // 1000:03}" / f"{number // 100 % 10}" / f"{number:06}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(dice.randbytes(FILE_BYTES))


def _measure(copy: Callable[[], measuring.Run], directory: Path, expected: Mapping[str, object], name: str) -> Figures:
    os.sync()  # what an earlier program has left to be written is not counted for this one
    figures = Figures(copy(), copy())
    if dict(_described(directory / "copy")) != expected:
        raise RuntimeError(f"the copy of {name} differs from the source")
    shutil.rmtree(directory / "copy")
    shutil.rmtree(directory / "home", ignore_errors=True)
    return figures


def _described(root: Path) -> Iterator[tuple[str, object]]:
    """Yield the path of each file, and its permissions, time to the second and content. A program may round times."""
    for place, names, files in os.walk(root):
        if ".pipeline-import" in names:
            names.remove(".pipeline-import")
        for name in files:
            file = Path(place, name)
            status = file.stat()
            yield (
                str(file.relative_to(root)),
                (stat.S_IMODE(status.st_mode), int(status.st_mtime), file.read_bytes()),
            )


def _print(figures: Mapping[str, list[Figures]]) -> None:
    _print_runs("first copy", {name: [it.first for it in runs] for name, runs in figures.items()})
    _print_runs("nothing changed", {name: [it.again for it in runs] for name, runs in figures.items()})


def _print_runs(title: str, runs: Mapping[str, list[measuring.Run]]) -> None:
    ours = statistics.median(it.seconds for it in runs[_OURS])
    for name, measured in runs.items():
        taken = [it.seconds for it in measured]
        peak = max(it.peak_bytes for it in measured) / 2**20
        beside = "" if name == _OURS else f"   pipeline has {statistics.median(taken) / ours:.2f} of its rate"
        print(
            f"  {title:16}{name:14}{statistics.median(taken):7.2f} s ({min(taken):.2f} to {max(taken):.2f})"
            f"{peak:7.0f} MiB{beside}"
        )
