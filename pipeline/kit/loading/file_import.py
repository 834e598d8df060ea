"""The import of one Event File through a handler, in the way of its delivery level."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
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
from pipeline.kit.loading.delivery.transactions import (
    SHORTEST_PART,
    TooManyRefusedError,
    TransactionLoad,
    Transactions,
)
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
GROWTH = 4
"""How much longer a part is than one before it, none of whose records was refused."""


@dataclass(slots=True)
class Tally:
    """What became of the records of a file. `rejections` are those of the `rejected` that do not wait for an id.

    `ids` names the ids that were put in its last transaction. `done` records are committed, if not all of them are.
    """

    accepted: int = 0
    deletes: int = 0
    rejected: int = 0
    binaries: int = 0
    done: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    ids: str = ""

    @classmethod
    def of(cls, mark: KeptMark | None) -> Tally:
        """Return that of the parts that are committed. They have none that are to be told of: those are kept."""
        if mark is None:
            return cls()
        deletes, ids, done = mark.deletes, mark.ids, mark.done
        return cls(mark.upserts + deletes, deletes, mark.rejected, mark.binaries, done, ids=ids)


@dataclass(slots=True)
class Parts:
    """The records of a file, which are decoded once if they are read in parts, and else as they are needed."""

    read: Callable[[], Iterator[Records]]
    _all: Sequence[Records] = ()

    def behind(self, done: int, size: int) -> Iterator[Records]:
        """Yield the `size` records behind the first `done` ones; with 0, all of them."""
        if not done and not size:
            yield from self.read()
            return
        self._all = self._all or list(self.read())
        first = 0
        for records in self._all:
            count = len(records.values)
            start, end = max(done - first, 0), min(done + size - first, count) if size else count
            if start < end:
                yield records.chosen(range(start, end))
            first += count


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
        upserts, binaries = tally.accepted - tally.deletes, tally.binaries + len(self.contexts.opened)
        return KeptMark(
            upserts, tally.deletes, tally.rejected, binaries, self.file.movement, ids=tally.ids, done=tally.done
        )

    async def apply(self) -> Tally:
        """Apply the records: again after a crash, which is harmless."""
        load, tally = StreamLoad(self.handler, self.target, self._stream, self.contexts, self.lane), Tally()
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
        """Apply the records and write the mark in one transaction; where many are refused, in one for each part.

        Return the mark that the app has already, or the reason to give way, with nothing changed.
        """
        parts, size = Parts(self._parts), 0
        rejections: list[Rejection] = []
        while True:
            try:
                found = await self._load_part(transactions, after, parts, size)
            except TooManyRefusedError:
                size = SHORTEST_PART
                continue
            if not isinstance(found, Tally):
                return found
            rejections += found.rejections
            if not found.done:
                found.rejections = rejections
                return found
            if found.ids:
                await self.contexts.ids.release(found.ids)
            if not found.rejections:
                size *= GROWTH

    async def _load_part(
        self, transactions: Transactions, after: Sequence[EventFileId], parts: Parts, size: int
    ) -> Tally | KeptMark | str:
        """Apply the next `size` records, or with 0 all that are left, and write a mark for them in one transaction."""
        id_, found = self.file.entry.id, list[Tally | KeptMark | str]()

        def make(transaction: Any) -> TransactionLoad:
            return TransactionLoad(self.handler, transaction, self._stream, self.contexts, self.lane)

        async def work(transaction: Any, load: TransactionLoad) -> None:
            found.clear()
            marks, begun = await transactions.marks(transaction)
            latest = max((mark.movement for file, mark in marks.items() if file.stream == id_.stream), default=0)
            before = [file for file in after if file in marks]  # those of other handlers are checked by the caller
            reason = reason_to_give_way(id_, self.file.movement, before, marked=marks, latest_movement=latest)
            if reason is not None:
                found.append(marks.get(id_, reason))
                return
            tally = Tally.of(begun.get(id_))
            if tally.ids:  # another process has committed them, and ended
                await self.contexts.ids.release(tally.ids)
            first, tally.done = tally.done, 0
            for records in parts.behind(first, size):
                await self._note(records, await load.apply(records), tally)
            if size and first + size < self.file.entry.upserts + self.file.entry.deletes:
                tally.done = first + size
            load.check()
            await self.contexts.people_log.store()
            tally.ids = await self.contexts.ids.hold(load.held)
            await transactions.write_mark(transaction, id_, self.mark(tally))
            found.append(tally)

        await transactions.run(make, work, may_be_many=size == SHORTEST_PART)
        return found[0]
