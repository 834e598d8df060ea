"""The import ledger: marks, rejected records and schemas, in tables at the destination.

All are written in the transaction of the rows they concern.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import apsw
import orjson

from pipeline.codec.event_files.header import decode_schema, encode_schema
from pipeline.connectors.sql.rejected_record import COLUMNS, NO_KEY, RejectedRecord
from pipeline.domain.ids import EventFileId, FlowName, StreamName
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import KeptRecord, Mark, Rejection

_TABLES = """
CREATE TABLE IF NOT EXISTS _pipeline_marks (
    flow TEXT NOT NULL, event_file TEXT NOT NULL, stream TEXT NOT NULL, upserts INTEGER NOT NULL,
    deletes INTEGER NOT NULL, rejected INTEGER NOT NULL, binaries INTEGER NOT NULL,
    movement INTEGER NOT NULL, PRIMARY KEY (flow, event_file)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS _pipeline_marks_movement ON _pipeline_marks (flow, stream, movement);
CREATE TABLE IF NOT EXISTS _pipeline_rejected (
    id INTEGER PRIMARY KEY, flow TEXT NOT NULL, stream TEXT NOT NULL, key TEXT NOT NULL, event_file TEXT NOT NULL,
    line INTEGER NOT NULL, record BLOB NOT NULL, reason TEXT NOT NULL, column_name TEXT, in_the_way INTEGER NOT NULL,
    depends TEXT
);
CREATE INDEX IF NOT EXISTS _pipeline_rejected_key ON _pipeline_rejected (flow, stream, key);
CREATE TABLE IF NOT EXISTS _pipeline_fences (flow TEXT PRIMARY KEY, movement INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _pipeline_streams (
    flow TEXT NOT NULL, stream TEXT NOT NULL, schema TEXT NOT NULL, PRIMARY KEY (flow, stream)
) WITHOUT ROWID;
"""
_COLUMNS = ", ".join(COLUMNS)


class ImportLedger:
    """The import ledger of one Flow."""

    def __init__(self, connection: apsw.Connection, flow: FlowName) -> None:
        self._connection = connection
        self._flow = flow

    def exists(self) -> bool:
        """Whether the tables exist. The first load creates them; only `create` and `marks` may be called before."""
        return bool(self._connection.execute("SELECT 1 FROM sqlite_schema WHERE name = '_pipeline_streams'").fetchall())

    def create(self) -> None:
        """Create the tables unless they exist, and the columns that earlier releases did not have."""
        self._connection.execute(_TABLES).fetchall()
        columns = self._connection.execute("SELECT name FROM pragma_table_info('_pipeline_rejected', 'main')")
        if ("depends",) not in columns.fetchall():
            self._connection.execute("ALTER TABLE _pipeline_rejected ADD COLUMN depends TEXT")

    def marks(self) -> Mapping[EventFileId, Mark]:
        """Return all marks of the Flow."""
        if not self.exists():
            return {}
        rows = self._connection.execute(
            "SELECT event_file, upserts, deletes, rejected, binaries, movement FROM _pipeline_marks WHERE flow = ?",
            (self._flow,),
        )
        return {EventFileId.parse(event_file): Mark(*counts) for event_file, *counts in rows}

    def loaded_streams(self, name: FlowName) -> set[StreamName]:
        """Return the streams that Flows of this name have loaded, whenever they were created."""
        if not self.exists():
            return set()
        query = "SELECT DISTINCT stream FROM _pipeline_streams WHERE substr(flow, 1, length(?1) + 1) = ?1 || ' '"
        return {StreamName(str(stream)) for (stream,) in self._connection.execute(query, (name,))}

    def marked_among(self, files: Iterable[EventFileId]) -> set[EventFileId]:
        """Return those of the files that are imported."""
        query = "SELECT 1 FROM _pipeline_marks WHERE flow = ? AND event_file = ?"
        return {file for file in files if self._connection.execute(query, (self._flow, str(file))).fetchall()}

    def latest_movement(self, stream: StreamName) -> int:
        """Return the latest Movement that has imported a file of the stream; 0 for none."""
        query = "SELECT coalesce(max(movement), 0) FROM _pipeline_marks WHERE flow = ? AND stream = ?"
        return int(str(self._connection.execute(query, (self._flow, stream)).get))

    def fenced(self) -> int:
        """Return the latest Movement of the Flow that was stopped; 0 for none. Earlier releases had no such table."""
        found = "SELECT 1 FROM sqlite_schema WHERE name = '_pipeline_fences'"
        if not self._connection.execute(found).fetchall():
            return 0
        query = "SELECT coalesce(max(movement), 0) FROM _pipeline_fences WHERE flow = ?"
        return int(str(self._connection.execute(query, (self._flow,)).get))

    def fence(self, movement: int) -> None:
        """Store that this Movement of the Flow was stopped."""
        self._connection.execute(
            "INSERT INTO _pipeline_fences VALUES (?1, ?2) "
            "ON CONFLICT DO UPDATE SET movement = max(movement, excluded.movement)",
            (self._flow, movement),
        )

    def is_superseded(self, stream: StreamName) -> bool:
        """Whether a stream whose name differs in case has taken the place of this one."""
        query = (
            "SELECT 1 FROM _pipeline_streams WHERE flow = ?1 AND stream <> ?2 AND stream = ?2 COLLATE NOCASE "
            "AND NOT EXISTS (SELECT 1 FROM _pipeline_streams WHERE flow = ?1 AND stream = ?2)"
        )
        return bool(self._connection.execute(query, (self._flow, stream)).fetchall())

    def drop_other_case(self, stream: StreamName) -> None:
        """Forget the schema of a stream whose name differs in case: an SQLite database has only one of them."""
        self._connection.execute(
            "DELETE FROM _pipeline_streams WHERE flow = ?1 AND stream <> ?2 AND stream = ?2 COLLATE NOCASE",
            (self._flow, stream),
        )

    def mark(self, file: EventFileId, mark: Mark) -> None:
        """Mark an Event File as imported."""
        counts = (mark.upserts, mark.deletes, mark.rejected, mark.binaries, mark.movement)
        self._connection.execute(
            "INSERT INTO _pipeline_marks VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (self._flow, str(file), file.stream, *counts)
        )

    def correct_marks(self, accepted: Mapping[EventFileId, int]) -> None:
        """Count records that were accepted after all as upserts of their files."""
        self._connection.executemany(
            "UPDATE _pipeline_marks SET upserts = upserts + ?1, rejected = rejected - ?1 "
            "WHERE flow = ?2 AND event_file = ?3",
            ((count, self._flow, str(file)) for file, count in accepted.items()),
        )

    def set_schema(self, schema: StreamSchema) -> None:
        """Store the schema of a stream, for `schemas`."""
        self._connection.execute(
            "INSERT INTO _pipeline_streams VALUES (?1, ?2, ?3) "
            "ON CONFLICT DO UPDATE SET schema = ?3 WHERE schema <> ?3",
            (self._flow, schema.stream, encode_schema(schema).decode()),
        )

    def schemas(self) -> list[StreamSchema]:
        """Return the schema of each stream of the Flow, by name."""
        rows = self._connection.execute(
            "SELECT stream, schema FROM _pipeline_streams WHERE flow = ? ORDER BY stream", (self._flow,)
        )
        return [decode_schema(text, f"the schema of {stream} in _pipeline_streams") for stream, text in rows]

    def has_rejected(self, stream: StreamName) -> bool:
        """Whether the stream has rejected records."""
        query = "SELECT 1 FROM _pipeline_rejected WHERE flow = ? AND stream = ? LIMIT 1"
        return bool(self._connection.execute(query, (self._flow, stream)).fetchall())

    def add_rejected(self, record: RejectedRecord) -> None:
        """Store a rejected record, in place of an older one with its key."""
        if record.rejection.key != NO_KEY:
            self.drop_keys(record.stream, [record.rejection.key])
        self._connection.execute(
            f"INSERT INTO _pipeline_rejected (flow, stream, {_COLUMNS}) VALUES (?, ?, {', '.join('?' * len(COLUMNS))})",
            (self._flow, record.stream, *record.to_row()),
        )

    def correct(self, corrected: Sequence[KeptRecord]) -> int:
        """Give rejected records another content; return how many of them are still stored."""
        before = self._connection.total_changes()
        self._connection.executemany(
            "UPDATE _pipeline_rejected SET record = ?, depends = NULL WHERE flow = ? AND event_file = ? AND line = ? AND key = ?",
            (
                (one.record, self._flow, str(one.rejection.file), one.rejection.line, one.rejection.key)
                for one in corrected
            ),
        )
        return self._connection.total_changes() - before

    def drop_keys(self, stream: StreamName, keys: Iterable[str]) -> None:
        """Drop the rejected records with these keys."""
        self._connection.executemany(
            "DELETE FROM _pipeline_rejected WHERE flow = ? AND stream = ? AND key = ?",
            ((self._flow, stream, key) for key in keys),
        )

    def drop(self, records: Iterable[RejectedRecord]) -> None:
        """Drop these rejected records."""
        self._connection.executemany(
            "DELETE FROM _pipeline_rejected WHERE id = ?", ((record.id,) for record in records)
        )

    def rejections(self, file: EventFileId | None = None) -> list[Rejection]:
        """Return the rejections of the Flow, or of one file, in the order of their ids."""
        rows = self._connection.execute(
            "SELECT event_file, line, key, reason, column_name FROM _pipeline_rejected "
            "WHERE flow = ?1 AND (?2 IS NULL OR event_file = ?2) ORDER BY id",
            (self._flow, None if file is None else str(file)),
        )
        return [Rejection(EventFileId.parse(event_file), *others) for event_file, *others in rows]

    def rejected_ids(
        self, stream: StreamName, blocked_of: EventFileId | None = None, unless: Sequence[str] = ()
    ) -> list[int]:
        """Return the ids of a stream's rejected records, ascending; with `blocked_of`, of the blocked ones of that file.

        Without those that depend on one of `unless`.
        """
        rows = self._connection.execute(
            "SELECT id FROM _pipeline_rejected WHERE flow = ?1 AND stream = ?2 "
            "AND (?3 IS NULL OR event_file = ?3 AND in_the_way) "
            "AND (depends IS NULL OR depends NOT IN (SELECT value FROM json_each(?4))) ORDER BY id",
            (self._flow, stream, None if blocked_of is None else str(blocked_of), orjson.dumps(unless).decode()),
        )
        return [id_ for (id_,) in rows]

    def rejected_records(self, ids: Sequence[int]) -> list[RejectedRecord]:
        """Return those of these records that are still stored."""
        rows = self._connection.execute(
            f"SELECT id, {_COLUMNS} FROM _pipeline_rejected WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id",
            (orjson.dumps(ids).decode(),),
        )
        return [RejectedRecord.from_row(*row) for row in rows]
