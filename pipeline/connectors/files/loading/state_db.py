"""What a destination tree remembers, in one SQLite file in its metadata directory: `.pipeline-import/state.db`.

- marks: which Event Files have been imported;
- set_aside: records that could not go in, with their lines;
- directories: permissions and times that directories get when all that is below them is in place. What a directory
  has is written here before the pipeline touches it, so that a crash in between loses neither;
- removals: directories whose removal has to wait until they are empty.

A rollback journal, not a write-ahead log: it works on network file systems too, and commits are few.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import apsw

from pipeline.connectors.files.errors import translated_state
from pipeline.connectors.files.loading.records import RejectedRecord
from pipeline.domain.ids import EventFileId, FlowName, StreamName, encode_name
from pipeline.domain.planning.import_guard import reason_to_give_way
from pipeline.ports.destination import Mark

_BUSY_MILLISECONDS = 10_000
_TABLES = """
CREATE TABLE IF NOT EXISTS marks (
  flow TEXT NOT NULL, file TEXT NOT NULL,
  upserts INTEGER NOT NULL, deletes INTEGER NOT NULL, rejected INTEGER NOT NULL, binaries INTEGER NOT NULL,
  movement INTEGER NOT NULL,
  PRIMARY KEY (flow, file)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS set_aside (
  flow TEXT NOT NULL, stream TEXT NOT NULL, key TEXT NOT NULL,
  file TEXT NOT NULL, line INTEGER NOT NULL, reason TEXT NOT NULL, "column" TEXT, record BLOB NOT NULL,
  waits INTEGER NOT NULL,
  PRIMARY KEY (flow, stream, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS directories (
  flow TEXT NOT NULL, stream TEXT NOT NULL, path BLOB NOT NULL, mode INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
  PRIMARY KEY (flow, stream, path)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS removals (
  flow TEXT NOT NULL, stream TEXT NOT NULL, path BLOB NOT NULL,
  PRIMARY KEY (flow, stream, path)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class DirectoryStatus:
    """What a directory is to have in the end."""

    path: bytes
    mode: int
    mtime_ns: int


_FLAGS = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI


def _address(path: Path) -> str:
    """Return the path as SQLite takes it whatever its bytes are: a URI."""
    return f"file:{quote(os.fsencode(path.absolute()))}"


class ImportState:
    """The memory of one Flow. Its methods block, and MAY be called from several threads."""

    def __init__(self, path: Path, flow: FlowName) -> None:
        self._what = f"the marks in {str(path)!r}"
        self._flow = flow
        self._lock = threading.Lock()
        with translated_state(self._what):
            self._connection = apsw.Connection(_address(path), flags=_FLAGS)
            self._connection.set_busy_timeout(_BUSY_MILLISECONDS)
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(_TABLES)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[apsw.Connection]:
        with self._lock, translated_state(self._what):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def marks(self) -> Mapping[EventFileId, Mark]:
        """All marks of the Flow."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT file, upserts, deletes, rejected, binaries, movement FROM marks WHERE flow = ?", (self._flow,)
            )
            return {EventFileId.parse(str(file)): Mark(*map(int, counts)) for file, *counts in rows}

    def reason_to_give_way(self, file: EventFileId, after: Sequence[EventFileId], movement: int) -> str | None:
        """Return why `file` may not be loaded now in the course of `movement`, or None when it may."""
        with self._transaction() as connection:
            return self._reason_to_give_way(connection, file, after, movement)

    def _reason_to_give_way(
        self, connection: apsw.Connection, file: EventFileId, after: Sequence[EventFileId], movement: int
    ) -> str | None:
        marked = {other for other in (file, *after) if self._is_marked(connection, other)}
        query = "SELECT coalesce(max(movement), 0) FROM marks WHERE flow = ? AND instr(file, ?)"
        latest = connection.execute(query, (self._flow, f"/{encode_name(file.stream)}/")).get
        return reason_to_give_way(file, movement, after, marked=marked, latest_movement=int(str(latest)))

    def _is_marked(self, connection: apsw.Connection, file: EventFileId) -> bool:
        query = "SELECT 1 FROM marks WHERE flow = ? AND file = ?"
        return connection.execute(query, (self._flow, str(file))).fetchone() is not None

    def mark(self, file: EventFileId, after: Sequence[EventFileId], mark: Mark) -> str | None:
        """Mark `file`, or return why not: the check and the mark are one transaction."""
        with self._transaction() as connection:
            reason = self._reason_to_give_way(connection, file, after, mark.movement)
            if reason is None:
                connection.execute(
                    "INSERT INTO marks VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        self._flow,
                        str(file),
                        mark.upserts,
                        mark.deletes,
                        mark.rejected,
                        mark.binaries,
                        mark.movement,
                    ),
                )
            return reason

    def remember(self, file: EventFileId, records: Iterable[RejectedRecord]) -> None:
        """Keep records that did not go in; a record kept before with the same key is replaced."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO set_aside VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (self._flow, file.stream, r.key, str(file), r.line, r.reason, r.column, r.raw, r.waits)
                    for r in records
                ),
            )

    def rejected(self, stream: StreamName) -> Sequence[tuple[EventFileId, RejectedRecord]]:
        """All records of the stream that are kept, in the order of their keys' texts, with the files they came in."""
        with self._transaction() as connection:
            rows = connection.execute(
                'SELECT file, key, line, reason, "column", record, waits FROM set_aside WHERE flow = ? AND stream = ?',
                (self._flow, stream),
            )
            return [
                (EventFileId.parse(file), RejectedRecord(key, line, reason, column, raw, bool(waits)))
                for file, key, line, reason, column, raw, waits in rows
            ]

    def streams_with_rejected(self) -> Sequence[StreamName]:
        """The streams that have records set aside."""
        with self._transaction() as connection:
            rows = connection.execute("SELECT DISTINCT stream FROM set_aside WHERE flow = ?", (self._flow,))
            return [StreamName(str(stream)) for (stream,) in rows]

    def forget(self, stream: StreamName, keys: Iterable[str]) -> Sequence[str]:
        """Drop the records that were set aside under these keys; return the keys that had one."""
        with self._transaction() as connection:
            kept = {
                str(key)
                for (key,) in connection.execute(
                    "SELECT key FROM set_aside WHERE flow = ? AND stream = ?", (self._flow, stream)
                )
            }
            dropped = sorted(kept.intersection(keys)) if kept else []
            connection.executemany(
                "DELETE FROM set_aside WHERE flow = ? AND stream = ? AND key = ?",
                ((self._flow, stream, key) for key in dropped),
            )
            return dropped

    def note_directories(self, stream: StreamName, statuses: Iterable[DirectoryStatus], *, replace: bool) -> None:
        """Keep what directories are to have in the end; with `replace`, instead of what was kept before."""
        verb = "REPLACE" if replace else "IGNORE"
        with self._transaction() as connection:
            connection.executemany(
                f"INSERT OR {verb} INTO directories VALUES (?, ?, ?, ?, ?)",
                ((self._flow, stream, status.path, status.mode, status.mtime_ns) for status in statuses),
            )

    def directories(self, stream: StreamName) -> Sequence[DirectoryStatus]:
        """What is kept of directories, the innermost first."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT path, mode, mtime_ns FROM directories WHERE flow = ? AND stream = ? ORDER BY path DESC",
                (self._flow, stream),
            )
            return [DirectoryStatus(path, mode, mtime_ns) for path, mode, mtime_ns in rows]

    def drop_directories(self, stream: StreamName, paths: Iterable[bytes]) -> None:
        """Drop what is kept of these directories: it has been set, or they are gone."""
        self._drop("directories", stream, paths)

    def note_removals(self, stream: StreamName, paths: Iterable[bytes]) -> None:
        """Keep that these directories are to be removed once they are empty."""
        with self._transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO removals VALUES (?, ?, ?)", ((self._flow, stream, path) for path in paths)
            )

    def removals(self, stream: StreamName) -> Sequence[bytes]:
        """The directories to be removed once they are empty, the innermost first."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT path FROM removals WHERE flow = ? AND stream = ? ORDER BY path DESC", (self._flow, stream)
            )
            return [bytes(path) for (path,) in rows]

    def drop_removals(self, stream: StreamName, paths: Iterable[bytes]) -> None:
        """Drop that these are to be removed."""
        self._drop("removals", stream, paths)

    def _drop(self, table: str, stream: StreamName, paths: Iterable[bytes]) -> None:
        with self._transaction() as connection:
            connection.executemany(
                f"DELETE FROM {table} WHERE flow = ? AND stream = ? AND path = ?",
                ((self._flow, stream, path) for path in paths),
            )
