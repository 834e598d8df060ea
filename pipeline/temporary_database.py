"""A private database in the temporary directory, for what may be larger than memory. It is gone when it is closed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from pipeline.domain.errors import RefusedError

T = TypeVar("T")

_OF_THE_FILE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
"""Primary result codes: the file cannot be made or written. SQLITE_FULL is a full disk (https://www.sqlite.org/rescode.html)."""


class TemporaryDatabase:
    """SQLite on a file without a name. Methods block. RefusedError when the temporary directory has no room.

    `tables` are the statements that create its tables; `cache_kibibytes` are kept in memory, the rest is in the file.
    """

    def __init__(self, tables: str, cache_kibibytes: int) -> None:
        # "" is a file that SQLite creates when it needs one, and unlinks (https://www.sqlite.org/inmemorydb.html).
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._connection.execute(f"PRAGMA cache_size = -{cache_kibibytes}")
        self._connection.execute("PRAGMA journal_mode = OFF")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute(tables)
        self._reason = ""

    def close(self) -> None:
        """Remove it."""
        self._connection.close()

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        """Return all rows of a query."""
        return self._with_room(lambda: self._connection.execute(sql, values).fetchall())

    def run(self, sql: str, values: Sequence[object] = ()) -> None:
        """Run a statement."""
        self._with_room(lambda: self._connection.execute(sql, values))

    def run_all(self, sql: str, values: Iterable[Sequence[object]]) -> None:
        """Run a statement once for each of `values`, in one transaction."""
        self.in_transaction(lambda connection: connection.executemany(sql, values))

    def in_transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what `work` returns, which runs statements in one transaction."""

        def run() -> T:
            self._connection.execute("BEGIN")
            try:
                result = work(self._connection)
            finally:
                if self._connection.in_transaction:  # without a journal, nothing can be rolled back
                    self._connection.execute("COMMIT")
            return result

        return self._with_room(run)

    def _with_room(self, work: Callable[[], T]) -> T:
        """Return what `work` returns. Without a journal, nothing that was written is good once there was no room."""
        if not self._reason:
            try:
                return work()
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _OF_THE_FILE:
                    raise
                self._reason = str(error)
        raise no_room(self._reason)


def no_room(reason: str) -> RefusedError:
    """Return the error for a temporary file that cannot be written."""
    return RefusedError(
        f"Rows cannot be kept on disk while they are read: {reason}. Make room in the temporary directory, or name another "
        "one with TMPDIR, and run the command again."
    )
