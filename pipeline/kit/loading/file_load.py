"""Applying the records of one stream through its handler: batches by key, or single objects side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anyio

from pipeline.domain.exception_groups import unwrap_exception_group
from pipeline.domain.ids import EventFileId
from pipeline.kit.declared import Delivery, Handler
from pipeline.kit.loading.context import Contexts
from pipeline.kit.loading.creating import Creator
from pipeline.kit.loading.kept import Kept
from pipeline.kit.loading.outcomes import Lane, RejectedError, attempt
from pipeline.kit.loading.records import Invalid, Record
from pipeline.kit.values import Batch

CREATED_AT_ONCE = 16
"""Objects that are created side by side. The records of one key keep their order."""


@dataclass(slots=True)
class FiledRecord:
    """A record, and the Event File that it came in."""

    file: EventFileId
    record: Record


class StreamLoad:
    """Applies records of one stream in the course of one Movement."""

    def __init__(self, handler: Handler, target: Any, kept: Kept, stream: str, contexts: Contexts, lane: Lane) -> None:
        self._handler, self._target, self._contexts, self._lane = handler, target, contexts, lane
        self._stream = stream
        self._creator = Creator(handler, target, kept, stream, lane)

    async def apply(self, records: Sequence[FiledRecord]) -> Mapping[int, RejectedError]:
        """Apply records in order; return why some are rejected, by their positions. RefusedError: the file has failed."""
        rejected: dict[int, RejectedError] = {}
        valid: list[int] = []
        for at, filed in enumerate(records):
            if isinstance(filed.record.value, Invalid):
                rejected[at] = RejectedError(filed.record.value.reason, filed.record.value.column)
            else:
                valid.append(at)
        if self._handler.delivery is Delivery.KEYED:
            for start in range(0, len(valid), self._handler.batch):
                await self._apply_batch(records, valid[start : start + self._handler.batch], rejected)
        else:
            await self._apply_singly(records, valid, rejected)
        return rejected

    async def _apply_batch(
        self, records: Sequence[FiledRecord], places: Sequence[int], rejected: dict[int, RejectedError]
    ) -> None:
        """Apply a batch; if the handler rejects it as a whole, apply each of its records alone."""
        first = records[places[0]]
        context = self._contexts.context(first.file, first.record.number)
        batch: Batch[Any] = Batch([records[at].record.value for at in places])  # type: ignore[misc]  # none is Invalid
        try:
            await attempt(
                lambda: self._handler.function(self._target, batch, context),
                self._handler.function,
                f"applying to {self._stream!r}",
                self._lane,
            )
        except RejectedError as error:
            if len(places) == 1:
                rejected[places[0]] = error
                return
            for at in places:
                await self._apply_batch(records, [at], rejected)
            return
        for at in places:
            if (refused := batch.refused.get(records[at].record.number)) is not None:
                rejected[at] = RejectedError(*refused)

    async def _apply_singly(
        self, records: Sequence[FiledRecord], places: Sequence[int], rejected: dict[int, RejectedError]
    ) -> None:
        room = anyio.Semaphore(CREATED_AT_ONCE)
        busy: dict[str, anyio.Event] = {}

        async def apply(at: int, done: anyio.Event) -> None:
            filed = records[at]
            try:
                value = filed.record.value
                assert not isinstance(value, Invalid)
                await self._creator.apply(value, self._contexts.context(filed.file, filed.record.number))
            except RejectedError as error:
                rejected[at] = error
            finally:
                room.release()
                if busy.get(filed.record.key) is done:
                    del busy[filed.record.key]
                done.set()

        with unwrap_exception_group():
            async with anyio.create_task_group() as group:
                for at in places:
                    while (before := busy.get(records[at].record.key)) is not None:
                        await before.wait()
                    await room.acquire()
                    done = busy[records[at].record.key] = anyio.Event()
                    group.start_soon(apply, at, done, name=f"record {at}")
