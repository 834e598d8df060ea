"""The cost of a repeated Movement: 2 million rows and 20,000 files; `BENCH_ROWS` and `BENCH_FILES` set other numbers."""

from __future__ import annotations

import os
import random
import sqlite3
import statistics
from collections.abc import Callable
from pathlib import Path

from benchmarks import data, measuring, scanning

ROWS = int(os.environ.get("BENCH_ROWS", "2000000"))
FILES = int(os.environ.get("BENCH_FILES", "20000"))
ROUNDS = 3
FILE_BYTES = 4_000


def run(directory: Path) -> None:
    """Measure, and print a table."""
    print(f"A repeated Movement: {ROWS:,} rows of 12 columns, {FILES:,} files; whole processes, medians of {ROUNDS}")
    _tables(directory / "tables")
    _files(directory / "files")


def _tables(directory: Path) -> None:
    directory.mkdir()
    data.build(directory / "app.db", ROWS)

    def move() -> measuring.Run:
        return measuring.move("app.db", "copy.db", directory=directory)

    first = move()
    _row("tables: first Movement", first.seconds, first)
    state = _state_bytes(directory)
    bare = _median(lambda: scanning.scan("app.db", directory))
    _row("bare scan: SELECT *, thrown away", bare.seconds)
    unchanged = _median(move)
    _ensure_nothing_moved(unchanged)
    _row("nothing changed", unchanged.seconds, unchanged)
    _ratio("against the first Movement", unchanged.seconds / first.seconds, 0.25)
    _ratio("against the bare scan", unchanged.seconds / bare.seconds, 1.6)
    rounds = iter(range(ROUNDS))

    def change_and_move() -> measuring.Run:
        changed = _change(directory / "app.db", next(rounds))
        some = move()
        records = some.summary["records"]
        assert records["upserts"] + records["deletes"] == changed, (records, changed)
        return some

    some = _median(change_and_move)
    _row("0.1 % changed: as many records moved", some.seconds, some)
    _ratio("against the first Movement", some.seconds / first.seconds, 0.5)
    _ratio("state stored, bytes a row", state / ROWS, 32)


def _files(directory: Path) -> None:
    directory.mkdir()
    dice = random.Random(1)
    for number in range(FILES):
        folder = directory / "in" / f"{number % 100:02}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.bin").write_bytes(dice.randbytes(FILE_BYTES))

    def move() -> measuring.Run:
        return measuring.move("in", "out/", directory=directory)

    first = move()
    _row("files: first Movement", first.seconds, first)
    unchanged = _median(move)
    _ensure_nothing_moved(unchanged)
    _row("nothing changed", unchanged.seconds, unchanged)
    _ratio("against the first Movement", unchanged.seconds / first.seconds, 0.1)


def _ensure_nothing_moved(run_: measuring.Run) -> None:
    assert run_.summary["event_files"]["exported"] == 0
    assert run_.summary["bytes"]["stored"] == 0
    assert sum(run_.summary["records"].values()) == 0


def _change(database: Path, round_: int) -> int:
    """Change 0.1 % of the rows at random: 80 % updates, 10 % inserts, 10 % deletes; return their number.

    No row is changed twice.
    """
    count = ROWS // 1000
    chosen = random.Random(2).sample(range(ROWS), count * ROUNDS)[round_::ROUNDS]
    deleted, updated = chosen[: count // 10], chosen[count // 10 : -(count // 10)]
    first = ROWS + round_ * count
    inserted = range(first, first + count // 10)
    with sqlite3.connect(database) as db:
        db.executemany("DELETE FROM item WHERE id = ?", ((number,) for number in deleted))
        db.executemany("UPDATE item SET amount = amount + 1 WHERE id = ?", ((number,) for number in updated))
        db.executemany("INSERT INTO item (id, name) VALUES (?, 'new')", ((number,) for number in inserted))
    db.close()
    return len(deleted) + len(updated) + len(inserted)


def _state_bytes(directory: Path) -> int:
    """Return the size of the state that the next Movement compares with: each stream's newest whole state."""
    states = [path for path in directory.glob(".pipeline/store/objects/flows/*/snapshots/*/*") if path.is_file()]
    newest = {path.parent: path for path in sorted(states, key=lambda path: path.stat().st_mtime_ns)}
    return sum(path.stat().st_size for path in newest.values())


def _median(work: Callable[[], measuring.Run]) -> measuring.Run:
    runs = sorted((work() for _ in range(ROUNDS)), key=lambda run_: run_.seconds)
    assert statistics.median(run_.seconds for run_ in runs) == runs[ROUNDS // 2].seconds
    return runs[ROUNDS // 2]


def _row(what: str, seconds: float, run_: measuring.Run | None = None) -> None:
    peak = f"peak {run_.peak_bytes >> 20:4} MiB" if run_ else ""
    print(f"  {what:52} {seconds:8.2f} s  {peak}".rstrip())


def _ratio(what: str, ratio: float, most: float) -> None:
    print(f"    {what:50} {ratio:8.2f}    at most {most:g}: {'kept' if ratio <= most else 'missed'}")
