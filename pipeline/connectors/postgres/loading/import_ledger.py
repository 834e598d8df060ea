"""The import ledger, in the schema `_pipeline`: marks, rejected records, and the schemas of streams.

Marks and rejected records are written in the transaction of the rows that they are about.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from datetime import datetime

import orjson

from pipeline.codec.event_files.header import decode_schema, encode_schema
from pipeline.codec.values import dumps
from pipeline.connectors.postgres.session.connection import Connection
from pipeline.connectors.sql.rejected_record import COLUMNS, NO_KEY, RejectedRecord
from pipeline.connectors.sql.retry import BATCH_RECORDS
from pipeline.connectors.sql.schema_objects import ObjectId
from pipeline.domain.ids import EventFileId, FlowName, StreamName, encode_name
from pipeline.domain.schema import StreamSchema
from pipeline.ports.destination import KeptRecord, Mark, Rejection

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
ALTER TABLE _pipeline.rejected ADD COLUMN IF NOT EXISTS depends text;
CREATE INDEX IF NOT EXISTS rejected_key ON _pipeline.rejected (flow, stream, md5(key));
CREATE TABLE IF NOT EXISTS _pipeline.streams (
    flow text NOT NULL, stream text NOT NULL, schema text NOT NULL, is_ours boolean NOT NULL, PRIMARY KEY (flow, stream)
);
ALTER TABLE _pipeline.streams ADD COLUMN IF NOT EXISTS as_of timestamptz NOT NULL DEFAULT '-infinity';
ALTER TABLE _pipeline.streams ADD COLUMN IF NOT EXISTS is_created boolean NOT NULL DEFAULT false;
ALTER TABLE _pipeline.streams ADD COLUMN IF NOT EXISTS former_partitions bigint[] NOT NULL DEFAULT '{}';
CREATE TABLE IF NOT EXISTS _pipeline.objects (
    flow text NOT NULL, kind text NOT NULL, name text NOT NULL, technology text NOT NULL, rank integer NOT NULL,
    wanted text, created text, PRIMARY KEY (flow, kind, name)
);
CREATE TABLE IF NOT EXISTS _pipeline.latest (
    flow text NOT NULL, stream text NOT NULL, movement bigint NOT NULL, PRIMARY KEY (flow, stream)
);
CREATE TABLE IF NOT EXISTS _pipeline.fences (flow text PRIMARY KEY, movement bigint NOT NULL);
CREATE TABLE IF NOT EXISTS _pipeline.large_objects (flow text NOT NULL, id bigint NOT NULL, PRIMARY KEY (flow, id));
"""
_IS_COMPLETE = """
SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('_pipeline.streams') AND attname = 'former_partitions')
   AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('_pipeline.rejected') AND attname = 'depends')
   AND to_regclass('_pipeline.latest') IS NOT NULL AND to_regclass('_pipeline.objects') IS NOT NULL
   AND to_regclass('_pipeline.large_objects') IS NOT NULL AND to_regclass('_pipeline.fences') IS NOT NULL
"""
_LOCK = 7_166_357_421
"""The number of the advisory lock for creating tables and types, which streams and processes may share."""


_FENCE_LOCK = 716_635_742
"""The class of the advisory locks, one a Flow, that loads share, and a fence needs alone."""
_FOREIGN = re.compile(r"[^\x00-\x7f]")


def _read_key(text: str) -> str:
    return dumps(orjson.loads(text)).decode()


def create_ledger(connection: Connection) -> None:
    """Create the schema and its tables unless they exist. To create them takes the privilege CREATE on the database."""
    if connection.execute(_IS_COMPLETE).fetchone() == (True,):
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
    """Wait until no other process creates tables here, and keep others from it until the end of the transaction."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))


class ImportLedger:
    """The ledger of one Flow, through one connection."""

    def __init__(self, connection: Connection, flow: FlowName) -> None:
        self._connection = connection
        self._flow = flow
        self._is_utf8 = connection.info.parameter_status("server_encoding") == "UTF8"

    def _storable(self, text: str) -> str:
        """Return JSON text in characters that every encoding has: a key that the database cannot hold may be rejected."""
        return text if self._is_utf8 else _FOREIGN.sub(lambda found: json.dumps(found[0])[1:-1], text)

    def marks(self) -> Mapping[EventFileId, Mark]:
        """Return all marks of the Flow."""
        rows = self._connection.execute(
            "SELECT event_file, upserts, deletes, rejected, binaries, movement FROM _pipeline.marks WHERE flow = %s",
            (self._flow,),
        )
        return {EventFileId.parse(event_file): Mark(*counts) for event_file, *counts in rows}

    def loaded_streams(self, name: FlowName) -> Set[StreamName]:
        """Return the streams that Flows of this name have loaded, whenever they were created."""
        query = "SELECT DISTINCT stream FROM _pipeline.streams WHERE starts_with(flow, %s)"
        return {StreamName(stream) for (stream,) in self._connection.execute(query, (f"{name} ",))}

    def marked_among(self, files: Sequence[EventFileId]) -> Set[EventFileId]:
        """Return those of the files that are imported."""
        rows = self._connection.execute(
            "SELECT event_file FROM _pipeline.marks WHERE flow = %s AND event_file = ANY(%s)",
            (self._flow, [str(file) for file in files]),
        )
        return {EventFileId.parse(event_file) for (event_file,) in rows}

    def advance_movement(self, stream: StreamName, movement: int) -> None:
        """Record that a Movement has reached a stream. Waits for loads of earlier ones to end; not in a transaction."""
        # ON CONFLICT locks the row even if it updates nothing, and so waits for loads of the same Movement.
        self._connection.execute(
            "INSERT INTO _pipeline.latest SELECT %(flow)s, %(stream)s, %(new)s WHERE NOT EXISTS (SELECT FROM "
            "_pipeline.latest WHERE flow = %(flow)s AND stream = %(stream)s AND movement >= %(new)s) ON CONFLICT "
            "(flow, stream) DO UPDATE SET movement = greatest(latest.movement, excluded.movement)",
            {"flow": self._flow, "stream": stream, "new": movement},
        )

    def latest_movement(self, stream: StreamName) -> int:
        """Return the latest Movement that has reached the stream; none does until the end of the transaction."""
        query = "SELECT movement FROM _pipeline.latest WHERE flow = %s AND stream = %s FOR SHARE"
        row = self._connection.execute(query, (self._flow, stream)).fetchone()
        return 0 if row is None else int(row[0])

    def fenced(self) -> int:
        """Return the latest Movement of the Flow that was stopped, 0 for none. No other is until the transaction ends."""
        self._connection.execute("SELECT pg_advisory_xact_lock_shared(%s, hashtext(%s))", (_FENCE_LOCK, self._flow))
        row = self._connection.execute(
            "SELECT movement FROM _pipeline.fences WHERE flow = %s", (self._flow,)
        ).fetchone()
        return 0 if row is None else int(row[0])

    def fence(self, movement: int) -> bool:
        """Store that this Movement of the Flow was stopped; return False, with nothing changed, while a load is in hand."""
        with self._connection.transaction():
            lock = "SELECT pg_try_advisory_xact_lock(%s, hashtext(%s))"
            if self._connection.execute(lock, (_FENCE_LOCK, self._flow)).fetchone() != (True,):
                return False
            self._connection.execute(
                "INSERT INTO _pipeline.fences AS known VALUES (%s, %s) ON CONFLICT (flow) DO UPDATE "
                "SET movement = greatest(known.movement, excluded.movement)",
                (self._flow, movement),
            )
        return True

    def end_loads(self) -> int:
        """End the sessions that load files of the Flow; return how many there were. Nothing of their loads is committed."""
        query = (
            "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND granted "
            "AND classid::bigint = %s AND objid::bigint = hashtext(%s)::bigint & 4294967295 AND pid <> pg_backend_pid() "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        row = self._connection.execute(query, (_FENCE_LOCK, self._flow)).fetchone()
        return 0 if row is None else int(row[0])

    def claim(self, file: EventFileId, movement: int) -> bool:
        """Mark the file for this transaction; False if it is marked already.

        Waits for another transaction that has claimed it: the unique key lets only one of them commit.
        """
        done = self._connection.execute(
            "INSERT INTO _pipeline.marks (flow, event_file, movement) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            (self._flow, str(file), movement),
        )
        return done.rowcount == 1

    def complete(self, file: EventFileId, mark: Mark) -> None:
        """Write the counts of the file's records into its claimed mark."""
        self._connection.execute(
            "UPDATE _pipeline.marks SET upserts = %s, deletes = %s, rejected = %s, binaries = %s, movement = %s "
            "WHERE flow = %s AND event_file = %s",
            (mark.upserts, mark.deletes, mark.rejected, mark.binaries, mark.movement, self._flow, str(file)),
        )

    def correct_marks(self, accepted: Mapping[EventFileId, int]) -> None:
        """Count records that were accepted after all as upserts of their files."""
        for file, count in accepted.items():
            self._connection.execute(
                "UPDATE _pipeline.marks SET upserts = upserts + %(count)s, rejected = rejected - %(count)s "
                "WHERE flow = %(flow)s AND event_file = %(file)s",
                {"count": count, "flow": self._flow, "file": str(file)},
            )

    def has_later_schema(self, stream: StreamName, as_of: datetime) -> bool:
        """Whether a file that was exported after `as_of` has stored a schema of the stream."""
        later = "_pipeline.streams WHERE flow = %s AND stream = %s AND as_of > %s"
        return self._exists(later, self._flow, stream, as_of)

    def previous_schema(self, stream: StreamName) -> StreamSchema | None:
        """Return the stored schema of a stream, if its table had no rows before the first load; else None."""
        row = self._connection.execute(
            "SELECT schema FROM _pipeline.streams WHERE flow = %s AND stream = %s AND is_ours", (self._flow, stream)
        ).fetchone()
        return None if row is None else decode_schema(row[0], f"the schema of {stream} in _pipeline.streams")

    def remember_schema(self, schema: StreamSchema, *, as_of: datetime, is_ours: bool, is_created: bool) -> None:
        """Store the schema of a stream, and at the first time whether its table had no rows before, or was created.

        `as_of` is the time of the export: of files that are loaded concurrently, the later one wins.
        """
        text = self._storable(encode_schema(schema).decode())
        self._connection.execute(
            "INSERT INTO _pipeline.streams AS known (flow, stream, schema, is_ours, is_created, as_of) "
            "VALUES (%s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (flow, stream) DO UPDATE SET schema = excluded.schema, as_of = excluded.as_of "
            "WHERE known.schema <> excluded.schema AND known.as_of <= excluded.as_of",
            (self._flow, schema.stream, text, is_ours, is_created, as_of),
        )

    def schemas(self) -> list[StreamSchema]:
        """Return the latest schema of each stream of the Flow, in the order in which they were exported, then by name."""
        rows = self._connection.execute(
            'SELECT stream, schema FROM _pipeline.streams WHERE flow = %s ORDER BY as_of, stream COLLATE "C"',
            (self._flow,),
        )
        return [decode_schema(text, f"the schema of {stream} in _pipeline.streams") for stream, text in rows]

    def streams(self) -> Set[StreamName]:
        """Return the names of the Flow's streams."""
        return self._streams_that("true")

    def former_partitions(self) -> Mapping[StreamName, Sequence[int]]:
        """Return the object ids of partitions that the source has no more, by stream."""
        rows = self._connection.execute(
            "SELECT stream, former_partitions FROM _pipeline.streams WHERE flow = %s AND former_partitions <> '{}'",
            (self._flow,),
        )
        return {StreamName(stream): oids for stream, oids in rows}

    def remember_former_partitions(self, stream: StreamName, oids: Sequence[int]) -> None:
        """Store the object ids of partitions that the source has no more, in place of those stored before."""
        self._connection.execute(
            "UPDATE _pipeline.streams SET former_partitions = %s::bigint[] WHERE flow = %s AND stream = %s",
            (list(oids), self._flow, stream),
        )

    def forget_streams(self, streams: Sequence[StreamName]) -> None:
        """Forget the schemas of streams whose tables are gone."""
        self._connection.execute(
            "DELETE FROM _pipeline.streams WHERE flow = %s AND stream = ANY(%s)", (self._flow, list(streams))
        )

    def created_objects(self) -> Collection[ObjectId]:
        """Return the schema objects that the Flow has created."""
        rows = self._connection.execute(
            "SELECT kind, name FROM _pipeline.objects WHERE flow = %s AND created IS NOT NULL", (self._flow,)
        )
        return {(kind, name) for kind, name in rows}

    def ours(self) -> Set[StreamName]:
        """Return the streams whose tables had no rows before the Flow's first load."""
        return self._streams_that("is_ours")

    def created(self) -> Set[StreamName]:
        """Return the streams whose tables the Flow created."""
        return self._streams_that("is_created")

    def _streams_that(self, condition: str) -> Set[StreamName]:
        query = f"SELECT stream FROM _pipeline.streams WHERE flow = %s AND {condition}"
        return {StreamName(stream) for (stream,) in self._connection.execute(query, (self._flow,))}

    def is_first_snapshot(self, file: EventFileId) -> bool:
        """Whether the stream's table has only records of this Movement, so that no key of a `full` file is there."""
        stream = "_pipeline.streams WHERE flow = %s AND stream = %s AND is_ours"
        return self._exists(stream, self._flow, file.stream) and not self._exists(
            "_pipeline.marks WHERE flow = %s AND split_part(event_file, '/', 2) = %s "
            "AND split_part(event_file, '/', 1) <> %s",
            *(self._flow, encode_name(file.stream), str(file.movement)),
        )

    def has_rejected(self, stream: StreamName) -> bool:
        """Whether the stream has rejected records."""
        return self._exists("_pipeline.rejected WHERE flow = %s AND stream = %s", self._flow, stream)

    def has_large_object(self, oid: int) -> bool:
        """Whether the Flow has written this large object."""
        return self._exists("_pipeline.large_objects WHERE flow = %s AND id = %s", self._flow, oid)

    def add_large_object(self, oid: int) -> None:
        """Note that the Flow writes this large object."""
        self._connection.execute(
            "INSERT INTO _pipeline.large_objects VALUES (%s, %s) ON CONFLICT DO NOTHING", (self._flow, oid)
        )

    def remove_large_object(self, oid: int) -> None:
        """Note that a large object is removed."""
        self._connection.execute("DELETE FROM _pipeline.large_objects WHERE flow = %s AND id = %s", (self._flow, oid))

    def _exists(self, rows: str, *parameters: object) -> bool:
        query = f"SELECT EXISTS (SELECT FROM {rows})"
        return self._connection.execute(query, parameters).fetchone() == (True,)

    def add_rejected(self, records: Sequence[RejectedRecord]) -> None:
        """Store rejected records of one stream, in place of older ones with their keys."""
        if not self._is_utf8:
            records = [replace(it, rejection=self._storable_rejection(it.rejection)) for it in records]
        last = {record.rejection.key: record for record in records}
        kept = [it for it in records if it.rejection.key == NO_KEY or last[it.rejection.key] is it]
        self.forget(records[0].stream, [key for key in last if key != NO_KEY])
        for start in range(0, len(kept), BATCH_RECORDS):
            columns = map(list, zip(*(it.to_row() for it in kept[start : start + BATCH_RECORDS]), strict=True))
            self._connection.execute(
                f"INSERT INTO _pipeline.rejected (flow, stream, {', '.join(COLUMNS)}) SELECT %s, %s, * FROM "
                "unnest(%s::text[], %s::text[], %s::bigint[], %s::bytea[], %s::text[], %s::text[], %s::boolean[], "
                "%s::text[])",
                (self._flow, records[0].stream, *columns),
            )

    def _storable_rejection(self, rejection: Rejection) -> Rejection:
        reason = rejection.reason.encode("ascii", "backslashreplace").decode()
        return replace(rejection, key=self._storable(rejection.key), reason=reason)

    def correct(self, corrected: Sequence[KeptRecord]) -> int:
        """Give rejected records another content; return how many of them are still stored."""
        query = "UPDATE _pipeline.rejected SET record = %s, depends = NULL WHERE flow = %s AND event_file = %s AND line = %s"
        return sum(
            self._connection.execute(
                query, (one.record, self._flow, str(one.rejection.file), one.rejection.line)
            ).rowcount
            for one in corrected
        )

    def forget(self, stream: StreamName, keys: Sequence[str]) -> None:
        """Delete the rejected records with these keys: later records with them are accepted."""
        self._connection.execute(
            "DELETE FROM _pipeline.rejected USING unnest(%s::text[]) AS gone(key) "
            "WHERE flow = %s AND stream = %s AND md5(rejected.key) = md5(gone.key) AND rejected.key = gone.key",
            ([self._storable(key) for key in keys], self._flow, stream),
        )

    def drop(self, records: Iterable[RejectedRecord]) -> None:
        """Delete these rejected records, before they are retried."""
        self._connection.execute("DELETE FROM _pipeline.rejected WHERE id = ANY(%s)", ([it.id for it in records],))

    def rejections(self, file: EventFileId | None = None) -> list[Rejection]:
        """Return the rejections of the Flow, or of one file, in the order of their ids."""
        rows = self._connection.execute(
            "SELECT event_file, line, key, reason, column_name FROM _pipeline.rejected "
            "WHERE flow = %(flow)s AND (%(file)s::text IS NULL OR event_file = %(file)s) ORDER BY id",
            {"flow": self._flow, "file": None if file is None else str(file)},
        )
        return [
            Rejection(EventFileId.parse(event_file), line, key if self._is_utf8 else _read_key(key), reason, column)
            for event_file, line, key, reason, column in rows
        ]

    def blocked_streams(self) -> Set[StreamName]:
        """Return the streams with rejected records that other rows block."""
        rows = self._connection.execute(
            "SELECT DISTINCT stream FROM _pipeline.rejected WHERE flow = %s AND in_the_way", (self._flow,)
        )
        return {StreamName(stream) for (stream,) in rows}

    def rejected_ids(
        self, stream: StreamName, blocked_of: EventFileId | None = None, unless: Sequence[str] = ()
    ) -> list[int]:
        """Return the ids of a stream's rejected records, ascending; with `blocked_of`, of the blocked ones of that file.

        Without those that depend on one of `unless`.
        """
        rows = self._connection.execute(
            "SELECT id FROM _pipeline.rejected WHERE flow = %(flow)s AND stream = %(stream)s "
            "AND (%(file)s::text IS NULL OR event_file = %(file)s AND in_the_way) "
            "AND (depends IS NULL OR depends <> ALL (%(unless)s)) ORDER BY id",
            {
                "flow": self._flow,
                "stream": stream,
                "file": None if blocked_of is None else str(blocked_of),
                "unless": list(unless),
            },
        )
        return [id_ for (id_,) in rows]

    def rejected_records(self, ids: Sequence[int]) -> list[RejectedRecord]:
        """Return those of these records that are still stored, in the order of their ids."""
        rows = self._connection.execute(
            f"SELECT id, {', '.join(COLUMNS)} FROM _pipeline.rejected WHERE id = ANY(%s) ORDER BY id", (list(ids),)
        )
        return [RejectedRecord.from_row(*row) for row in rows]
