"""The exporter: stores what of the source the Flow does not hold yet, group by group, and announces each group.

The order of commits: Binary Files, then the Event File that names them, … all of a label …, the File List, movement.json,
the announcement. Killed anywhere in between, the same Movement is exported again: what it stored before is found in the
store and counts as stored, so only the rest, and what has changed meanwhile, is added.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from pipeline.codec.file_list import encode_file_list
from pipeline.codec.message import GroupCompleted, encode_message
from pipeline.domain import layout
from pipeline.domain.errors import ConfigurationError, ConflictError, LeaseLostError
from pipeline.domain.event_file import FileEntry, Header
from pipeline.domain.ids import Label, ObjectKey, Phase, StreamName
from pipeline.domain.lanes import in_lane_order
from pipeline.domain.movement import Movement
from pipeline.domain.schema import StreamSchema
from pipeline.engine.binaries import BinaryFiles
from pipeline.engine.chunks import ChunkWriter
from pipeline.engine.event_files import adopt
from pipeline.engine.parts import EngineParts
from pipeline.engine.stream_export import OpenRows, StreamExport
from pipeline.engine.stream_state import StreamState
from pipeline.ports.object_store import PutCondition
from pipeline.ports.reporter import EventFileStored, GroupComplete
from pipeline.ports.source import RowBlock, Snapshot


@dataclass(frozen=True, slots=True)
class _ExportedStream:
    entries: tuple[FileEntry, ...]
    state: ObjectKey | None


@asynccontextmanager
async def _no_rows() -> AsyncIterator[AsyncIterator[RowBlock]]:
    async def nothing() -> AsyncIterator[RowBlock]:
        blocks: tuple[RowBlock, ...] = ()
        for block in blocks:
            yield block

    yield nothing()


def selected(stream: StreamName, only: Sequence[str], exclude: Sequence[str]) -> bool:
    """Whether a stream is to be moved: named by one of `only` (if there are any), and by none of `exclude`."""
    if only and not any(fnmatchcase(stream, pattern) for pattern in only):
        return False
    return not any(fnmatchcase(stream, pattern) for pattern in exclude)


def ensure_selected(
    schemas: Sequence[StreamSchema], only: Sequence[str], exclude: Sequence[str], location: str
) -> None:
    """ConfigurationError when there are streams, and none of them is to be moved."""
    if schemas and not any(selected(schema.stream, only, exclude) for schema in schemas):
        raise ConfigurationError(
            f"No stream of {location} is selected by --only and --exclude. "
            f"It has: {', '.join(repr(schema.stream) for schema in schemas[:20])}"
        )


class Exporter:
    """Exports one Movement. `announced` holds the File List of each group it was about."""

    def __init__(
        self, parts: EngineParts, snapshot: Snapshot, schemas: Sequence[StreamSchema], movement: Movement
    ) -> None:
        self._parts = parts
        self._snapshot = snapshot
        self._schemas = schemas
        self._movement = movement
        self.announced: dict[Label, ObjectKey] = {}
        self._binaries = BinaryFiles(parts.store, movement.flow, parts.reporter)

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

        self._movement = await self._parts.flows.update(self._movement.flow, self._movement.number, fenced)
        return self._movement

    async def _groups(self) -> Mapping[Label, Sequence[tuple[StreamSchema, bool]]]:
        """Return the streams of each label, with whether the source still has them."""
        chosen = [s for s in self._schemas if selected(s.stream, self._movement.only, self._movement.exclude)]
        groups: defaultdict[Label, list[tuple[StreamSchema, bool]]] = defaultdict(list)
        for schema in chosen:
            groups[schema.label].append((schema, True))
        present = {schema.stream for schema in self._schemas}
        for stream in self._movement.states:
            if stream not in present and selected(stream, self._movement.only, self._movement.exclude):
                gone = await self._state(stream, ()).schema()
                if gone is not None:
                    groups[gone.label].append((gone, False))
        return groups

    def _state(self, stream: StreamName, chunks: Sequence[Header]) -> StreamState:
        base = self._movement.states.get(stream)
        return StreamState(self._parts.store, self._movement.flow, stream, base, tuple(chunks))

    async def _export_group(self, label: Label, streams: Sequence[tuple[StreamSchema, bool]]) -> None:
        exported = {
            schema.stream: await self._export_stream(
                schema, self._snapshot.open_rows(schema) if present else _no_rows(), present=present
            )
            for schema, present in streams
        }
        entries = [entry for stream in exported.values() for entry in stream.entries]
        file_list = await self._list_files(label, entries)
        if file_list is None:
            return
        states = {name: stream.state for name, stream in exported.items() if stream.state is not None}
        if entries or self._movement.file_lists.get(label) != file_list:
            await self._update(
                lambda now: replace(
                    now, file_lists={**now.file_lists, label: file_list}, states={**now.states, **states}
                )
            )
        message = GroupCompleted(self._movement.flow, self._movement.number, label, file_list)
        await self._parts.queue.send([encode_message(message)])
        self.announced[label] = file_list

    async def _export_stream(self, schema: StreamSchema, rows: OpenRows, *, present: bool) -> _ExportedStream:
        movement, parts = self._movement, self._parts
        earlier = (
            await adopt(parts.store, movement.flow, movement.number, schema.stream) if movement.attempts > 1 else []
        )
        state = self._state(schema.stream, [header for header, _ in earlier])
        for _, entry in earlier:
            parts.reporter.report(
                EventFileStored(entry.label, entry.id, entry.size, entry.upserts, entry.deletes, adopted=True)
            )
        known = await state.schema()
        if known is not None and _other_key(known, schema):
            earlier = [*earlier, *await self._delete_by_old_key(known, state, earlier)]
            state = self._state(schema.stream, [header for header, _ in earlier])
        writer = ChunkWriter(parts, movement, schema, _numbers(earlier), self._binaries)
        export = StreamExport(schema.label, writer, self._binaries.store, parts.reporter, state_complete=state.complete)
        await export.run(rows, state.ranges())
        if not writer.stored and present and known != schema:
            await self._mention(writer, state)
        stored = [*earlier, *writer.stored]
        if not stored:
            return _ExportedStream((), movement.states.get(schema.stream))
        folded = self._state(schema.stream, [header for header, _ in stored])
        key = layout.state_key(movement.flow, schema.stream, movement.number, movement.attempts)
        return _ExportedStream(
            tuple(entry for _, entry in stored), await folded.fold(key, schema, parts.limits.range_rows)
        )

    async def _delete_by_old_key(
        self, known: StreamSchema, state: StreamState, earlier: Sequence[tuple[Header, FileEntry]]
    ) -> Sequence[tuple[Header, FileEntry]]:
        """Delete all rows of a stream that has another key now, under the schema they were stored with.

        Keys of the two cannot be compared: a row of the new key might be deleted, or overwritten, as one of the old.
        """
        writer = ChunkWriter(self._parts, self._movement, known, _numbers(earlier), self._binaries)
        export = StreamExport(known.label, writer, self._binaries.store, self._parts.reporter, state_complete=True)
        await export.run(_no_rows(), state.ranges())
        return writer.stored

    async def _mention(self, writer: ChunkWriter, state: StreamState) -> None:
        """A stream without changes whose schema the Flow does not know yet: an Event File without records tells of it."""
        if state.complete:
            await writer.mention_schema()
        else:
            await writer.cut(None, even_if_empty=True)

    async def _list_files(self, label: Label, new: Sequence[FileEntry]) -> ObjectKey | None:
        """Store the label's File List if there is anything new to list; return the current one's key."""
        known = self._movement.file_lists.get(label)
        listed = [] if known is None else await self._parts.flows.read_file_list(known)
        entries = [entry for entry in listed if entry.id.movement != self._movement.number] + in_lane_order(new)
        self._parts.reporter.report(GroupComplete(label, len(entries), len(new)))
        if entries == listed:
            return known
        movement = self._movement
        key = layout.file_list_key(movement.flow, movement.number, label, movement.attempts)
        data = encode_file_list(movement.flow, label, entries)
        try:
            await self._parts.store.put(key, data, PutCondition.ABSENT)
        except ConflictError:
            if (await self._parts.store.get(key)).data != data:
                raise
        return key


def _other_key(known: StreamSchema, schema: StreamSchema) -> bool:
    """Whether rows are told apart by something else now: by other columns, or by values of another type."""

    def key(of: StreamSchema) -> Sequence[tuple[str, str]]:
        types = {column.name: column.type for column in of.columns}
        return [(name, types[name]) for name in of.primary_keys]

    return key(known) != key(schema)


def _numbers(stored: Sequence[tuple[Header, FileEntry]]) -> dict[Phase, int]:
    """Return the next chunk number of each phase."""
    numbers: dict[Phase, int] = {}
    for header, _ in stored:
        numbers[header.id.phase] = max(numbers.get(header.id.phase, 0), header.id.chunk + 1)
    return numbers
