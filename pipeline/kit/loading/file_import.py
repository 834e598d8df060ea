"""The import of one Event File through a handler, in the way of its delivery level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio

from pipeline.domain.errors import RefusedError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import EventFileId
from pipeline.domain.planning.import_guard import reason_to_give_way
from pipeline.kit.authors_line import line_of
from pipeline.kit.declared import Handler
from pipeline.kit.ledger.kept import KeptMark, KeptStream
from pipeline.kit.loading.context import Contexts
from pipeline.kit.loading.delivery.staging import Stager, StageRejectedError
from pipeline.kit.loading.delivery.transactions import TransactionLoad, Transactions
from pipeline.kit.loading.file_load import StreamLoad
from pipeline.kit.loading.outcomes import Lane, RejectedError
from pipeline.kit.loading.records import RecordReader, Records
from pipeline.kit.loading.rejected import RejectedRecords
from pipeline.kit.values import Delete
from pipeline.ports.destination import FileToLoad, Rejection

PARTS_AT_ONCE = 2
"""Parts of a file of which single records are under way: while the last ones of a part are, the next one begins."""
FIRST_LINE = 2
"""The line of the first record: the header is line 1."""


@dataclass(slots=True)
class Tally:
    """What became of the records of a file. `rejections` are those of the `rejected` that do not wait for an id.

    `ids` names the ids that were put in its transaction.
    """

    accepted: int = 0
    deletes: int = 0
    rejected: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    ids: str = ""


@dataclass(frozen=True, slots=True)
class FileImport:
    """Imports the records of a file, all of which are in `blocks`, into `target`."""

    handler: Handler
    target: Any
    file: FileToLoad
    blocks: Sequence[bytes]
    reader: RecordReader
    contexts: Contexts
    rejected: RejectedRecords
    lane: Lane

    @property
    def _stream(self) -> str:
        return self.file.entry.id.stream

    def _parts(self) -> Iterator[Records]:
        line = FIRST_LINE
        for block in self.blocks:
            for records in self.reader.read(block, line, self.file.entry.id):
                yield records
                line += len(records.values)

    def mark(self, tally: Tally) -> KeptMark:
        """Return the mark of the file."""
        upserts, movement, binaries = tally.accepted - tally.deletes, self.file.movement, len(self.contexts.opened)
        return KeptMark(upserts, tally.deletes, tally.rejected, binaries, movement, ids=tally.ids)

    async def apply(self) -> Tally:
        """Apply the records: again after a crash, which is harmless."""
        load = StreamLoad(self.handler, self.target, self._stream, self.contexts, self.lane)
        return await self._apply(load)

    async def _apply(self, load: StreamLoad) -> Tally:
        tally = Tally()
        if not load.is_single:
            for records in self._parts():
                await self._note(records, await load.apply(records), tally)
            return tally
        room, before = anyio.Semaphore(PARTS_AT_ONCE), anyio.Event()
        before.set()
        with unwrap_exception_group():
            async with anyio.create_task_group() as group:
                for records in self._parts():
                    await room.acquire()
                    all_begun, done = anyio.Event(), anyio.Event()
                    group.start_soon(self._apply_beside_others, load, records, tally, (all_begun, before, done), room)
                    await all_begun.wait()
                    before = done
        return tally

    async def _apply_beside_others(
        self,
        load: StreamLoad,
        records: Records,
        tally: Tally,
        events: tuple[anyio.Event, anyio.Event, anyio.Event],
        room: anyio.Semaphore,
    ) -> None:
        """Apply a part. Once all of its records are begun, the next part may be; what is rejected is kept in order."""
        all_begun, before, done = events
        try:
            rejected = await load.apply(records, all_begun)
            await before.wait()
            await self._note(records, rejected, tally)
        finally:
            all_begun.set()
            done.set()
            room.release()

    async def _note(self, records: Records, rejected: Mapping[int, RejectedError], tally: Tally) -> None:
        """Keep what is rejected, and count."""
        tally.rejections += await self.rejected.keep(records, rejected, KeptStream.of(self.file.header.schema))
        tally.accepted += len(records.values) - len(rejected)
        tally.rejected += len(rejected)
        if not records.plain:
            values = enumerate(records.values)
            tally.deletes += sum(isinstance(value, Delete) for at, value in values if at not in rejected)

    async def stage(self) -> Tally:
        """Stage all records under the id of the file, then publish them. RefusedError when the app refuses all of it.

        If a record waits for an id, the others are staged without it.
        """
        parts, id_ = list(self._parts()), self.file.entry.id
        stager = Stager(self.handler, self.target, self._stream, self.lane)
        try:
            rejected = await stager.stage(parts, str(id_), self.contexts.context(id_, FIRST_LINE))
        except StageRejectedError as error:
            if error.needs is not None:
                rejected = [await stager.stage_again(records, self.contexts) for records in parts]
                return await self._staged(parts, rejected)
            where = line_of(error.function)
            raise RefusedError(f"{error.what} was refused: {error.reason} ({where})") from error
        return await self._staged(parts, rejected)

    async def _staged(self, parts: Sequence[Records], rejected: Sequence[Mapping[int, RejectedError]]) -> Tally:
        tally = Tally()
        for records, why in zip(parts, rejected, strict=True):
            await self._note(records, why, tally)
        return tally

    async def load_in(self, transactions: Transactions, after: Sequence[EventFileId]) -> Tally | KeptMark | str:
        """Apply the records and write the mark in one transaction.

        Return the mark that the app has already, or the reason to give way, with nothing changed.
        """
        id_, found = self.file.entry.id, list[Tally | KeptMark | str]()

        def make(transaction: Any) -> TransactionLoad:
            return TransactionLoad(self.handler, transaction, self._stream, self.contexts, self.lane)

        async def work(transaction: Any, load: TransactionLoad) -> None:
            found.clear()
            marks = await transactions.marks(transaction)
            latest = max((mark.movement for file, mark in marks.items() if file.stream == id_.stream), default=0)
            before = [file for file in after if file in marks]  # those of other handlers are checked by the caller
            reason = reason_to_give_way(id_, self.file.movement, before, marked=marks, latest_movement=latest)
            if reason is not None:
                found.append(marks.get(id_, reason))
                return
            tally = await self._apply(load)
            load.check()
            await self.contexts.telling.store()
            tally.ids = await self.contexts.ids.hold(load.held)
            await transactions.write_mark(transaction, id_, self.mark(tally))
            found.append(tally)

        await transactions.run(make, work)
        return found[0]
