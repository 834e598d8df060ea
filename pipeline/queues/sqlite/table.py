"""The table of the SQLite event queue: one statement or transaction an operation. Blocking; it never waits for messages.

Several processes and several named queues share one file. A message is one row from `send` to `acknowledge`; a dead
letter is a row with a reason. Times are in seconds of the caller's clock.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import apsw

from pipeline.domain.errors import ConfigurationError
from pipeline.ports.event_queue import Message, QueueDepth, Receipt
from pipeline.sqlite_access import uri_of

_APPLICATION_ID = 0x61647071
"""Distinguishes queue files from other SQLite databases (https://sqlite.org/pragma.html#pragma_application_id)."""
_FORMAT_VERSION = 1
_BUSY_SECONDS = 10.0

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS message (
    id INTEGER PRIMARY KEY,
    queue TEXT NOT NULL,
    body BLOB NOT NULL,
    sent_at REAL NOT NULL,
    visible_at REAL NOT NULL,
    receive_count INTEGER NOT NULL DEFAULT 0,
    receipt TEXT UNIQUE,
    dead_reason TEXT
);
CREATE INDEX IF NOT EXISTS message_by_visibility ON message (queue, visible_at, id) WHERE dead_reason IS NULL;
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_FORMAT_VERSION};
"""
_ANY_VISIBLE = "SELECT 1 FROM message WHERE queue = ?1 AND visible_at <= ?2 AND dead_reason IS NULL LIMIT 1"
_BURY_WORN_OUT = """
UPDATE message SET dead_reason = 'delivered ' || receive_count || ' times and never acknowledged', receipt = NULL
WHERE queue = ?1 AND visible_at <= ?2 AND dead_reason IS NULL AND receive_count >= ?3
"""
_DELIVER = """
UPDATE message SET receive_count = receive_count + 1, visible_at = ?3, receipt = lower(hex(randomblob(16)))
WHERE id IN (
    SELECT id FROM message WHERE queue = ?1 AND visible_at <= ?2 AND dead_reason IS NULL
    ORDER BY visible_at, id LIMIT ?4
)
RETURNING body, receipt, receive_count
"""
_DEPTH = """
SELECT count(*) FILTER (WHERE dead_reason IS NULL AND visible_at <= ?2),
       count(*) FILTER (WHERE dead_reason IS NULL AND visible_at > ?2),
       count(*) FILTER (WHERE dead_reason IS NOT NULL),
       max(0.0, coalesce(?2 - min(sent_at) FILTER (WHERE dead_reason IS NULL AND visible_at <= ?2), 0.0))
FROM message WHERE queue = ?1
"""


_FLAGS = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI


class MessageTable:
    """One named queue in the file at `path`, which is created if it is missing."""

    def __init__(self, path: Path, queue: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._queue = queue
        self._connection = apsw.Connection(uri_of(path), flags=_FLAGS)
        try:
            _prepare(self._connection, path)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    def send(self, bodies: Sequence[bytes], now: float) -> None:
        """Insert one message for each body, in one transaction."""
        with _writing(self._connection):
            self._connection.executemany(
                "INSERT INTO message (queue, body, sent_at, visible_at) VALUES (?1, ?2, ?3, ?3)",
                [(self._queue, body, now) for body in bodies],
            )

    def receive(self, max_messages: int, now: float, visible_at: float, max_receives: int) -> list[Message]:
        """Deliver visible messages, the longest waiting first. An idle queue is only read, not locked."""
        if self._connection.execute(_ANY_VISIBLE, (self._queue, now)).fetchone() is None:
            return []
        with _writing(self._connection):
            self._connection.execute(_BURY_WORN_OUT, (self._queue, now, max_receives))
            found = self._connection.execute(_DELIVER, (self._queue, now, visible_at, max_messages)).fetchall()
        rows = cast(list[tuple[bytes, str, int]], found)
        return [Message(body, Receipt(receipt), count, count >= max_receives) for body, receipt, count in rows]

    def set_visible_at(self, receipt: Receipt, visible_at: float) -> bool:
        """Return whether the receipt is still valid."""
        return self._change("UPDATE message SET visible_at = ?3 WHERE queue = ?1 AND receipt = ?2", receipt, visible_at)

    def remove(self, receipts: Sequence[Receipt]) -> None:
        """Delete the messages whose receipts are still valid."""
        with _writing(self._connection):
            self._connection.executemany(
                "DELETE FROM message WHERE queue = ?1 AND receipt = ?2", [(self._queue, r) for r in receipts]
            )

    def bury(self, receipt: Receipt, reason: str) -> bool:
        """Make the message a dead letter, if the receipt is still valid."""
        return self._change(
            "UPDATE message SET dead_reason = ?3, receipt = NULL WHERE queue = ?1 AND receipt = ?2", receipt, reason
        )

    def depth(self, now: float) -> QueueDepth:
        """Count the messages."""
        counts = self._connection.execute(_DEPTH, (self._queue, now)).fetchone()
        return QueueDepth(*cast(tuple[int, int, int, float], counts))

    def _change(self, statement: str, receipt: Receipt, value: float | str) -> bool:
        with _writing(self._connection):
            self._connection.execute(statement, (self._queue, receipt, value))
            return self._connection.changes() > 0


@contextmanager
def _writing(connection: apsw.Connection) -> Iterator[None]:
    """Run the body in one transaction that takes the write lock first, so it cannot fail half-way without it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _prepare(connection: apsw.Connection, path: Path) -> None:
    connection.set_busy_timeout(round(_BUSY_SECONDS * 1000))
    is_made = _is_made(connection, path)
    _use_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    if not is_made:
        with _writing(connection):
            if not _is_made(connection, path):
                connection.execute(_SCHEMA)


def _use_wal(connection: apsw.Connection) -> None:
    """Switch to a write-ahead log. SQLite ignores the busy time-out here, so this waits itself."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except apsw.BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _is_made(connection: apsw.Connection, path: Path) -> bool:
    """Whether the table exists. ConfigurationError if the file is another database."""
    if connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is None:
        return False
    identity = connection.pragma("application_id")
    version = connection.pragma("user_version")
    if identity != _APPLICATION_ID:
        raise ConfigurationError(
            f"{path} is an SQLite database but not an event queue; choose another directory with --home"
        )
    if version != _FORMAT_VERSION:
        raise ConfigurationError(
            f"the event queue {path} has format version {version}, and this release supports {_FORMAT_VERSION}; "
            "use the release that created it, or another directory with --home"
        )
    return True
