"""500,000 rows from SQLite to SQLite, compared with SQLite's own `ATTACH; INSERT … SELECT` into an equal table.

Between equal tables SQLite copies whole records (https://www.sqlite.org/src/doc/trunk/src/insert.c, "transfer
optimization"). A condition that always holds prevents that, so that SQLite reads and writes each row. Both are measured.
"""

from __future__ import annotations

import shutil
import statistics
import sys
from pathlib import Path

from benchmarks import data, measuring

ROWS = 500_000
ROUNDS = 7
_ATTACH = """
import sqlite3
db = sqlite3.connect("attached.db", isolation_level=None)
db.execute("ATTACH 'app.db' AS source")
db.execute("CREATE TABLE item({columns})")
db.execute("INSERT INTO item SELECT * FROM source.item {condition}")
db.close()
"""


def run(directory: Path) -> None:
    """Measure, and print a table."""
    data.build(directory / "app.db", ROWS)
    raw, by_row = directory / "raw.py", directory / "by_row.py"
    raw.write_text(_ATTACH.format(columns=data.COLUMNS, condition=""))
    by_row.write_text(_ATTACH.format(columns=data.COLUMNS, condition="WHERE +id IS NOT NULL"))
    attached: list[float] = []
    attached_by_row: list[float] = []
    moved: list[float] = []
    unchanged: list[float] = []
    peak = 0
    for round_ in range(ROUNDS + 1):
        for name in ("attached.db", "copy.db", ".pipeline"):
            _remove(directory, name)
        by_rows = measuring.run([sys.executable, by_row], directory)
        _remove(directory, "attached.db")
        one = measuring.run([sys.executable, raw], directory)
        two = measuring.move("app.db", "copy.db", directory=directory)
        three = measuring.move("app.db", "copy.db", directory=directory)
        assert two.summary["records"]["upserts"] == ROWS
        assert three.summary["event_files"]["exported"] == 0
        if round_:  # the first round warms up
            attached.append(one.seconds)
            attached_by_row.append(by_rows.seconds)
            moved.append(two.seconds)
            unchanged.append(three.seconds)
            peak = max(peak, two.peak_bytes)
    _print(attached, attached_by_row, moved, unchanged, peak)


def _remove(directory: Path, name: str) -> None:
    shutil.rmtree(directory / name, ignore_errors=True)
    for suffix in ("", "-wal", "-shm"):
        path = directory / (name + suffix)
        if path.is_file():
            path.unlink()


def _print(
    attached: list[float], attached_by_row: list[float], moved: list[float], unchanged: list[float], peak: int
) -> None:
    ratio = statistics.median(one / two for one, two in zip(attached, moved, strict=True))
    by_row = statistics.median(one / two for one, two in zip(attached_by_row, moved, strict=True))
    again = statistics.median(two / one for one, two in zip(moved, unchanged, strict=True))
    print(f"SQLite to SQLite, {ROWS:,} rows of 12 columns, medians of {ROUNDS}, whole processes")
    print(f"  {'ATTACH; INSERT … SELECT':32} {statistics.median(attached):6.2f} s {_rate(attached):>12}")
    print(f"  {'the same, row by row':32} {statistics.median(attached_by_row):6.2f} s {_rate(attached_by_row):>12}")
    print(f"  {'pipeline move, first':32} {statistics.median(moved):6.2f} s {_rate(moved):>12}  peak {peak >> 20} MiB")
    print(f"  {'pipeline move, nothing changed':32} {statistics.median(unchanged):6.2f} s {_rate(unchanged):>12}")
    print(
        f"  first move against ATTACH: {ratio:.2f} of its rate (0.15 asked for, 0.25 wanted); row by row: {by_row:.2f}"
    )
    print(f"  nothing changed against first move: {again:.2f} of its time")


def _rate(seconds: list[float]) -> str:
    return f"{ROWS / statistics.median(seconds):,.0f} rows/s"
