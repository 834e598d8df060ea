"""The data to move: distinct rows of 12 columns and about 380 bytes of JSON."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

COLUMNS = (
    "id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT, city TEXT, note TEXT, amount REAL, quantity INTEGER, "
    "created TEXT, updated TEXT, active INTEGER, reference TEXT, body TEXT"
)
TYPES = {
    "id": "integer", "name": "text", "email": "text", "city": "text", "note": "text", "amount": "real",
    "quantity": "integer", "created": "text", "updated": "text", "active": "integer", "reference": "text", "body": "text",
}  # fmt: skip
"""The same columns with the type names of Event Files."""
_WORDS = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "müller")


def rows(count: int) -> Iterator[tuple[object, ...]]:
    """Yield `count` rows, the same in every run."""
    dice = random.Random(1)
    for number in range(count):
        moment = f"{dice.randrange(10**6):06}Z"
        yield (
            number, f"name {number} {dice.choice(_WORDS)}", f"user{number}@example.org", dice.choice(_WORDS),
            None if number % 7 == 0 else f"note {dice.choice(_WORDS)}", dice.random() * 1000, dice.randrange(10**9),
            f"2026-01-02T03:04:05.{moment}", f"2026-02-02T03:04:05.{moment}", number & 1,
            f"{dice.getrandbits(64):016x}", " ".join(dice.choices(_WORDS, k=18)),
        )  # fmt: skip


def build(path: Path, count: int) -> None:
    """Create a database with one table of `count` rows."""
    with sqlite3.connect(path) as db:
        db.execute(f"CREATE TABLE item({COLUMNS})")
        db.executemany(f"INSERT INTO item VALUES({','.join('?' * 12)})", rows(count))
    db.close()
