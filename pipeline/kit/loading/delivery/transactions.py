"""Loading an Event File in a transaction of the author's: its records and its mark together, or neither.

A record that the app does not accept may have broken the transaction. So it is rolled back, and begun again without it.
Records that wait for an id are found together, in one transaction, and do not cost one each. Where many records are not
accepted, a file is committed in parts, each with a mark that says how far it goes: what is applied again is then short.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import anyio
import msgspec

from pipeline.domain.errors import PipelineError, RefusedError, TransientError
from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import EventFileId
from pipeline.kit.authors_line import line_of
from pipeline.kit.calls import (
    FAILURES,
    FIRST_PAUSE_SECONDS,
    LONGEST_WAIT_SECONDS,
    TRIES,
    cancellations_as_errors,
    shown,
)
from pipeline.kit.configuration.secret import without_secrets
from pipeline.kit.declared import TransactionFunctions
from pipeline.kit.errors import Again, Stop
from pipeline.kit.ledger.id_map import Held
from pipeline.kit.ledger.kept import KeptMark, KeptRetry
from pipeline.kit.loading.file_load import StreamLoad
from pipeline.kit.loading.outcomes import RejectedError
from pipeline.kit.loading.records import Records

Place = tuple[EventFileId, int]
"""The Event File of a record, and its line there."""


_RETRIED = "again "
"""What stands in the names of the marks of rejected records that were applied again, behind a file's name."""
MOST_REFUSED = 8
"""If more records of a part than this are refused, it is made shorter. Each costs up to two passes of the part."""
SHORTEST_PART = 32
"""Records that are committed together however many of them are refused."""


class BrokenError(Exception):
    """The app has rejected a batch, or a record of a batch of one."""


class TooManyRefusedError(Exception):
    """More than `MOST_REFUSED` records of a transaction are refused."""


class TransactionLoad(StreamLoad):
    """Applies records in a transaction. What is rejected as a whole may have broken it, so it must be rolled back.

    `refused` are the places of records that are left out from the next time on, `suspects` those of records that are then
    applied one by one, since their batch was rejected.
    """

    refused: dict[Place, RejectedError]
    suspects: set[Place]
    held: Held
    is_broken: bool

    def begin(self, refused: dict[Place, RejectedError], suspects: set[Place], failures: int) -> None:
        """Begin a transaction, after this number of failed ones. The ids that its handlers put are `held`."""
        self.refused, self.suspects, self._tries, self.held, self.is_broken = refused, suspects, 1, {}, False
        self._contexts.opened.clear()
        self._contexts = replace(self._contexts, held=self.held, attempt=self._contexts.attempt + failures)

    def check(self) -> None:
        """BrokenError when the transaction must be rolled back."""
        if self.is_broken:
            raise BrokenError

    async def apply(self, records: Records, all_begun: anyio.Event | None = None) -> Mapping[int, RejectedError]:
        """Apply records in order; return why some are rejected, by their positions."""
        left_out = {
            at: self.refused[place]
            for at in range(len(records.values) if self.refused else 0)
            if (place := _place(records, at)) in self.refused
        }
        places = [at for at in range(len(records.values)) if at not in left_out]
        rejected = await super().apply(records.chosen(places), all_begun)
        return left_out | {places[at]: error for at, error in rejected.items()}

    def _batches(self, records: Records, places: Sequence[int]) -> Iterator[Sequence[int]]:
        if not self.suspects:
            yield from super()._batches(records, places)
            return
        for is_suspect, run in groupby(places, lambda at: _place(records, at) in self.suspects):
            some = list(run)
            yield from ([at] for at in some) if is_suspect else super()._batches(records, some)

    async def _note_rejected(
        self, records: Records, places: Sequence[int], rejected: dict[int, RejectedError], error: RejectedError
    ) -> None:
        if self.is_broken and error.needs is None:
            raise BrokenError  # what a record that waits has left may be the reason, so it is asked again without that
        found = [_place(records, at) for at in places]
        if len(found) == 1:
            self.refused[found[0]] = error
        else:
            self.suspects.update(found)
        self.is_broken = True
        if error.needs is None:
            raise BrokenError
        # The id map has said it, not the app. So the app may still take records, and all others that wait are found at once.


def _place(records: Records, at: int) -> Place:
    return records.file(at), records.values[at].line


@dataclass(frozen=True, slots=True)
class Transactions:
    """The author's transactions on `target`. `namespace` tells the marks of this Flow from those of others.

    `room` lets one transaction be open at a time: `target` may be a connection, which has no more than one.
    """

    functions: TransactionFunctions
    target: Any
    namespace: str
    room: anyio.Semaphore

    async def marks(self, transaction: Any) -> tuple[Mapping[EventFileId, KeptMark], Mapping[EventFileId, KeptMark]]:
        """Return the marks of this Flow at the app, and of each file that was committed in parts that of its last one."""
        read = self.functions.read_marks
        assert read is not None  # checked before anything is moved
        prefix, whole, begun = f"{self.namespace} ", dict[EventFileId, KeptMark](), dict[EventFileId, KeptMark]()
        for name, data in (await read(transaction)).items():
            if not name.startswith(prefix):
                continue
            file, _, part = name.removeprefix(prefix).partition(" ")
            if part.startswith(_RETRIED):
                continue
            id_, mark = EventFileId.parse(file), msgspec.json.decode(data, type=KeptMark)
            if not part:
                whole[id_] = mark
            elif id_ not in begun or begun[id_].done < mark.done:
                begun[id_] = mark
        return whole, begun

    async def write_mark(self, transaction: Any, file: EventFileId, mark: KeptMark) -> None:
        """Write a mark. That of a part has a name of its own: an app need not replace marks."""
        write = self.functions.write_mark
        assert write is not None
        part = f" {mark.done}" if mark.done else ""
        await write(transaction, f"{self.namespace} {file}{part}", msgspec.json.encode(mark))

    async def retried(self, transaction: Any) -> Mapping[str, str]:
        """Return the names of rejected records of this Flow that were applied again, each with that of its ids."""
        read = self.functions.read_marks
        assert read is not None
        found = dict[str, str]()
        for name, data in (await read(transaction)).items():
            if name.startswith(f"{self.namespace} ") and f" {_RETRIED}" in name.removeprefix(f"{self.namespace} "):
                mark = msgspec.json.decode(data, type=KeptRetry)
                found |= dict.fromkeys(mark.records, mark.ids)
        return found

    async def write_retried(self, transaction: Any, file: EventFileId, mark: KeptRetry) -> None:
        """Write the mark of records that were applied again, the first of them of this file."""
        write = self.functions.write_mark
        assert write is not None
        name = f"{self.namespace} {file} {_RETRIED}{mark.records[0]}"
        await write(transaction, name, msgspec.json.encode(mark))

    async def run(
        self,
        make: Callable[[Any], TransactionLoad],
        work: Callable[[Any, TransactionLoad], Awaitable[None]],
        *,
        may_be_many: bool = True,
    ) -> None:
        """Run `work` in a transaction, which commits at its end. After rejections it is run again, without those records.

        RefusedError when the author's functions fail `TRIES` times, or raise `Stop`. TooManyRefusedError, with nothing
        committed, when more than `MOST_REFUSED` records are refused, and it is not said that they `may_be_many`.
        """
        refused, suspects = dict[Place, RejectedError](), set[Place]()
        failures, function = 0, self.functions.function
        while True:
            load: TransactionLoad | None = None
            try:
                with unwrap_exception_group(), cancellations_as_errors():  # the transaction may have a task group
                    async with self.room, self._opened() as transaction:
                        load = make(transaction)
                        load.begin(refused, suspects, failures)
                        await work(transaction, load)
                return
            except BrokenError:
                if not may_be_many and sum(error.needs is None for error in refused.values()) > MOST_REFUSED:
                    raise TooManyRefusedError from None
            except Again as error:
                await anyio.sleep(min(max(error.after, 0.0), LONGEST_WAIT_SECONDS))
            except Stop as error:
                reason = without_secrets(error.reason)
                raise RefusedError(f"a transaction has stopped: {reason} ({line_of(function)})") from error
            except FAILURES as error:
                if load is not None and load.is_broken:
                    continue  # it was to be rolled back anyway, and more is known now
                failures += 1
                may_pass = isinstance(error, RefusedError | TransientError) and not isinstance(error.__cause__, Stop)
                if isinstance(error, PipelineError) and (failures == TRIES or not may_pass):
                    raise
                if failures == TRIES:
                    raise RefusedError(f"a transaction failed {TRIES} times: {shown(error, function)}.") from error
                await anyio.sleep(FIRST_PAUSE_SECONDS * 2 ** (failures - 1))

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Any]:
        """Open a transaction; an error ends it, and is raised even if the author's function swallows it."""
        ended: BaseException | None = None
        async with asynccontextmanager(self.functions.function)(self.target) as transaction:
            try:
                yield transaction
            except BaseException as error:
                ended = error
                raise
        if ended is not None:
            raise ended
