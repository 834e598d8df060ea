"""A set of byte strings that may be larger than memory: it spills into a temporary file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Self

CACHE_KIBIBYTES = 32 * 1024
"""The part kept in memory. SQLite creates its temporary file only for a larger set."""


class KeySet:
    """A set of keys. Its methods block; call them from one thread at a time. Use it as a context manager."""

    def __init__(self) -> None:
        # "" is a private database in a temporary file that SQLite removes (https://www.sqlite.org/inmemorydb.html).
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute(f"PRAGMA cache_size = -{CACHE_KIBIBYTES}")
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("CREATE TABLE keys (key BLOB PRIMARY KEY) WITHOUT ROWID")
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def __contains__(self, key: object) -> bool:
        return bool(self._count) and self._db.execute("SELECT 1 FROM keys WHERE key = ?", (key,)).fetchone() is not None

    def add_new(self, keys: Sequence[bytes]) -> list[bool]:
        """Add the keys; return for each whether it was new."""
        insert = "INSERT OR IGNORE INTO keys VALUES (?)"
        self._db.execute("BEGIN")
        added = [self._db.execute(insert, (key,)).rowcount == 1 for key in keys]
        self._db.execute("COMMIT")
        self._count += sum(added)
        return added

    def update(self, keys: Iterable[bytes]) -> None:
        """Add the keys."""
        self.add_new(list(keys))
