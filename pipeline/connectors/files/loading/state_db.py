"""The state of imports into a tree, in one SQLite file in its metadata directory: `.pipeline-import/state.db`.

`marks` are the imported Event Files, `set_aside` the pending records, `removals` the directories to remove once they are
empty, `not_moved` what the copies of entries lack. `directories` has the permissions and times that directories get when
everything below them is in place; those of an existing directory are stored before the pipeline changes it, so that a
crash in between does not lose them.

It has a rollback journal, not a write-ahead log: that works on network file systems too, and commits are few.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from pipeline.connectors.files.attributes import REASONS, Items
from pipeline.connectors.files.loading.records import PendingRecord
from pipeline.connectors.files.names import shown
from pipeline.domain.errors import DamagedError, RefusedError
from pipeline.domain.ids import EventFileId, FlowName, StreamName, encode_name
from pipeline.domain.inventory import Fate, InventoryItem
from pipeline.domain.planning.import_guard import reason_to_give_way
from pipeline.ports.destination import Mark
from pipeline.sqlite_access import Meanings, translated, uri_of

_BUSY_MILLISECONDS = 10_000
_FLAGS = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI
_DAMAGED = (DamagedError, "it is damaged; restore it, or move it away and import the Flow again")
_MEANINGS: Meanings = {
    apsw.CantOpenError: (RefusedError, "make it readable and writable, then run the command again"),
    apsw.CorruptError: _DAMAGED,
    apsw.NotADBError: _DAMAGED,
}
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
CREATE TABLE IF NOT EXISTS fences (flow TEXT PRIMARY KEY, movement INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS directories (
  flow TEXT NOT NULL, stream TEXT NOT NULL, path BLOB NOT NULL, mode INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
  PRIMARY KEY (flow, stream, path)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS removals (
  flow TEXT NOT NULL, stream TEXT NOT NULL, path BLOB NOT NULL,
  PRIMARY KEY (flow, stream, path)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS not_moved (
  flow TEXT NOT NULL, stream TEXT NOT NULL, path BLOB NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
  PRIMARY KEY (flow, stream, path, kind, name)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class DirectoryStatus:
    """The permissions and time that a directory gets in the end."""

    path: bytes
    mode: int
    mtime_ns: int


def read_marks(path: Path, flow: FlowName, *, wait_seconds: float) -> Mapping[EventFileId, Mark]:
    """Return the marks of a Flow without writing to the file. A file that does not exist yet has none."""
    if not path.exists():
        return {}
    with translated(f"the marks in {str(path)!r}", _MEANINGS):
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        with closing(apsw.Connection(uri_of(path), flags=flags)) as connection:
            connection.set_busy_timeout(round(wait_seconds * 1000))
            if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'marks'").fetchall():
                return {}
            return _marks(connection, flow)


def _marks(connection: apsw.Connection, flow: FlowName) -> Mapping[EventFileId, Mark]:
    rows = connection.execute(
        "SELECT file, upserts, deletes, rejected, binaries, movement FROM marks WHERE flow = ?", (flow,)
    )
    return {EventFileId.parse(str(file)): Mark(*map(int, counts)) for file, *counts in rows}


class StateDb:
    """The state of one Flow. Methods block, and MAY be called from several threads."""

    def __init__(self, path: Path, flow: FlowName) -> None:
        self._place = f"the marks in {str(path)!r}"
        self._flow = flow
        self._lock = threading.Lock()
        with translated(self._place, _MEANINGS):
            self._connection = apsw.Connection(uri_of(path), flags=_FLAGS)
            self._connection.set_busy_timeout(_BUSY_MILLISECONDS)
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(_TABLES)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[apsw.Connection]:
        with self._lock, translated(self._place, _MEANINGS):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def loaded_streams(self, name: FlowName) -> set[StreamName]:
        """Return the streams that Flows of this name have loaded, whenever they were created."""
        query = "SELECT file FROM marks WHERE substr(flow, 1, length(?1) + 1) = ?1 || ' '"
        with self._lock, translated(self._place, _MEANINGS):
            return {EventFileId.parse(str(file)).stream for (file,) in self._connection.execute(query, (name,))}

    def marks(self) -> Mapping[EventFileId, Mark]:
        """Return all marks of the Flow."""
        with self._transaction() as connection:
            return _marks(connection, self._flow)

    def reason_to_give_way(self, file: EventFileId, after: Sequence[EventFileId], movement: int) -> str | None:
        """Return why `file` must not be loaded now in the course of `movement`; None when it may."""
        with self._transaction() as connection:
            return self._reason_to_give_way(connection, file, after, movement)

    def _reason_to_give_way(
        self, connection: apsw.Connection, file: EventFileId, after: Sequence[EventFileId], movement: int
    ) -> str | None:
        query = "SELECT 1 FROM marks WHERE flow = ? AND file = ?"
        marked = {it for it in (file, *after) if connection.execute(query, (self._flow, str(it))).fetchone()}
        query = "SELECT coalesce(max(movement), 0) FROM marks WHERE flow = ? AND instr(file, ?)"
        latest = int(str(connection.execute(query, (self._flow, f"/{encode_name(file.stream)}/")).get))
        query = "SELECT coalesce(max(movement), 0) FROM fences WHERE flow = ?"
        fenced = int(str(connection.execute(query, (self._flow,)).get))
        return reason_to_give_way(file, movement, after, marked=marked, latest_movement=latest, fenced=fenced)

    def fence(self, movement: int) -> None:
        """Store that this Movement of the Flow was stopped."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO fences VALUES (?1, ?2) ON CONFLICT DO UPDATE SET movement = max(movement, excluded.movement)",
                (self._flow, movement),
            )

    def mark(self, file: EventFileId, after: Sequence[EventFileId], mark: Mark) -> str | None:
        """Mark `file`, or return why not: the check and the mark are one transaction."""
        with self._transaction() as connection:
            reason = self._reason_to_give_way(connection, file, after, mark.movement)
            if reason is None:
                counts = (mark.upserts, mark.deletes, mark.rejected, mark.binaries, mark.movement)
                connection.execute("INSERT INTO marks VALUES (?, ?, ?, ?, ?, ?, ?)", (self._flow, str(file), *counts))
            return reason

    def add_pending(self, file: EventFileId, records: Iterable[PendingRecord]) -> None:
        """Store records that are not applied, each in place of an older one with its key."""
        self._write(
            "INSERT OR REPLACE INTO set_aside VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            file.stream,
            ((it.key, str(file), it.line, it.reason, it.column, it.raw, it.waits) for it in records),
        )

    def pending(self, stream: StreamName) -> Sequence[tuple[EventFileId, PendingRecord]]:
        """Return all pending records of the stream, by the text of their keys, with the files they came in."""
        with self._transaction() as connection:
            rows = connection.execute(
                'SELECT file, key, line, reason, "column", record, waits FROM set_aside WHERE flow = ? AND stream = ?',
                (self._flow, stream),
            )
            return [
                (EventFileId.parse(file), PendingRecord(key, line, reason, column, raw, bool(waits)))
                for file, key, line, reason, column, raw, waits in rows
            ]

    def pending_streams(self) -> Sequence[StreamName]:
        """Return the streams that have pending records."""
        with self._transaction() as connection:
            rows = connection.execute("SELECT DISTINCT stream FROM set_aside WHERE flow = ?", (self._flow,))
            return [StreamName(str(stream)) for (stream,) in rows]

    def drop_pending(self, stream: StreamName, keys: Iterable[str]) -> Sequence[str]:
        """Drop the pending records with these keys; return the keys of those that were stored."""
        query = "SELECT key FROM set_aside WHERE flow = ? AND stream = ?"
        with self._transaction() as connection:
            stored = {str(key) for (key,) in connection.execute(query, (self._flow, stream))}
            dropped = sorted(stored.intersection(keys)) if stored else []
            connection.executemany(
                "DELETE FROM set_aside WHERE flow = ? AND stream = ? AND key = ?",
                ((self._flow, stream, key) for key in dropped),
            )
            return dropped

    def add_directories(self, stream: StreamName, statuses: Iterable[DirectoryStatus], *, replace: bool) -> None:
        """Store the final status of directories; without `replace`, that of a directory that has one is kept."""
        self._write(
            f"INSERT OR {'REPLACE' if replace else 'IGNORE'} INTO directories VALUES (?, ?, ?, ?, ?)",
            stream,
            ((status.path, status.mode, status.mtime_ns) for status in statuses),
        )

    def directories(self, stream: StreamName) -> Sequence[DirectoryStatus]:
        """Return the final status of directories, the innermost first."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT path, mode, mtime_ns FROM directories WHERE flow = ? AND stream = ? ORDER BY path DESC",
                (self._flow, stream),
            )
            return [DirectoryStatus(path, mode, mtime_ns) for path, mode, mtime_ns in rows]

    def drop_directories(self, stream: StreamName, paths: Iterable[bytes]) -> None:
        """Drop the final status of directories that have it now, or are gone."""
        self._write("DELETE FROM directories WHERE flow = ? AND stream = ? AND path = ?", stream, ((p,) for p in paths))

    def add_removals(self, stream: StreamName, paths: Iterable[bytes]) -> None:
        """Store that these directories are to be removed once they are empty."""
        self._write("INSERT OR IGNORE INTO removals VALUES (?, ?, ?)", stream, ((path,) for path in paths))

    def removals(self, stream: StreamName) -> Sequence[bytes]:
        """Return the directories to remove once they are empty, the innermost first."""
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT path FROM removals WHERE flow = ? AND stream = ? ORDER BY path DESC", (self._flow, stream)
            )
            return [bytes(path) for (path,) in rows]

    def drop_removals(self, stream: StreamName, paths: Iterable[bytes]) -> None:
        """Drop the removal of these directories."""
        self._write("DELETE FROM removals WHERE flow = ? AND stream = ? AND path = ?", stream, ((p,) for p in paths))

    def add_not_moved(self, stream: StreamName, found: Iterable[tuple[bytes, str, str]]) -> None:
        """Store what copies lack: path, kind, and name within the kind."""
        self._write("INSERT OR IGNORE INTO not_moved VALUES (?, ?, ?, ?, ?)", stream, found)

    def drop_not_moved(self, stream: StreamName, paths: Iterable[bytes]) -> None:
        """Drop what the copies at these paths lack."""
        self._write("DELETE FROM not_moved WHERE flow = ? AND stream = ? AND path = ?", stream, ((p,) for p in paths))

    def not_moved(self) -> Sequence[InventoryItem]:
        """Return what the copies of all entries of the Flow lack."""
        found: dict[str, Items] = {}
        with self._transaction() as connection:
            for path, kind, name in connection.execute(
                "SELECT path, kind, name FROM not_moved WHERE flow = ? ORDER BY path", (self._flow,)
            ):
                items = found.setdefault(str(kind), Items(str(kind), Fate.NOT_MOVED, REASONS[str(kind)]))
                items.add(f"{shown(bytes(path))}{f' ({name})' if name else ''}")
        return [item for kind in sorted(found) for item in found[kind].all()]

    def _write(self, statement: str, stream: StreamName, rows: Iterable[tuple[apsw.SQLiteValue, ...]]) -> None:
        """Run a statement for each row, whose values follow the Flow and the stream."""
        with self._transaction() as connection:
            connection.executemany(statement, ((self._flow, stream, *row) for row in rows))
