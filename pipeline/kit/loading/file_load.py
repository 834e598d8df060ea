"""Applying the records of one stream through its handler: batches by key, or single objects side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anyio

from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import Phase
from pipeline.kit.calls import TRIES
from pipeline.kit.declared import Delivery, Handler
from pipeline.kit.ledger.kept import Kept
from pipeline.kit.loading.context import Contexts
from pipeline.kit.loading.creating import Creator
from pipeline.kit.loading.outcomes import Lane, RejectedError, attempt
from pipeline.kit.loading.records import Invalid, Records
from pipeline.kit.values import Batch, Delete, Upsert

CREATED_AT_ONCE = 16
"""Objects that are created side by side. The records of one key keep their order."""


class StreamLoad:
    """Applies records of one stream in the course of one Movement."""

    def __init__(self, handler: Handler, target: Any, kept: Kept, stream: str, contexts: Contexts, lane: Lane) -> None:
        self._handler, self._target, self._contexts, self._lane = handler, target, contexts, lane
        self._stream = stream
        self._creator = Creator(handler, target, kept, stream, lane)
        self._tries, self._batch = TRIES, handler.batch

    async def apply(self, records: Records) -> Mapping[int, RejectedError]:
        """Apply records in order; return why some are rejected, by their positions. RefusedError: the file has failed."""
        rejected: dict[int, RejectedError] = {}
        valid: Sequence[int] = range(len(records.values))
        if not records.plain:
            found = [(at, value) for at, value in enumerate(records.values) if isinstance(value, Invalid)]
            rejected = {at: RejectedError(value.reason, value.column) for at, value in found}
            valid = [at for at in valid if at not in rejected]
        if self._handler.delivery in (Delivery.KEYED, Delivery.TRANSACTION):
            for start in range(0, len(valid), self._batch):
                await self._apply_batch(records, valid[start : start + self._batch], rejected)
        else:
            await self._apply_singly(records, valid, rejected)
        return rejected

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
        try:
            await attempt(
                lambda: self._handler.function(self._target, batch, context),
                self._handler.function,
                f"applying to {self._stream!r}",
                self._lane,
                tries=self._tries,
            )
        except RejectedError as error:
            await self._note_rejected(records, places, rejected, error)
            return
        if batch.refused:
            by_record = {id(record): at for at, record in zip(places, batch.records, strict=True)}
            rejected |= {by_record[record]: RejectedError(*refused) for record, refused in batch.refused.items()}

    async def _note_rejected(
        self, records: Records, places: Sequence[int], rejected: dict[int, RejectedError], error: RejectedError
    ) -> None:
        if len(places) == 1:
            rejected[places[0]] = error
            return
        for at in places:
            await self._apply_batch(records, [at], rejected)

    async def _apply_singly(self, records: Records, places: Sequence[int], rejected: dict[int, RejectedError]) -> None:
        room = anyio.Semaphore(CREATED_AT_ONCE)
        busy: dict[object, anyio.Event] = {}

        async def apply(at: int, value: Upsert[Any] | Delete, done: anyio.Event) -> None:
            try:
                file = records.file(at)
                context = self._contexts.context(file, value.line)
                await self._creator.apply(value, context, is_new=file.phase is Phase.FULL)
            except RejectedError as error:
                rejected[at] = error
            finally:
                room.release()
                if busy.get(value.key) is done:
                    del busy[value.key]
                done.set()

        with unwrap_exception_group():
            async with anyio.create_task_group() as group:
                for at in places:
                    value = records.values[at]
                    assert not isinstance(value, Invalid)
                    while (before := busy.get(value.key)) is not None:
                        await before.wait()
                    await room.acquire()
                    done = busy[value.key] = anyio.Event()
                    group.start_soon(apply, at, value, done, name=f"record {at}")
