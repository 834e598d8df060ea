"""The destination's memory, in the schema `_pipeline`: marks, records set aside, and what the streams look like.

Marks and records set aside are written in the transaction of the rows they are about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from pipeline.codec.event_files.header import decode_schema, encode_schema
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.rejected_record import NO_KEY, RejectedRecord
from pipeline.domain.ids import EventFileId, FlowName, StreamName, encode_name
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import Mark, Rejection

_TABLES = """
CREATE SCHEMA IF NOT EXISTS _pipeline;
CREATE TABLE IF NOT EXISTS _pipeline.marks (
    flow text NOT NULL, event_file text NOT NULL, upserts bigint NOT NULL DEFAULT 0, deletes bigint NOT NULL DEFAULT 0,
    rejected bigint NOT NULL DEFAULT 0, binaries bigint NOT NULL DEFAULT 0, movement bigint NOT NULL,
    imported timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (flow, event_file)
);
CREATE TABLE IF NOT EXISTS _pipeline.rejected (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, flow text NOT NULL, stream text NOT NULL, key text NOT NULL,
    event_file text NOT NULL, line bigint NOT NULL, record bytea NOT NULL, reason text NOT NULL, column_name text,
    in_the_way boolean NOT NULL
);
CREATE INDEX IF NOT EXISTS rejected_key ON _pipeline.rejected (flow, stream, md5(key));
CREATE TABLE IF NOT EXISTS _pipeline.streams (
    flow text NOT NULL, stream text NOT NULL, schema text NOT NULL, is_ours boolean NOT NULL, PRIMARY KEY (flow, stream)
);
ALTER TABLE _pipeline.streams ADD COLUMN IF NOT EXISTS as_of timestamptz NOT NULL DEFAULT '-infinity';
CREATE TABLE IF NOT EXISTS _pipeline.latest (
    flow text NOT NULL, stream text NOT NULL, movement bigint NOT NULL, PRIMARY KEY (flow, stream)
);
"""
_IS_WHOLE = """
SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('_pipeline.streams') AND attname = 'as_of')
   AND to_regclass('_pipeline.latest') IS NOT NULL
"""
_LOCK = 7_166_357_421
"""The number of the advisory lock under which tables and types are made: streams and processes share some of them."""
MANY_SET_ASIDE = 10_000
"""How many records are held in memory to be set aside, or tried again, together."""


def create_ledger(connection: Connection) -> None:
    """Make the schema and its tables unless they are there. Needs the privilege CREATE on the database to make them."""
    if connection.execute(_IS_WHOLE).fetchone() == (True,):
        return
    with connection.transaction():
        lock_definitions(connection)
        connection.execute(_TABLES)


def read_marks(connection: Connection, flow: FlowName) -> Mapping[EventFileId, Mark]:
    """Return the marks of a Flow, of which there are none before the first import."""
    if connection.execute("SELECT to_regclass('_pipeline.marks') IS NULL").fetchone() == (True,):
        return {}
    return ImportLedger(connection, flow).marks()


def lock_definitions(connection: Connection) -> None:
    """Wait until nobody else is making tables here, and let nobody until the end of the transaction."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))


class ImportLedger:
    """What is remembered of one Flow, seen through one connection."""

    def __init__(self, connection: Connection, flow: FlowName) -> None:
        self._connection = connection
        self._flow = flow

    def marks(self) -> Mapping[EventFileId, Mark]:
        """Return all marks of the Flow."""
        rows = self._connection.execute(
            "SELECT event_file, upserts, deletes, rejected, binaries, movement FROM _pipeline.marks WHERE flow = %s",
            (self._flow,),
        )
        return {EventFileId.parse(event_file): Mark(*counts) for event_file, *counts in rows}

    def unmarked_of(self, files: Sequence[EventFileId]) -> set[EventFileId]:
        """Return those of the files that are not imported."""
        rows = self._connection.execute(
            "SELECT event_file FROM _pipeline.marks WHERE flow = %s AND event_file = ANY(%s)",
            (self._flow, [str(file) for file in files]),
        )
        return set(files) - {EventFileId.parse(event_file) for (event_file,) in rows}

    def go_on_to(self, stream: StreamName, movement: int) -> None:
        """Remember that a Movement has come to a stream. Waits for loads of earlier ones to end; not in a transaction."""
        self._connection.execute(
            "INSERT INTO _pipeline.latest AS known VALUES (%s, %s, %s) "
            "ON CONFLICT (flow, stream) DO UPDATE SET movement = excluded.movement "
            "WHERE known.movement < excluded.movement",
            (self._flow, stream, movement),
        )

    def has_gone_on(self, stream: StreamName, movement: int) -> bool:
        """Whether a later Movement has come to the stream. If not, none does until the end of the transaction."""
        latest = self._connection.execute(
            "SELECT movement FROM _pipeline.latest WHERE flow = %s AND stream = %s FOR SHARE", (self._flow, stream)
        ).fetchone()
        return latest is not None and int(latest[0]) > movement

    def claim(self, file: EventFileId, movement: int) -> bool:
        """Mark the file for this transaction; False if it is marked already.

        Waits for another transaction that has claimed it: the unique key lets one of them commit.
        """
        done = self._connection.execute(
            "INSERT INTO _pipeline.marks (flow, event_file, movement) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            (self._flow, str(file), movement),
        )
        return done.rowcount == 1

    def complete(self, file: EventFileId, mark: Mark) -> None:
        """Write into a claimed mark what became of the file's records."""
        self._connection.execute(
            "UPDATE _pipeline.marks SET upserts = %s, deletes = %s, rejected = %s, binaries = %s, movement = %s "
            "WHERE flow = %s AND event_file = %s",
            (mark.upserts, mark.deletes, mark.rejected, mark.binaries, mark.movement, self._flow, str(file)),
        )

    def schema_to_follow_from(self, stream: StreamName, as_of: datetime) -> StreamSchema | None:
        """Return what a stream looked like before, of a table that held nothing before us; None unless that was before `as_of`."""
        row = self._connection.execute(
            "SELECT schema FROM _pipeline.streams WHERE flow = %s AND stream = %s AND is_ours AND as_of < %s",
            (self._flow, stream, as_of),
        ).fetchone()
        return None if row is None else decode_schema(row[0], f"the schema of {stream} in _pipeline.streams")

    def remember_schema(self, schema: StreamSchema, *, as_of: datetime, is_ours: bool) -> None:
        """Keep what a stream looks like, for `schemas`; and, the first time, whether its table held nothing before us.

        `as_of` is when it was exported: of files that are loaded side by side, the later one is right.
        """
        text = encode_schema(schema).decode()
        self._connection.execute(
            "INSERT INTO _pipeline.streams AS known (flow, stream, schema, is_ours, as_of) VALUES (%s, %s, %s, %s, %s) "
            "ON CONFLICT (flow, stream) DO UPDATE SET schema = excluded.schema, as_of = excluded.as_of "
            "WHERE known.schema <> excluded.schema AND known.as_of <= excluded.as_of",
            (self._flow, schema.stream, text, is_ours, as_of),
        )

    def is_ours(self, stream: StreamName) -> bool:
        """Whether the stream's table held nothing before the Flow's first load."""
        return self._exists(
            "SELECT FROM _pipeline.streams WHERE flow = %s AND stream = %s AND is_ours", self._flow, stream
        )

    def is_first_snapshot(self, file: EventFileId) -> bool:
        """Whether the stream's table holds nothing but records of this Movement: no key of a `full` file can be there."""
        return self.is_ours(file.stream) and not self._exists(
            "SELECT FROM _pipeline.marks WHERE flow = %s AND split_part(event_file, '/', 2) = %s "
            "AND split_part(event_file, '/', 1) <> %s",
            *(self._flow, encode_name(file.stream), str(file.movement)),
        )

    def _exists(self, query: str, *parameters: str) -> bool:
        return self._connection.execute(f"SELECT EXISTS ({query})", parameters).fetchone() == (True,)

    def schemas(self) -> list[StreamSchema]:
        """Return what `remember_schema` kept of all streams of the Flow, by name."""
        rows = self._connection.execute(
            'SELECT stream, schema FROM _pipeline.streams WHERE flow = %s ORDER BY stream COLLATE "C"', (self._flow,)
        )
        return [decode_schema(text, f"the schema of {stream} in _pipeline.streams") for stream, text in rows]

    def has_rejected(self, stream: StreamName) -> bool:
        """Whether any record of the stream is set aside."""
        return self._exists("SELECT FROM _pipeline.rejected WHERE flow = %s AND stream = %s", self._flow, stream)

    def add_rejected(self, items: Sequence[RejectedRecord]) -> None:
        """Remember records of one stream that were refused, in place of older ones with their keys."""
        last = {item.rejection.key: item for item in items}
        kept = [item for item in items if item.rejection.key == NO_KEY or last[item.rejection.key] is item]
        self.forget(items[0].stream, [key for key in last if key != NO_KEY])
        for start in range(0, len(kept), MANY_SET_ASIDE):
            self._insert(kept[start : start + MANY_SET_ASIDE])

    def _insert(self, items: Sequence[RejectedRecord]) -> None:
        columns = [
            [item.rejection.key for item in items],
            [str(item.rejection.file) for item in items],
            [item.rejection.line for item in items],
            [item.record for item in items],
            [item.rejection.reason for item in items],
            [item.rejection.column for item in items],
            [item.blocked for item in items],
        ]
        self._connection.execute(
            "INSERT INTO _pipeline.rejected (flow, stream, key, event_file, line, record, reason, column_name, in_the_way) "
            "SELECT %s, %s, * FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bytea[], %s::text[], %s::text[], "
            "%s::boolean[])",
            (self._flow, items[0].stream, *columns),
        )

    def forget(self, stream: StreamName, keys: Sequence[str]) -> None:
        """Forget the records with these keys: later ones have gone in."""
        self._connection.execute(
            "DELETE FROM _pipeline.rejected USING unnest(%s::text[]) AS gone(key) "
            "WHERE flow = %s AND stream = %s AND md5(rejected.key) = md5(gone.key) AND rejected.key = gone.key",
            (list(keys), self._flow, stream),
        )

    def drop(self, items: Iterable[RejectedRecord]) -> None:
        """Forget these records, about to be tried again."""
        self._connection.execute("DELETE FROM _pipeline.rejected WHERE id = ANY(%s)", ([item.id for item in items],))

    def rejections(self, file: EventFileId | None = None) -> list[Rejection]:
        """Return what is set aside of the Flow, or of one file, in the order in which it came."""
        rows = self._connection.execute(
            "SELECT event_file, line, key, reason, column_name FROM _pipeline.rejected "
            "WHERE flow = %(flow)s AND (%(file)s::text IS NULL OR event_file = %(file)s) ORDER BY id",
            {"flow": self._flow, "file": None if file is None else str(file)},
        )
        return [Rejection(EventFileId.parse(event_file), *others) for event_file, *others in rows]

    def streams_with_rejected(self) -> set[StreamName]:
        """Return the streams of the Flow of which records are set aside."""
        rows = self._connection.execute("SELECT DISTINCT stream FROM _pipeline.rejected WHERE flow = %s", (self._flow,))
        return {StreamName(stream) for (stream,) in rows}

    def newest(self) -> int:
        """Return the number of the record set aside last; 0 without any."""
        row = self._connection.execute("SELECT coalesce(max(id), 0) FROM _pipeline.rejected").fetchone()
        return 0 if row is None else int(row[0])

    def rejected_batch(self, stream: StreamName, until: int, file: EventFileId | None = None) -> list[RejectedRecord]:
        """Return the oldest `MANY_SET_ASIDE` records of the stream up to the one numbered `until`, with their content.

        With `file` given, those of it that another row stood in the way of.
        """
        rows = self._connection.execute(
            "SELECT id, event_file, line, key, reason, column_name, record, in_the_way FROM _pipeline.rejected "
            "WHERE flow = %(flow)s AND stream = %(stream)s AND id <= %(until)s "
            "AND (%(file)s::text IS NULL OR event_file = %(file)s AND in_the_way) ORDER BY id LIMIT %(limit)s",
            {
                "flow": self._flow,
                "stream": stream,
                "until": until,
                "limit": MANY_SET_ASIDE,
                "file": None if file is None else str(file),
            },
        )
        return [
            RejectedRecord(
                stream,
                Rejection(EventFileId.parse(event_file), line, key, reason, column),
                bytes(record),
                in_the_way,
                row,
            )
            for row, event_file, line, key, reason, column, record, in_the_way in rows
        ]

    def correct_marks(self, gone_in: Mapping[EventFileId, int]) -> None:
        """Count records that went in after all as upserts of their files."""
        for file, count in gone_in.items():
            self._connection.execute(
                "UPDATE _pipeline.marks SET upserts = upserts + %(count)s, rejected = rejected - %(count)s "
                "WHERE flow = %(flow)s AND event_file = %(file)s",
                {"count": count, "flow": self._flow, "file": str(file)},
            )
