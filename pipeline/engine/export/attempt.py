"""One attempt to export a Movement: what its groups and streams have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import anyio

from pipeline.codec.documents.message import GroupCompleted, encode_message
from pipeline.codec.values import key_text
from pipeline.domain.errors import LeaseLostError, UnreadableError
from pipeline.domain.event_file import FileEntry, Header
from pipeline.domain.ids import Label, ObjectKey, StreamName
from pipeline.domain.inventory import Fate, InventoryItem
from pipeline.domain.keys import Key
from pipeline.domain.movement import Movement
from pipeline.domain.rejections import SourceRejection, SourceRejections
from pipeline.domain.schema import StreamSchema
from pipeline.engine.movements.context import EngineContext
from pipeline.engine.storage.binaries import BinaryFiles
from pipeline.engine.storage.event_files import read_all_stored, read_stored
from pipeline.engine.storage.recent_objects import RecentObjects
from pipeline.engine.storage.snapshot_state import SnapshotState
from pipeline.ports.reporter import BytesMoved, SourceRecordRejected, StreamUnreadable
from pipeline.ports.source import RowRejection

StoredFiles = Sequence[tuple[Header, FileEntry]]
TakesArrays = Callable[[StreamName], bool]
SkipsImported = Callable[[Label, ObjectKey, Sequence[FileEntry]], Awaitable[bool]]


def no_arrays(_stream: StreamName) -> bool:
    """Return False: not known to be read by those who import."""
    return False


async def skips_nothing(_label: Label, _file_list: ObjectKey, _entries: Sequence[FileEntry]) -> bool:
    """Return False: not known to be imported."""
    return False


class ExportAttempt:
    """The Movement as this attempt knows it, and what earlier attempts and Movements have stored.

    `large` is set as soon as there is enough to import for a helper to be worthwhile.
    """

    def __init__(
        self,
        context: EngineContext,
        movement: Movement,
        takes_arrays: TakesArrays = no_arrays,
        skips_imported: SkipsImported = skips_nothing,
    ) -> None:
        """`takes_arrays` says of which streams upserts may be arrays of values; `skips_imported`, whether all of a group
        is imported, so that nobody waits for its announcement."""
        self.context = context
        self.takes_arrays = takes_arrays
        self.skips_imported = skips_imported
        self.movement = movement
        self.binaries = BinaryFiles(context.store, movement.flow, context.reporter)
        self.recent = RecentObjects()
        self.large = anyio.Event()
        self.rejections = SourceRejections()
        self.unreadable: list[InventoryItem] = []

    async def update(self, change: Callable[[Movement], Movement]) -> None:
        """Change movement.json. LeaseLostError when another attempt has begun: this one was presumed dead."""

        def fenced(now: Movement) -> Movement:
            if now.settled or now.attempts != self.movement.attempts:
                raise LeaseLostError(
                    f"Movement {now.number} of Flow {now.flow!r} has settled, or another process exports it now; "
                    "this one gives way."
                )
            return change(now)

        before = self.movement
        self.movement = await self.context.flows.update(before.flow, before.number, fenced, before)

    def reject(self, schema: StreamSchema, key: Key, why: RowRejection) -> None:
        """Note a record that the source cannot give."""
        rejection = SourceRejection(schema.stream, key_text(key), why.reason, why.column)
        self.rejections = self.rejections.with_one(rejection)
        self.context.reporter.report(SourceRecordRejected(schema.label, rejection))

    def note_unreadable(self, stream: StreamName, error: UnreadableError) -> None:
        """Note a stream that the source cannot read."""
        self.unreadable.append(InventoryItem(error.kind, stream, Fate.NOT_MOVED, str(error)))
        self.context.reporter.report(StreamUnreadable(stream, str(error)))

    async def announce(self, label: Label, file_list: ObjectKey, grown_from: int | None = None) -> None:
        """Announce a File List to importers; with `grown_from`, only its part from that position on is new."""
        flow, number, trace = self.movement.flow, self.movement.number, self.context.tracer.traceparent
        message = GroupCompleted(flow, number, label, file_list, grown_from=grown_from, traceparent=trace)
        await self.context.queue.send([encode_message(message)])

    async def listed(self, label: Label) -> Sequence[FileEntry]:
        """Return the entries of the current File List of a group."""
        known = self.movement.file_lists.get(label)
        return [] if known is None else await self.context.flows.read_file_list(known)

    async def carried(self, stream: StreamName) -> StoredFiles:
        """Return the listed files of a stream whose export earlier Movements did not end. Its state lacks them."""
        since, movement = self.movement.unfinished.get(stream), self.movement
        if since is None or since == movement.number:
            return []
        listed = [entry for label in movement.file_lists for entry in await self.listed(label)]
        carried: list[tuple[Header, FileEntry]] = []
        for entry in listed:
            if entry.id.stream == stream and since <= entry.id.movement < movement.number:
                carried.append(await read_stored(self.context.store, entry.key))
                self._report_reading()
        return carried

    async def adopted(self, stream: StreamName) -> StoredFiles:
        """Return what earlier attempts of this Movement have stored of a stream."""
        if self.movement.attempts == 1:
            return []
        movement = self.movement
        return await read_all_stored(self.context.store, movement.flow, movement.number, stream, self._report_reading)

    def _report_reading(self) -> None:
        """Report that a stored Event File was read: many of them take longer than a Movement may be idle."""
        self.context.reporter.report(BytesMoved(0))

    def state(self, stream: StreamName, *chunks: StoredFiles) -> SnapshotState:
        """Return the stored state of a stream, overlaid by that of these chunks."""
        headers = tuple(header for files in chunks for header, _ in files)
        base = self.movement.states.get(stream)
        return SnapshotState(self.context.store, self.movement.flow, stream, base, headers, self.recent)
