"""An Importer as a Destination. Its marks are in the object store, written after the records: at-least-once.

Records apply by key, or with an intent, so that applying them again is harmless. Nothing of a file is applied before all
of it is verified, so a file is held in memory while it is loaded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Container, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import anyio
import msgspec

from pipeline.domain.errors import ConfigurationError, DefectError, PipelineError, RefusedError
from pipeline.domain.flows.findings import CheckFinding
from pipeline.domain.ids import EventFileId, FlowName, StreamName
from pipeline.domain.inventory import InventoryItem
from pipeline.domain.planning.import_guard import fenced_reason, reason_to_give_way
from pipeline.domain.schema import StreamSchema
from pipeline.kit.calls import find_all, open_client
from pipeline.kit.declared import Delivery, Handler
from pipeline.kit.errors import Stop
from pipeline.kit.importer import Importer
from pipeline.kit.ledger.id_map import StoredIds
from pipeline.kit.ledger.kept import Kept, KeptMark, KeptRejection, KeptStream, as_mark
from pipeline.kit.ledger.people_log import PeopleLog
from pipeline.kit.loading.context import Contexts, not_open
from pipeline.kit.loading.delivery.retries import apply_again
from pipeline.kit.loading.delivery.staging import Stager
from pipeline.kit.loading.delivery.transactions import SHORTEST_PART, TooManyRefusedError, TransactionLoad, Transactions
from pipeline.kit.loading.file_import import FileImport
from pipeline.kit.loading.file_load import StreamLoad
from pipeline.kit.loading.levels import check_complete, check_levels
from pipeline.kit.loading.outcomes import Lane, RejectedError
from pipeline.kit.loading.records import RecordReader, Records
from pipeline.kit.loading.rejected import RejectedRecords
from pipeline.kit.loading.streams import HandledStreams, column_problems
from pipeline.kit.values import Delete
from pipeline.log_events import log
from pipeline.ports.destination import (
    Choose,
    FileToLoad,
    GaveWay,
    KeptRecord,
    Loaded,
    LoadOutcome,
    Mark,
    OpenBinary,
    Rejection,
    Violation,
)
from pipeline.ports.object_store import ObjectStore

STORING_SECONDS = 10.0
"""What a handler has told before it failed, or was cancelled, is stored within this time."""


class ImporterDestination:
    """The app that an Importer loads, with the author's `settings`.

    `requires` are the settings of the Flow that hold the delivery level which it needs; None where any will do.
    """

    def __init__(
        self,
        location: str,
        importer: Importer,
        settings: object | None,
        store: ObjectStore | None = None,
        *,
        requires: Mapping[str, str] | None = None,
        accepted: Container[str] = (),
    ) -> None:
        self.location = location
        self.importer = importer
        self.settings = settings
        self._store = store
        self._requires = requires
        self._accepted = accepted

    def in_store(self, store: ObjectStore) -> ImporterDestination:
        """Return the same destination with the store that keeps its marks."""
        return self._with(store, self._accepted)

    def accepting(self, ids: Container[str]) -> ImporterDestination:
        """Return the same destination; what its checks of these ids find does not keep it from being opened."""
        return self._with(self._store, ids)

    def _with(self, store: ObjectStore | None, accepted: Container[str]) -> ImporterDestination:
        return ImporterDestination(
            self.location, self.importer, self.settings, store, requires=self._requires, accepted=accepted
        )

    @property
    def check_titles(self) -> Mapping[str, str]:
        """The titles of the author's checks, by id."""
        return {check.id: check.title for check in self.importer.connection.checks.values()}

    async def app_findings(self) -> Sequence[CheckFinding]:
        """Open the app, and return what its checks find."""
        return await find_all(self.importer.connection, self.settings, self.location)

    def schema_problems(self, schemas: Sequence[StreamSchema]) -> Sequence[str]:
        """Return the streams that lack what the rows of their handlers need, a sentence each."""
        return column_problems(self.importer, schemas)

    async def read_marks(self, flow: FlowName, *, wait_seconds: float) -> Mapping[EventFileId, Mark]:
        """Return the marks of the Flow. The app is not asked."""
        return {file: as_mark(mark) for file, mark in (await self._kept(flow).marks()).items()}

    async def fence_flow(self, flow: FlowName, movement: int) -> Mapping[EventFileId, Mark]:
        """Fence the Flow, and return its marks. The app is not asked: a process that stands still may keep it locked."""
        await self._kept(flow).fence(movement)
        return {file: as_mark(mark) for file, mark in (await self._kept(flow).marks()).items()}

    def _kept(self, flow: FlowName) -> Kept:
        if self._store is None:
            raise DefectError("an Importer was opened without the store that keeps its marks")
        return Kept(self._store, flow)

    @asynccontextmanager
    async def open(self, flow: FlowName) -> AsyncIterator[ImporterSession]:
        """Open the app, and read what is kept for it. ConfigurationError when a handler lacks what it needs."""
        check_complete(self.importer)
        if self._requires is not None:
            check_levels(self.importer, self._requires)
        kept = self._kept(flow)
        async with open_client(self.importer.connection, self.settings, self.location, self._accepted) as target:
            session = ImporterSession(self.importer, target, kept, flow)
            try:
                await session.refresh()
                yield session
            finally:
                session.close()


class ImporterSession:
    """The open app: a DestinationSession, a StreamPlanner, and a SchemaKeeper, which names what no handler takes."""

    def __init__(self, importer: Importer, target: Any, kept: Kept, namespace: FlowName) -> None:
        self._importer, self._target, self._kept, self._namespace = importer, target, kept, namespace
        self._marks: dict[EventFileId, KeptMark] = {}
        self._rejected = RejectedRecords(kept)
        self._ids = StoredIds(kept)
        self._streams = HandledStreams(importer)
        self._lanes: dict[StreamName, Lane] = {}
        self._one_transaction = anyio.Semaphore(1)
        self._open_binary: OpenBinary = not_open
        self._attempts: dict[EventFileId, int] = {}
        self._stopped: set[StreamName] = set()  # a session is open for one Movement at most

    def open_contents_by(self, open_binary: OpenBinary) -> None:
        self._open_binary = open_binary

    async def refresh(self) -> None:
        """Read marks and rejected records."""
        self._marks = dict(await self._kept.marks())
        await self._rejected.refresh()

    def close(self) -> None:
        """Free what it has on disk."""
        self._rejected.close()
        self._ids.close()

    async def marks(self) -> Mapping[EventFileId, Mark]:
        self._marks = dict(await self._kept.marks())
        return {file: as_mark(mark) for file, mark in self._marks.items() if self._counts(file, mark)}

    def _counts(self, file: EventFileId, mark: KeptMark) -> bool:
        """Whether a file need not be imported: a skipped one must be as soon as its stream has a handler."""
        return not mark.skipped or self._importer.handler_of(file.stream) is None

    async def load(self, file: FileToLoad, *, after: Sequence[EventFileId]) -> LoadOutcome:
        if (reason := await self._reason_to_give_way(file, after)) is not None:
            return GaveWay(reason)
        id_ = file.entry.id
        handler = self._importer.handler_of(id_.stream)
        if handler is None:
            async for _ in file.blocks:
                pass  # it is verified, so that a damaged file is not skipped
            records = file.entry.upserts + file.entry.deletes
            return await self._mark(file, KeptMark(0, 0, 0, 0, file.movement, skipped=True, records=records), ())
        self._attempts[id_] = self._attempts.get(id_, 0) + 1
        blocks = [block async for block in file.blocks]  # verified as a whole: what is created cannot be undone
        reader = RecordReader(handler, file.header.schema)
        self._open_binary = file.open_binary
        contexts = replace(
            self._contexts(file.movement, self._attempts[id_]),
            original_movement=file.original_movement or None,
            is_stopping=file.stopping,
            note_busy=file.note_busy,
            opened=file.opened,
        )
        if handler.creates:
            await self._ids.refresh()  # another worker may have begun this file
        lane = self._lane(id_.stream)
        importing = FileImport(handler, self._target, file, blocks, reader, contexts, self._rejected, lane)
        try:
            loaded = await self._import(importing, after)
        except PipelineError as error:
            if isinstance(error.__cause__, Stop):
                self._stopped.add(id_.stream)
            raise
        finally:  # a file that fails, or whose transaction is rolled back, has been told of as well
            with anyio.move_on_after(STORING_SECONDS, shield=True):
                await contexts.people_log.store()
        return replace(loaded, skipped_columns=reader.skipped_columns) if isinstance(loaded, Loaded) else loaded

    async def _import(self, importing: FileImport, after: Sequence[EventFileId]) -> LoadOutcome:
        match importing.handler.delivery:
            case Delivery.TRANSACTION:
                found = await importing.load_in(self._transactions(), after)
            case Delivery.STAGED:
                found = await importing.stage()
            case _:
                found = await importing.apply()
        await importing.contexts.people_log.store()
        if isinstance(found, str):
            return GaveWay(found)
        if found.ids:
            await self._ids.release(found.ids)
        if isinstance(found, KeptMark):
            return await self._mark(importing.file, found, ())
        return await self._mark(importing.file, importing.mark(found), found.rejections)

    def _transactions(self) -> Transactions:
        functions = self._importer.transactions
        assert functions is not None  # checked when the Flow is made
        return Transactions(functions, self._target, self._namespace, self._one_transaction)

    def _contexts(self, movement: int, attempt: int) -> Contexts:
        flow = FlowName(self._namespace.rpartition(" ")[0])
        people_log = PeopleLog(self._kept.store, flow, self._importer.name, movement)
        created = sorted(stream for stream, handler in self._importer.handlers.items() if handler.creates)
        return Contexts(self._ids, self._namespace, movement, attempt, self._open_binary, people_log, created=created)

    def _lane(self, stream: StreamName) -> Lane:
        return self._lanes.setdefault(stream, Lane())

    async def _reason_to_give_way(self, file: FileToLoad, after: Sequence[EventFileId]) -> str | None:
        id_ = file.entry.id
        if any(before not in self._marks for before in after):
            self._marks = dict(await self._kept.marks())
        marked = {it for it, mark in self._marks.items() if self._counts(it, mark)}
        latest = max((mark.movement for it, mark in self._marks.items() if it.stream == id_.stream), default=0)
        fenced = await self._kept.fenced()
        return reason_to_give_way(id_, file.movement, after, marked=marked, latest_movement=latest, fenced=fenced)

    async def fence(self, movement: int) -> None:
        """Let no file of this Movement be marked any more. Only the app itself could refuse what a handler has in hand."""
        await self._kept.fence(movement)

    async def _mark(self, file: FileToLoad, mark: KeptMark, rejections: Sequence[Rejection]) -> LoadOutcome:
        id_ = file.entry.id
        if 0 < file.movement <= await self._kept.fenced():
            return GaveWay(fenced_reason(file.movement))
        with file.committing():
            is_marked = await self._kept.put_mark(id_, mark, replace=id_ in self._marks)
        if not is_marked:
            return GaveWay(f"Event File {id_} is already imported")
        self._marks[id_] = mark
        return Loaded(as_mark(mark), tuple(rejections))

    async def rejected(self) -> Sequence[KeptRecord]:
        await self._rejected.refresh()
        return self._rejected.kept_records()

    async def correct_rejected(self, corrected: Sequence[KeptRecord]) -> int:
        await self._rejected.refresh()
        return await self._rejected.correct(corrected)

    async def retry_rejected(self) -> Sequence[Rejection]:
        return await self.retry_chosen(lambda rejection: True)

    async def retry_chosen(self, chosen: Choose) -> Sequence[Rejection]:
        """Apply rejected records again, and again while some succeed: others may wait for their ids.

        When those of a stream cannot be applied at all, as an Event File that fails, they stay rejected, with that
        reason, and no more of the stream is tried. Nor is a stream tried that has stopped in this session.
        """
        await self._rejected.refresh()
        if self._rejected.is_empty:
            return []
        await self.refresh()
        await self._ids.refresh()
        movement = max((mark.movement for mark in self._marks.values()), default=0)
        accepted: Counter[tuple[str, bool]] = Counter()
        ended, before, size = set(self._stopped), -1, None
        while before != accepted.total():
            before = accepted.total()
            for stream, schema, kept in self._rejected.groups():
                handler = self._importer.handler_of(stream)
                if handler is None or stream in ended:
                    continue
                ready = [one for one in kept if chosen(one.rejection()) and await self._is_ready(one, handler)]
                while ready:
                    try:
                        accepted.update(await self._retry(handler, stream, schema, ready[:size], movement))
                        ready = ready[size:] if size else []
                    except TooManyRefusedError:
                        size = SHORTEST_PART
                    except (RefusedError, ConfigurationError) as error:  # as an Event File of the stream fails alone
                        ended.add(stream)
                        log.warning("rejected_records_not_retried", stream=stream, reason=str(error))
                        await self._rejected.give_reason([one for one in ready if one.needs is not None], str(error))
                        break
        await self._count_accepted(accepted)
        return self._rejected.rejections()

    async def _retry(
        self, handler: Handler, stream: StreamName, schema: KeptStream, ready: Sequence[KeptRejection], movement: int
    ) -> Mapping[tuple[str, bool], int]:
        """Apply these rejected records; return how many are accepted, by their files and whether they are deletes."""
        lines = [(EventFileId.parse(one.file), one.line, one.record.encode()) for one in ready]
        again = RecordReader(handler, schema.schema(stream)).read_lines(lines)
        rejected = await self._apply_again(handler, stream, again, movement)
        await self._rejected.keep(again, rejected, schema)
        return Counter(
            (one.file, isinstance(again.values[at], Delete)) for at, one in enumerate(ready) if at not in rejected
        )

    async def _is_ready(self, rejected: KeptRejection, handler: Handler) -> bool:
        """Whether a rejected record may be tried again: not if its file is loaded again, or the id is not known yet."""
        if handler.delivery is Delivery.TRANSACTION and EventFileId.parse(rejected.file) not in self._marks:
            return False
        return rejected.needs is None or await self._ids.target(*rejected.needs) is not None

    async def _count_accepted(self, accepted: Mapping[tuple[str, bool], int]) -> None:
        """Let the marks count records that were accepted after they had been rejected."""
        for (name, is_delete), count in accepted.items():
            file = EventFileId.parse(name)
            mark = self._marks.get(file)
            if mark is None or not count:
                continue
            upserts, deletes = (0, count) if is_delete else (count, 0)
            self._marks[file] = msgspec.structs.replace(
                mark,
                upserts=mark.upserts + upserts,
                deletes=mark.deletes + deletes,
                rejected=max(0, mark.rejected - count),
            )
            await self._kept.put_mark(file, self._marks[file], replace=True)

    async def _apply_again(
        self, handler: Handler, stream: StreamName, records: Records, movement: int
    ) -> Mapping[int, RejectedError]:
        """Apply rejected records again; return why some are still rejected, by their positions."""
        contexts = self._contexts(movement, 1)
        try:
            return await self._apply_by(handler, stream, records, contexts)
        finally:
            with anyio.move_on_after(STORING_SECONDS, shield=True):
                await contexts.people_log.store()

    async def _apply_by(
        self, handler: Handler, stream: StreamName, records: Records, contexts: Contexts
    ) -> Mapping[int, RejectedError]:
        lane = self._lane(stream)
        if handler.delivery is Delivery.STAGED:
            return await Stager(handler, self._target, stream, lane).stage_again(records, contexts)
        if handler.delivery is not Delivery.TRANSACTION:
            return await StreamLoad(handler, self._target, stream, contexts, lane).apply(records)

        def make(transaction: Any) -> TransactionLoad:
            return TransactionLoad(handler, transaction, stream, contexts, lane)

        return await apply_again(self._transactions(), make, records, self._ids)

    async def finish(self, streams: Sequence[StreamName]) -> Sequence[Violation]:
        return []

    async def plan_streams(self, present: Sequence[StreamName], chosen: Sequence[StreamName]) -> None:
        self._streams.plan(present, chosen)

    def predecessors(self, stream: StreamName) -> Sequence[StreamName]:
        handler = self._importer.handler_of(stream)
        return handler.after if handler is not None else ()

    async def ensure_objects(self, *, rows_changed: bool) -> Sequence[InventoryItem]:
        skipped: Counter[StreamName] = Counter()
        for file, mark in self._marks.items():
            if mark.skipped and self._counts(file, mark):
                skipped[file.stream] += mark.records
        some_handled = any(not mark.skipped for mark in self._marks.values())
        return self._streams.inventory(skipped, some_handled=some_handled)
