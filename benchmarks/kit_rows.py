"""Rows of an Exporter into SQLite, beside a bare loop of the same generator and `executemany`; and pages that are unchanged."""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks import measuring

ROWS = 1_000_000
PAGE_ROWS, PAGED_ROWS = 500, 100_000

_APP = f"""\
from __future__ import annotations
import os, random, sqlite3, sys
from collections.abc import AsyncIterator
from dataclasses import astuple, dataclass

@dataclass
class Item:
    id: int
    name: str
    price: float
    note: str | None

COLUMNS = {{"id": int, "name": str, "price": float, "note": str | None}}
ORDER = list(range({ROWS}))
if "unordered" in os.environ.get("KIT_ROWS", ""):
    random.Random(1).shuffle(ORDER)

def values(number):
    return number, f"item number {{number}}", number / 8, None if number % 3 else f"a note on {{number}}"

def dicts():
    for number in ORDER:
        id, name, price, note = values(number)
        yield {{"id": id, "name": name, "price": price, "note": note}}

def dataclasses():
    for number in ORDER:
        yield Item(*values(number))

def bare(kind, path):
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, name TEXT, price REAL, note TEXT)")
    rows = (tuple(row.values()) for row in dicts()) if kind == "dicts" else (
        (row.id, row.name, row.price, row.note) for row in dataclasses()
    )
    connection.executemany("INSERT INTO items VALUES (?, ?, ?, ?)", rows)
    connection.commit()

if __name__ == "__main__":
    bare(*sys.argv[1:])
    raise SystemExit

from pipeline.kit import Exporter, Page

rows, pages = Exporter("rows"), Exporter("pages")
IS_ORDERED, IS_DICT = "unordered" not in os.environ.get("KIT_ROWS", ""), "dicts" in os.environ.get("KIT_ROWS", "")

@rows.rows("items", row=dict if IS_DICT else Item, columns=COLUMNS if IS_DICT else None, key="id", ordered=IS_ORDERED)
async def items(client: None) -> AsyncIterator[object]:
    for row in dicts() if IS_DICT else dataclasses():
        yield row

ASKED = []

@pages.pages("items", row=Item, key="id", order="stable")
async def listed(client: None, after: str | None) -> Page[Item]:
    start = int(after or 0)
    end = min(start + {PAGE_ROWS}, {PAGED_ROWS})
    with open("asked.txt", "a") as asked:
        asked.write(f"{{start}}\\n")
    return Page([Item(*values(number)) for number in range(start, end)], next=str(end) if end < {PAGED_ROWS} else None)
"""


def run(directory: Path) -> None:
    """Measure, and print a table."""
    (directory / "app.py").write_text(_APP)
    print(f"{ROWS:,} rows of an Exporter into SQLite, whole processes, side by side")
    for kind in ("dicts", "dataclasses"):
        bare = measuring.run([sys.executable, "app.py", kind, f"{kind}.db"], directory)
        print(f"  {kind:12} a bare loop        {bare.seconds:6.1f} s")
        for order in ("ordered", "unordered"):
            settings = {"KIT_ROWS": f"{kind} {order}", "PIPELINE_HOME": f"home-{kind}-{order}"}
            place = "./app.py:rows", f"{kind}-{order}.db"
            moved = measuring.move(*place, directory=directory, settings=settings)
            ratio = bare.seconds / moved.seconds
            print(
                f"  {kind:12} {order:18} {moved.seconds:6.1f} s  {ratio:4.2f} of the bare loop, "
                f"{moved.peak_bytes / 1e6:,.0f} MB"
            )
    first = measuring.move("./app.py:pages", "pages.db", directory=directory)
    (directory / "asked.txt").unlink()
    again = measuring.move("./app.py:pages", "pages.db", directory=directory)
    asked = len((directory / "asked.txt").read_text().splitlines())
    files = again.summary["event_files"]
    print(
        f"{PAGED_ROWS:,} rows in pages of {PAGE_ROWS}: first {first.seconds:.1f} s; nothing changed {again.seconds:.1f} s,"
    )
    print(f"  {asked} pages asked for, {files['exported']} Event Files exported, {files['imported']} imported")
