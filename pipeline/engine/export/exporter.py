"""The exporter: stores what of the source the Flow does not hold yet, group by group, and announces each group.

The order of commits: Binary Files, then the Event File that names them, … all of a label …, the File List, movement.json,
the announcement. Killed anywhere in between, the same Movement is exported again: what it stored before is found in the
store and counts as stored, so only the rest, and what has changed meanwhile, is added.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import anyio

from pipeline.codec.documents.message import GroupCompleted, encode_message
from pipeline.domain import object_keys
from pipeline.domain.errors import LeaseLostError
from pipeline.domain.event_file import FileEntry, Header
from pipeline.domain.ids import Label, ObjectKey, Phase, StreamName
from pipeline.domain.movement import Movement
from pipeline.domain.planning.selection import selected
from pipeline.domain.schema import StreamSchema
from pipeline.engine.export.chunk_writer import ChunkWriter, StoredFiles
from pipeline.engine.export.group_listing import GroupListing
from pipeline.engine.export.stream_export import OpenRows, StreamExport
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.storage.binaries import BinaryFiles
from pipeline.engine.storage.event_files import adopt, read_stored
from pipeline.engine.storage.snapshot_state import SnapshotState
from pipeline.ports.ranged_source import open_rows_along
from pipeline.ports.reporter import EventFileStored, GroupComplete
from pipeline.ports.source import Snapshot


@dataclass(frozen=True, slots=True)
class _ExportedStream:
    entries: tuple[FileEntry, ...]
    state: ObjectKey | None


async def _alone(_: StoredFiles) -> None:
    """Nothing follows from a chunk by itself."""


class Exporter:
    """Exports one Movement. `announced` holds the File List of each group it was about.

    `large` is set as soon as there is enough to import that help would be worth its while.
    """

    def __init__(
        self, context: EngineContext, snapshot: Snapshot, schemas: Sequence[StreamSchema], movement: Movement
    ) -> None:
        self._context = context
        self._snapshot = snapshot
        self._schemas = schemas
        self._movement = movement
        self.announced: dict[Label, ObjectKey] = {}
        self.large = anyio.Event()
        self._binaries = BinaryFiles(context.store, movement.flow, context.reporter)

    async def run(self) -> Movement:
        """Export all groups and return the Movement, `exported`."""
        groups = await self._groups()
        for label, streams in sorted(groups.items()):
            await self._export_group(label, streams)
        about = tuple(self.announced)
        return await self._update(lambda now: replace(now, exported=True, groups=about))

    async def _update(self, change: Callable[[Movement], Movement]) -> Movement:
        """Change movement.json, unless another exporter has begun since: then this one has been taken for dead."""

        def fenced(now: Movement) -> Movement:
            if now.settled or now.attempts != self._movement.attempts:
                raise LeaseLostError(
                    f"Movement {now.number} of Flow {now.flow!r} has settled or is exported by another process by now; "
                    "this one gives way."
                )
            return change(now)

        self._movement = await self._context.flows.update(self._movement.flow, self._movement.number, fenced)
        return self._movement

    async def _groups(self) -> Mapping[Label, Sequence[tuple[StreamSchema, bool]]]:
        """Return the streams of each label, with whether the source still has them."""
        chosen = [s for s in self._schemas if selected(s.stream, self._movement.only, self._movement.exclude)]
        groups: defaultdict[Label, list[tuple[StreamSchema, bool]]] = defaultdict(list)
        for schema in chosen:
            groups[schema.label].append((schema, True))
        present = {schema.stream for schema in self._schemas}
        for stream in {**self._movement.states, **self._movement.unfinished}:
            if stream not in present and selected(stream, self._movement.only, self._movement.exclude):
                stored = await self._carried(stream), await self._adopted(stream)
                gone = await self._state(stream, _headers(*stored)).schema()
                if gone is not None:
                    groups[gone.label].append((gone, False))
        return groups

    async def _listed(self, label: Label) -> Sequence[FileEntry]:
        known = self._movement.file_lists.get(label)
        return [] if known is None else await self._context.flows.read_file_list(known)

    async def _carried(self, stream: StreamName) -> StoredFiles:
        """Return what is listed of a stream's export that earlier Movements did not end. None of it is in its state."""
        since, movement = self._movement.unfinished.get(stream), self._movement
        if since is None or since == movement.number:
            return []
        listed = [entry for label in movement.file_lists for entry in await self._listed(label)]
        return [
            await read_stored(self._context.store, entry.key)
            for entry in listed
            if entry.id.stream == stream and since <= entry.id.movement < movement.number
        ]

    async def _adopted(self, stream: StreamName) -> StoredFiles:
        """Return what earlier attempts of this Movement have stored of a stream."""
        movement = self._movement
        if movement.attempts == 1:
            return []
        return await adopt(self._context.store, movement.flow, movement.number, stream)

    def _state(self, stream: StreamName, chunks: Sequence[Header]) -> SnapshotState:
        base = self._movement.states.get(stream)
        return SnapshotState(self._context.store, self._movement.flow, stream, base, tuple(chunks))

    async def _export_group(self, label: Label, streams: Sequence[tuple[StreamSchema, bool]]) -> None:
        listing = GroupListing(self._context, self._movement, label, await self._listed(label), self._update)
        states: dict[StreamName, ObjectKey] = {}
        count = 0
        for schema, present in streams:
            rows = partial(open_rows_along, self._snapshot, schema) if present else None
            exported = await self._export_stream(schema, rows, listing, present=present)
            listing.end_stream(exported.entries)
            count += len(exported.entries)
            if exported.state is not None:
                states[schema.stream] = exported.state
        file_list, listed = await listing.complete()
        self._context.reporter.report(GroupComplete(label, listed, count))
        if file_list is None:
            return
        names = [schema.stream for schema, _ in streams]
        if _completed(self._movement, label, file_list, states, names) is not self._movement:
            await self._update(lambda now: _completed(now, label, file_list, states, names))
        message = GroupCompleted(self._movement.flow, self._movement.number, label, file_list)
        await self._context.queue.send([encode_message(message)])
        self.announced[label] = file_list

    async def _export_stream(
        self, schema: StreamSchema, rows: OpenRows | None, listing: GroupListing, *, present: bool
    ) -> _ExportedStream:
        movement, context = self._movement, self._context
        carried = await self._carried(schema.stream)
        adopted = await self._adopted(schema.stream)
        for _, entry in adopted:
            context.reporter.report(
                EventFileStored(entry.label, entry.id, entry.size, entry.upserts, entry.deletes, adopted=True)
            )
        state = self._state(schema.stream, _headers(carried, adopted))
        known = await state.schema()
        if known is not None and _other_key(known, schema):
            adopted = [*adopted, *await self._delete_by_old_key(known, state, adopted)]
            state = self._state(schema.stream, _headers(carried, adopted))

        async def grow(stored: StoredFiles) -> None:
            ends = stored[-1][0].covers.until is None  # then the group is complete in a moment
            if not ends:
                await listing.grow([entry for _, entry in (*adopted, *stored)])

        writer = ChunkWriter(context, movement, schema, _numbers(adopted), self._binaries, grow, self.large.set)
        export = StreamExport(
            schema.label,
            state.ranges(),
            writer,
            self._binaries.store,
            context.reporter,
            state_complete=state.complete,
        )
        await export.run(rows)
        if not writer.stored and present and known != schema:
            await self._mention(writer, state)
        stored = [*adopted, *writer.stored]
        if not stored and not carried:
            return _ExportedStream((), movement.states.get(schema.stream))
        folded = self._state(schema.stream, _headers(carried, stored))
        key = object_keys.state_key(movement.flow, schema.stream, movement.number, movement.attempts)
        return _ExportedStream(
            tuple(entry for _, entry in stored), await folded.fold(key, schema, context.limits.range_rows)
        )

    async def _delete_by_old_key(self, known: StreamSchema, state: SnapshotState, earlier: StoredFiles) -> StoredFiles:
        """Delete all rows of a stream that has another key now, under the schema they were stored with.

        Keys of the two cannot be compared: a row of the new key might be deleted, or overwritten, as one of the old.
        """
        writer = ChunkWriter(
            self._context, self._movement, known, _numbers(earlier), self._binaries, _alone, self.large.set
        )
        export = StreamExport(
            known.label, state.ranges(), writer, self._binaries.store, self._context.reporter, state_complete=True
        )
        await export.run(None)
        return writer.stored

    async def _mention(self, writer: ChunkWriter, state: SnapshotState) -> None:
        """A stream without changes whose schema the Flow does not know yet: an Event File without records tells of it."""
        if state.complete:
            await writer.mention_schema()
        else:
            await writer.cut(None, even_if_empty=True)


def _completed(
    now: Movement,
    label: Label,
    file_list: ObjectKey,
    states: Mapping[StreamName, ObjectKey],
    streams: Collection[StreamName],
) -> Movement:
    """Return the Movement with a group complete; itself, when it knows all that already."""
    completed = replace(
        now,
        file_lists={**now.file_lists, label: file_list},
        states={**now.states, **states},
        unfinished={stream: since for stream, since in now.unfinished.items() if stream not in streams},
    )
    return now if completed == now else completed


def _headers(*stored: StoredFiles) -> Sequence[Header]:
    return [header for files in stored for header, _ in files]


def _other_key(known: StreamSchema, schema: StreamSchema) -> bool:
    """Whether rows are told apart by something else now: by other columns, or by values of another type."""

    def key(of: StreamSchema) -> Sequence[tuple[str, str]]:
        types = {column.name: column.type for column in of.columns}
        return [(name, types[name]) for name in of.primary_keys]

    return key(known) != key(schema)


def _numbers(stored: StoredFiles) -> dict[Phase, int]:
    """Return the next chunk number of each phase."""
    numbers: dict[Phase, int] = {}
    for header, _ in stored:
        numbers[header.id.phase] = max(numbers.get(header.id.phase, 0), header.id.chunk + 1)
    return numbers
