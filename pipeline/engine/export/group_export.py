"""The export of one group: its streams one after the other, then the File List, movement.json and the announcement."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import anyio

from pipeline.domain import object_keys
from pipeline.domain.errors import UnreadableError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import Label, ObjectKey, StreamName
from pipeline.domain.movement import Movement
from pipeline.domain.outbox.transitions import group_exported
from pipeline.domain.planning.group_counts import with_list
from pipeline.domain.schema import SPECIAL_STREAMS, StreamSchema
from pipeline.engine.export.attempt import ExportAttempt
from pipeline.engine.export.delete_guard import DeleteGuard
from pipeline.engine.export.group_listing import GroupListing
from pipeline.engine.export.source_checks import check_label
from pipeline.engine.export.source_progress import counting_rows
from pipeline.engine.export.stream_changes import StreamChanges
from pipeline.engine.export.stream_export import OpenRows
from pipeline.engine.storage.snapshot_state import SnapshotState
from pipeline.log_events import log
from pipeline.ports.ranged_source import open_rows_along
from pipeline.ports.reporter import EventFileStored, GroupComplete, StreamGone
from pipeline.ports.source import Snapshot, count_rows


@dataclass(frozen=True, slots=True)
class GroupStream:
    """A stream of a group, and whether the source still has it. One that it lost is exported as without rows."""

    schema: StreamSchema
    present: bool = True


@dataclass(frozen=True, slots=True)
class _ExportedStream:
    """What was stored of a stream. `state` is None if it has never been stored, or could not be read to its end."""

    entries: Sequence[FileEntry]
    state: ObjectKey | None
    complete: bool = True


class GroupExport:
    """Exports the streams of the group `label`. Deletes that `guard` does not allow are not exported."""

    def __init__(self, attempt: ExportAttempt, snapshot: Snapshot, label: Label, guard: DeleteGuard) -> None:
        self._attempt = attempt
        self._snapshot = snapshot
        self._label = label
        self._guard = guard

    async def run(self, streams: Sequence[GroupStream]) -> ObjectKey | None:
        """Export, list and announce the group; return its File List, or None when it has never had a file."""
        with self._attempt.context.tracer.span("export group", group=self._label):
            return await self._run(streams)

    async def _run(self, streams: Sequence[GroupStream]) -> ObjectKey | None:
        attempt = self._attempt
        listing = GroupListing(attempt, self._label, await attempt.listed(self._label))
        states: dict[StreamName, ObjectKey] = {}
        unfinished: dict[StreamName, int] = {}
        stored = 0
        for stream in streams:
            with attempt.context.tracer.span("export stream", stream=stream.schema.stream):
                exported = await self._export_stream(stream, listing)
            listing.end_stream(exported.entries)
            stored += len(exported.entries)
            if exported.state is not None:
                states[stream.schema.stream] = exported.state
            if not exported.complete:
                unfinished |= self._unfinished(stream.schema.stream, exported.entries)
        file_list, entries = await listing.complete()
        attempt.context.reporter.report(GroupComplete(self._label, len(entries), stored))
        if file_list is not None:
            ended = [stream.schema.stream for stream in streams]
            complete = partial(_completed, self._label, file_list, entries, states, ended, unfinished)
            if complete(attempt.movement) is not attempt.movement:
                await attempt.update(complete)
            context = attempt.context
            events = group_exported(attempt.movement, self._label, file_list, entries, context.clock.now())
            with unwrap_exception_group():
                async with anyio.create_task_group() as both:
                    both.start_soon(context.flows.outbox.note, events, name=f"event of {self._label}")
                    if not await attempt.skips_imported(self._label, file_list, entries):
                        await attempt.announce(self._label, file_list)
        return file_list

    def _unfinished(self, stream: StreamName, stored: Sequence[FileEntry]) -> Mapping[StreamName, int]:
        """Return the first Movement that stored files of a stream which could not be read to its end, if there is one."""
        since = self._attempt.movement.unfinished.get(stream, self._attempt.movement.number if stored else None)
        return {} if since is None else {stream: since}

    async def _export_stream(self, stream: GroupStream, listing: GroupListing) -> _ExportedStream:
        attempt, schema = self._attempt, stream.schema
        carried, adopted = await attempt.carried(schema.stream), await attempt.adopted(schema.stream)
        for _, entry in adopted:
            attempt.context.reporter.report(
                EventFileStored(entry.label, entry.id, entry.size, entry.upserts, entry.deletes, adopted=True)
            )
        changes = StreamChanges(attempt, schema.stream, carried, adopted)
        known = await changes.state.schema()
        if known is not None:
            check_label(known, schema)
        elif object_keys.is_shortened(attempt.movement.flow, schema.stream):
            key = object_keys.stream_events_prefix(attempt.movement.flow, attempt.movement.number, schema.stream)
            log.warning("stream_name_shortened", stream=schema.stream, objects_below=key)
        try:
            if known is None or _keys_compare(known, schema):
                await self._export_changes(stream, changes, known, listing)
            elif await self._is_replaced(schema, known, changes.state):
                # keys of the two schemas do not compare: a row of the new key might be deleted as one of the old
                await changes.export(known, None, _all_deletes)
                await self._export_changes(stream, changes, known, listing)
            else:
                schema = known
        except UnreadableError as error:
            attempt.note_unreadable(schema.stream, error)
            return _ExportedStream([entry for _, entry in changes.stored], None, complete=False)
        if not changes.stored and not carried:
            return _ExportedStream((), attempt.movement.states.get(schema.stream))
        movement = attempt.movement
        key = object_keys.state_key(movement.flow, schema.stream, movement.number, movement.attempts)
        await changes.state.store_as(key, schema, attempt.context.limits.range_rows)
        return _ExportedStream([entry for _, entry in changes.stored], key)

    async def _export_changes(
        self, stream: GroupStream, changes: StreamChanges, known: StreamSchema | None, listing: GroupListing
    ) -> None:
        schema, stored = stream.schema, len(changes.stored)
        rows: OpenRows | None = partial(open_rows_along, self._snapshot, schema) if stream.present else None
        before = known if stream.present else None
        async with counting_rows(self._snapshot, schema, changes.state, self._attempt.context.reporter):
            await changes.export(schema, rows, partial(self._guard.allows, schema, before), listing)
        if len(changes.stored) == stored and stream.present and known != schema:
            await changes.store_schema(schema)
        deletes = 0 if stream.present else sum(entry.deletes for _, entry in changes.stored[stored:])
        if deletes and schema.stream not in SPECIAL_STREAMS:
            self._attempt.context.reporter.report(StreamGone(schema.stream, deletes))

    async def _is_replaced(self, schema: StreamSchema, known: StreamSchema, state: SnapshotState) -> bool:
        """Whether a stream whose key has changed has enough rows under the new key, so that those of the old may go."""
        old = sum([part.rows async for part in state.ranges()])
        new = await count_rows(self._snapshot, schema)
        return await self._guard.allows(schema, known, max(0, old - new), old)


async def _all_deletes(deletes: int, rows: int) -> bool:
    return True


def _completed(
    label: Label,
    file_list: ObjectKey,
    entries: Sequence[FileEntry],
    states: Mapping[StreamName, ObjectKey],
    streams: Collection[StreamName],
    unreadable: Mapping[StreamName, int],
    now: Movement,
) -> Movement:
    """Return the Movement with a group complete; itself, if it says all that already."""
    completed = replace(
        with_list(now, label, file_list, entries),
        states={**now.states, **states},
        unfinished={
            **{stream: since for stream, since in now.unfinished.items() if stream not in streams},
            **unreadable,
        },
    )
    return now if completed == now else completed


def _keys_compare(known: StreamSchema, schema: StreamSchema) -> bool:
    """Whether the keys of two schemas are of the same kind. One stored by an earlier release does not tell its basis."""
    return _key_columns(known) == _key_columns(schema) and known.key_basis in ("", schema.key_basis)


def _key_columns(schema: StreamSchema) -> Sequence[tuple[str, str]]:
    """Return the names and types of the key columns: with others, rows are identified in another way."""
    types = {column.name: column.type for column in schema.columns}
    return [(name, types[name]) for name in schema.primary_keys]
