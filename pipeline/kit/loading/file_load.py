"""Applying the records of one stream through its handler: batches by key, or single objects side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import anyio
from blake3 import blake3

from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.kit.calls import TRIES
from pipeline.kit.declared import Delivery, Handler
from pipeline.kit.loading.context import Contexts
from pipeline.kit.loading.creating import Creator, RecordVersion
from pipeline.kit.loading.outcomes import CREATED_AT_ONCE, Lane, RejectedError, attempt, ensure_nothing, refused_records
from pipeline.kit.loading.records import Invalid, Records
from pipeline.kit.values import Batch, Upsert

UNDER_WAY = 256
"""Records of a stream that are under way at a time: most of these wait for their new ids to be stored."""


CONTENT_BYTES = 16
"""Bytes of the digest of a record's line: two lines that differ do not share it."""


_Single = tuple[int, RecordVersion]
"""The position of a record, and the record."""


class StreamLoad:
    """Applies records of one stream in the course of one Movement."""

    def __init__(self, handler: Handler, target: Any, stream: str, contexts: Contexts, lane: Lane) -> None:
        self._handler, self._target, self._contexts, self._lane = handler, target, contexts, lane
        self._stream = stream
        self._creator = Creator(handler, target, contexts.ids, stream, lane)
        self._tries, self._batch = TRIES, handler.batch
        self._under_way = anyio.Semaphore(UNDER_WAY)
        self._busy: dict[object, anyio.Event] = {}

    @property
    def is_single(self) -> bool:
        """Whether records are applied one by one, side by side."""
        return self._handler.delivery not in (Delivery.KEYED, Delivery.TRANSACTION)

    async def apply(self, records: Records, all_begun: anyio.Event | None = None) -> Mapping[int, RejectedError]:
        """Apply records in order; return why some are rejected, by their positions. RefusedError: the file has failed.

        Once `all_begun` is set, records that follow these may be applied by another call.
        """
        rejected: dict[int, RejectedError] = {}
        valid: Sequence[int] = range(len(records.values))
        if not records.plain:
            found = [(at, value) for at, value in enumerate(records.values) if isinstance(value, Invalid)]
            rejected = {at: RejectedError(value.reason, value.column) for at, value in found}
            valid = [at for at in valid if at not in rejected]
        if self.is_single:
            await self._apply_singly(records, valid, rejected, all_begun)
            return rejected
        for places in self._batches(records, valid):
            await self._apply_batch(records, places, rejected)
        return rejected

    def _batches(self, records: Records, places: Sequence[int]) -> Iterator[Sequence[int]]:
        """Yield the positions of the records that are applied together."""
        for start in range(0, len(places), self._batch):
            yield places[start : start + self._batch]

    async def _apply_batch(self, records: Records, places: Sequence[int], rejected: dict[int, RejectedError]) -> None:
        """Apply a batch; if the handler rejects it as a whole, apply each of its records alone."""
        context = self._contexts.context(records.file(places[0]), records.values[places[0]].line)
        first, last = places[0], places[-1]
        chosen = (
            records.values[first : last + 1]
            if last - first + 1 == len(places)
            else [records.values[at] for at in places]
        )
        batch: Batch[Any] = Batch(chosen)  # type: ignore[arg-type]  # none of them is Invalid

        async def work(failures: int) -> None:
            batch.refused.clear()  # what an attempt that failed has refused, the next one may accept
            ensure_nothing(
                await self._handler.function(self._target, batch, context.after(failures)), self._handler.function
            )

        try:
            await attempt(
                work,
                self._handler.function,
                f"applying to {self._stream!r}",
                self._lane,
                tries=self._tries,
            )
        except RejectedError as error:
            await self._note_rejected(records, places, rejected, error)
            return
        if batch.refused:
            by_record = {id(record): at for at, record in zip(places, chosen, strict=True)}
            refused = refused_records(batch, self._handler.function)
            rejected |= {by_record[record]: error for record, error in refused.items() if record in by_record}

    async def _note_rejected(
        self, records: Records, places: Sequence[int], rejected: dict[int, RejectedError], error: RejectedError
    ) -> None:
        if len(places) == 1:
            rejected[places[0]] = error
            return
        for at in places:
            await self._apply_batch(records, [at], rejected)

    async def _apply_singly(
        self,
        records: Records,
        places: Sequence[int],
        rejected: dict[int, RejectedError],
        all_begun: anyio.Event | None,
    ) -> None:
        work = [self._single(records, at) for at in places]
        upserts = [version for _, version in work if isinstance(version.record, Upsert)]
        async with self._creator.intending(upserts) as intended:
            await self._apply_side_by_side(work, intended, rejected, all_begun)

    def _single(self, records: Records, at: int) -> _Single:
        value = records.values[at]
        assert not isinstance(value, Invalid)
        is_compared = self._handler.update is None and isinstance(value, Upsert)
        content = blake3(records.lines[at]).hexdigest(length=CONTENT_BYTES) if is_compared else ""
        return at, RecordVersion(value, self._contexts.context(records.file(at), value.line), content)

    async def _apply_side_by_side(
        self,
        work: Sequence[_Single],
        intended: set[str],
        rejected: dict[int, RejectedError],
        all_begun: anyio.Event | None,
    ) -> None:
        room, busy = self._under_way, self._busy

        async def apply(single: _Single, done: anyio.Event, *, at_once: bool) -> None:
            at, version = single
            key = version.record.key
            try:
                with _noted(rejected, at):
                    await self._creator.apply(version, intended, at_once=at_once)
            finally:
                room.release()
                if busy.get(key) is done:
                    del busy[key]
                done.set()

        last = len(work) - CREATED_AT_ONCE
        with unwrap_exception_group():
            async with anyio.create_task_group() as group:
                for number, single in enumerate(work):
                    at, version = single
                    key = version.record.key
                    while (before := busy.get(key)) is not None:
                        await before.wait()
                    await room.acquire()
                    done = busy[key] = anyio.Event()
                    task = partial(apply, single, done, at_once=number >= last)
                    group.start_soon(task, name=f"record {at}")
                if all_begun is not None:
                    all_begun.set()


@contextmanager
def _noted(rejected: dict[int, RejectedError], at: int) -> Iterator[None]:
    try:
        yield
    except RejectedError as error:
        rejected[at] = error
