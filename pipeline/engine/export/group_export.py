"""The export of one group: its streams one after the other, then the File List, movement.json and the announcement."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from pipeline.domain import object_keys
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import Label, ObjectKey, StreamName
from pipeline.domain.movement import Movement
from pipeline.domain.schema import StreamSchema
from pipeline.engine.export.attempt import ExportAttempt, StoredFiles
from pipeline.engine.export.chunk_writer import ChunkWriter
from pipeline.engine.export.group_listing import GroupListing
from pipeline.engine.export.source_checks import check_label
from pipeline.engine.export.stream_export import OpenRows, StreamExport
from pipeline.engine.storage.snapshot_state import SnapshotState
from pipeline.ports.ranged_source import open_rows_along
from pipeline.ports.reporter import EventFileStored, GroupComplete
from pipeline.ports.source import Snapshot


@dataclass(frozen=True, slots=True)
class GroupStream:
    """A stream of a group, and whether the source still has it. One that it lost is exported as without rows."""

    schema: StreamSchema
    present: bool = True


@dataclass(frozen=True, slots=True)
class _ExportedStream:
    entries: Sequence[FileEntry]
    state: ObjectKey | None


class GroupExport:
    """Exports the streams of the group `label`."""

    def __init__(self, attempt: ExportAttempt, snapshot: Snapshot, label: Label) -> None:
        self._attempt = attempt
        self._snapshot = snapshot
        self._label = label

    async def run(self, streams: Sequence[GroupStream]) -> ObjectKey | None:
        """Export, list and announce the group; return its File List, or None when it has never had a file."""
        attempt = self._attempt
        listing = GroupListing(attempt, self._label, await attempt.listed(self._label))
        states: dict[StreamName, ObjectKey] = {}
        stored = 0
        for stream in streams:
            exported = await self._export_stream(stream, listing)
            listing.end_stream(exported.entries)
            stored += len(exported.entries)
            if exported.state is not None:
                states[stream.schema.stream] = exported.state
        file_list, listed = await listing.complete()
        attempt.context.reporter.report(GroupComplete(self._label, listed, stored))
        if file_list is not None:
            complete = partial(_completed, self._label, file_list, states, [stream.schema.stream for stream in streams])
            if complete(attempt.movement) is not attempt.movement:
                await attempt.update(complete)
            await attempt.announce(self._label, file_list)
        return file_list

    async def _export_stream(self, stream: GroupStream, listing: GroupListing) -> _ExportedStream:
        attempt, schema = self._attempt, stream.schema
        carried, adopted = await attempt.carried(schema.stream), await attempt.adopted(schema.stream)
        for _, entry in adopted:
            attempt.context.reporter.report(
                EventFileStored(entry.label, entry.id, entry.size, entry.upserts, entry.deletes, adopted=True)
            )
        state = attempt.state(schema.stream, carried, adopted)
        known = await state.schema()
        if known is not None:
            check_label(known, schema)
        if known is not None and _key_columns(known) != _key_columns(schema):
            adopted = [*adopted, *await self._delete_by_old_key(known, state, adopted)]
            state = attempt.state(schema.stream, carried, adopted)
        writer = ChunkWriter(attempt, schema, adopted, listing)
        rows: OpenRows | None = partial(open_rows_along, self._snapshot, schema) if stream.present else None
        await StreamExport(attempt, schema, state, writer).run(rows)
        if not writer.stored and stream.present and known != schema:
            await _store_schema(writer, state)
        stored = [*adopted, *writer.stored]
        if not stored and not carried:
            return _ExportedStream((), attempt.movement.states.get(schema.stream))
        folded = attempt.state(schema.stream, carried, stored)
        movement = attempt.movement
        key = object_keys.state_key(movement.flow, schema.stream, movement.number, movement.attempts)
        await folded.store_as(key, schema, attempt.context.limits.range_rows)
        return _ExportedStream([entry for _, entry in stored], key)

    async def _delete_by_old_key(self, known: StreamSchema, state: SnapshotState, adopted: StoredFiles) -> StoredFiles:
        """Delete all rows of a stream whose key has changed, under the schema they were stored with.

        Keys of the two schemas do not compare: a row of the new key might be deleted or overwritten as one of the old.
        """
        writer = ChunkWriter(self._attempt, known, adopted)
        await StreamExport(self._attempt, known, state, writer).run(None)
        return writer.stored


async def _store_schema(writer: ChunkWriter, state: SnapshotState) -> None:
    """Store a schema that the Flow does not know yet, of a stream without changes, in an Event File without records."""
    if state.complete:
        await writer.store_schema()
    else:
        await writer.cut(None, even_if_empty=True)


def _completed(
    label: Label,
    file_list: ObjectKey,
    states: Mapping[StreamName, ObjectKey],
    streams: Collection[StreamName],
    now: Movement,
) -> Movement:
    """Return the Movement with a group complete; itself, if it says all that already."""
    completed = replace(
        now,
        file_lists={**now.file_lists, label: file_list},
        states={**now.states, **states},
        unfinished={stream: since for stream, since in now.unfinished.items() if stream not in streams},
    )
    return now if completed == now else completed


def _key_columns(schema: StreamSchema) -> Sequence[tuple[str, str]]:
    """Return the names and types of the key columns: with others, rows are identified in another way."""
    types = {column.name: column.type for column in schema.columns}
    return [(name, types[name]) for name in schema.primary_keys]
