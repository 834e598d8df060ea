"""What a change did to speed and memory: this tree beside another commit, in one run.

    python -m benchmarks.compare [COMMIT]     beside COMMIT, or the one in baseline.json
    python -m benchmarks.compare --save       write this commit and its figures to baseline.json

Each scenario is a whole process. The two of a pair run one after the other, and they alternate in going first. What
counts is the median of the pairs' ratios; a spread from below 1 to above it shows no difference. The exit code is 1 if
a scenario takes `MOST` times as long, by the clock and by processor time: other work on the machine changes the second
less.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from benchmarks import data, measuring

PAIRS = int(os.environ.get("BENCH_PAIRS", "5"))
MOST = 1.10
"""A scenario that takes this many times the baseline's time is slower."""
_ROOT = Path(__file__).parents[1]
BASELINE = Path(__file__).with_name("baseline.json")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A command of `pipeline`, which runs in a directory with what `prepare` makes, and each time with a fresh home.

    `before` runs first and is not measured: `move` of the same places for a Movement that finds nothing changed.
    """

    name: str
    prepare: Callable[[Path], None]
    command: tuple[str, ...]
    before: tuple[str, ...] = ()


def main(arguments: list[str]) -> int:
    """Compare, or save the baseline; return the exit code."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        if arguments == ["--save"]:
            save(directory)
            return 0
        commit = arguments[0] if arguments else str(orjson.loads(BASELINE.read_bytes())["commit"])
        with _tree(commit, directory / "tree") as tree:
            slower = [one.name for one in _scenarios() if _is_slower(one, tree, directory)]
    if slower:
        print(f"slower than {commit[:10]}: {', '.join(slower)}")
    return 1 if slower else 0


def save(directory: Path) -> None:
    """Write the commit that is checked out, and its figures here, to the baseline file."""
    commit = _git("rev-parse", "HEAD")
    figures = {}
    for one in _scenarios():
        place = _place(one, directory)
        runs = [_run(one, _ROOT, place) for _ in range(PAIRS)]
        figures[one.name] = {
            "seconds": round(statistics.median(run.seconds for run in runs), 3),
            "processor_seconds": round(statistics.median(run.processor_seconds for run in runs), 3),
            "peak_mib": max(run.peak_bytes for run in runs) >> 20,
        }
    document = {"commit": commit, "cores": os.cpu_count(), "figures": figures}
    BASELINE.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def _is_slower(one: Scenario, tree: Path, directory: Path) -> bool:
    """Measure the pairs and print a line."""
    place = _place(one, directory)
    pairs = []
    for number in range(PAIRS):
        trees = (tree, _ROOT) if number % 2 else (_ROOT, tree)
        runs = {which: _run(one, which, place) for which in trees}
        pairs.append((runs[tree], runs[_ROOT]))
    seconds = measuring.spread([ours.seconds / theirs.seconds for theirs, ours in pairs])
    processor = measuring.spread([ours.processor_seconds / theirs.processor_seconds for theirs, ours in pairs])
    peaks = [max(run.peak_bytes for run in runs) >> 20 for runs in zip(*pairs, strict=True)]
    print(
        f"  {one.name:34} {statistics.median(theirs.seconds for theirs, _ in pairs):6.2f} s "
        f"-> {statistics.median(ours.seconds for _, ours in pairs):6.2f} s, ratio {_words(seconds)}, "
        f"processor {_words(processor)}, peak {peaks[0]} -> {peaks[1]} MiB"
    )
    return seconds.median > MOST and processor.median > MOST


def _words(spread: measuring.Spread) -> str:
    return f"{spread.median:.2f} ({spread.least:.2f} to {spread.most:.2f})"


def _place(one: Scenario, directory: Path) -> Path:
    place = directory / one.name.replace(" ", "-")
    place.mkdir()
    one.prepare(place)
    return place


def _run(one: Scenario, tree: Path, place: Path) -> measuring.Run:
    for name in ("home", "copy", "copy.db", "copy.db-wal", "copy.db-shm"):
        path = place / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    settings = {"PYTHONPATH": str(tree), "PIPELINE_HOME": str(place / "home")}
    program = [sys.executable, "-m", "pipeline"]
    if one.before:
        measuring.run([*program, *one.before], place, settings)
    return measuring.run([*program, *one.command], place, settings)


def _scenarios() -> Iterator[Scenario]:
    database, tree = ("move", "app.db", "copy.db"), ("move", "app", "copy")
    yield Scenario("--help", lambda _: None, ("--help",))
    yield Scenario("ten rows", _rows(10), database)
    yield Scenario("200,000 rows", _rows(200_000), database)
    yield Scenario("200,000 rows, nothing changed", _rows(200_000), database, database)
    yield Scenario("100 tables", _tables, database)
    yield Scenario("100 tables, nothing changed", _tables, database, database)
    yield Scenario("3,000 small files", _files, tree)
    yield Scenario("3,000 files, nothing changed", _files, tree, tree)


def _rows(count: int) -> Callable[[Path], None]:
    return lambda place: data.build(place / "app.db", count)


def _tables(place: Path) -> None:
    with sqlite3.connect(place / "app.db") as database:
        for table in range(100):
            database.execute(f"CREATE TABLE t{table} (id INTEGER PRIMARY KEY, name TEXT)")
            database.executemany(f"INSERT INTO t{table} VALUES (?, ?)", ((row, f"name {row}") for row in range(100)))
    database.close()


def _files(place: Path) -> None:
    for number in range(3_000):
        path = place / "app" / f"{number % 50}" / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"file {number}\n".encode() * 300)


@contextmanager
def _tree(commit: str, where: Path) -> Iterator[Path]:
    """Check the commit out beside this tree, for as long as the block runs."""
    _git("worktree", "add", "--quiet", "--detach", str(where), commit)
    try:
        yield where
    finally:
        _git("worktree", "remove", "--force", str(where))


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=_ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
