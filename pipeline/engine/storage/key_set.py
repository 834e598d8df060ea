"""A set of byte strings that may be larger than memory: it spills into a temporary file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

from pipeline.temporary_database import TemporaryDatabase

CACHE_KIBIBYTES = 32 * 1024
"""The part kept in memory. SQLite creates its temporary file only for a larger set."""


class KeySet:
    """A set of keys. Its methods block; call them from one thread at a time. Use it as a context manager."""

    def __init__(self) -> None:
        self._db = TemporaryDatabase("CREATE TABLE keys (key BLOB PRIMARY KEY) WITHOUT ROWID", CACHE_KIBIBYTES)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def __contains__(self, key: object) -> bool:
        return bool(self._count) and bool(self._db.rows("SELECT 1 FROM keys WHERE key = ?", (key,)))

    def add_new(self, keys: Sequence[bytes]) -> list[bool]:
        """Add the keys; return for each whether it was new."""
        insert = "INSERT OR IGNORE INTO keys VALUES (?)"
        added = self._db.in_transaction(
            lambda connection: [connection.execute(insert, (key,)).rowcount == 1 for key in keys]
        )
        self._count += sum(added)
        return added

    def update(self, keys: Iterable[bytes]) -> None:
        """Add the keys."""
        self.add_new(list(keys))
