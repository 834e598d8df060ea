"""Peak memory of a Movement: a source of 5 GB with a 2 GB attachment, compared with one 100 times smaller."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

from benchmarks import measuring

GIGABYTE = 1_000_000_000
BODY_BYTES = 10_000


def run(directory: Path) -> None:
    """Measure, and print a table."""
    print("Peak resident memory of `pipeline move`, first Movement and repeated one")
    for name, database_bytes, attachment_bytes in (
        ("small", GIGABYTE // 20, GIGABYTE // 50),
        ("large", 5 * GIGABYTE, 2 * GIGABYTE),
    ):
        place = directory / name
        _build(place, database_bytes, attachment_bytes)
        arguments = ("app.db", "copy.db", "--files", "attachments", "copied")
        first = measuring.move(*arguments, directory=place)
        again = measuring.move(*arguments, directory=place)
        for what, run_ in (("first", first), ("repeated", again)):
            print(
                f"  {database_bytes / GIGABYTE:5.2f} GB of rows, {attachment_bytes / GIGABYTE:5.2f} GB attachment, {what:9}"
                f" {run_.peak_bytes >> 20:5} MiB {run_.seconds:8.1f} s"
            )


def _build(place: Path, database_bytes: int, attachment_bytes: int) -> None:
    (place / "attachments").mkdir(parents=True)
    dice = random.Random(1)
    with (place / "attachments" / "film.bin").open("wb") as film:
        for _ in range(attachment_bytes // 1_000_000):
            film.write(dice.randbytes(1_000_000))
    bodies = (dice.randbytes(BODY_BYTES // 2).hex() for _ in range(database_bytes // BODY_BYTES))
    with sqlite3.connect(place / "app.db") as db:
        db.execute("CREATE TABLE page(id INTEGER PRIMARY KEY, body TEXT)")
        db.executemany("INSERT INTO page(body) VALUES(?)", ((body,) for body in bodies))
    db.close()
