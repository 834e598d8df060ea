"""Staging records through a handler of `stages`: those of an Event File together, and rejected ones again later."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from blake3 import blake3

from pipeline.kit.declared import Function, Handler
from pipeline.kit.loading.context import Contexts, ImportContext
from pipeline.kit.loading.outcomes import Lane, RejectedError, attempt, refused_records, returned_text
from pipeline.kit.loading.records import Invalid, Records
from pipeline.kit.values import StagedFile


class StageRejectedError(RejectedError):
    """The app does not accept what was staged, as a whole. `function` is the author's, and `what` says what it did."""

    def __init__(self, error: RejectedError, function: Function, what: str) -> None:
        super().__init__(error.reason, error.column, needs=error.needs)
        self.function, self.what = function, what


@dataclass(frozen=True, slots=True)
class Stager:
    """Stages records of one stream at `target`."""

    handler: Handler
    target: Any
    stream: str
    lane: Lane

    async def stage(
        self, parts: Sequence[Records], name: str, context: ImportContext
    ) -> Sequence[Mapping[int, RejectedError]]:
        """Stage records under this name, and publish them; return of each part why some are rejected, by positions.

        StageRejectedError when the app refuses all of them.
        """
        valid = [value for records in parts for value in records.values if not isinstance(value, Invalid)]
        staged: StagedFile[Any] = StagedFile(valid, id=name)
        function, publish = self.handler.function, self.handler.publish
        assert publish is not None  # checked before anything is moved

        async def work(failures: int) -> str:
            staged.refused.clear()
            return returned_text(await function(self.target, staged, context.after(failures)), function, "a token")

        token = await self._attempt(work, function, "staging")
        await self._attempt(
            lambda failures: publish(self.target, [token], context.after(failures)), publish, "publishing"
        )
        refused = refused_records(staged, function)
        return [
            {at: error for at, value in enumerate(records.values) if (error := _rejected(value, refused)) is not None}
            for records in parts
        ]

    async def _attempt(self, work: Any, function: Function, what: str) -> Any:
        what = f"{what} {self.stream!r}"
        try:
            return await attempt(work, function, what, self.lane)
        except RejectedError as error:
            raise StageRejectedError(error, function, what) from error

    async def stage_again(self, records: Records, contexts: Contexts) -> Mapping[int, RejectedError]:
        """Stage records together; if the app refuses all of them, by halves. Return why some are rejected.

        Each time they have another name and `once_key`: an app that knows those of an earlier time would add nothing to
        what it has accepted then.
        """
        file, again = records.file(0), f"{random.getrandbits(64):016x}"
        context = contexts.context(file, records.values[0].line)
        once_key = blake3(f"{context.once_key}\0{again}".encode()).hexdigest(length=20)
        try:
            (rejected,) = await self.stage([records], f"{file}/{again}", replace(context, once_key=once_key))
        except StageRejectedError as error:
            if len(records.values) == 1:
                return {0: error}
            found: dict[int, RejectedError] = {}
            half = len(records.values) // 2
            for places in (range(half), range(half, len(records.values))):
                rejected = await self.stage_again(records.chosen(places), contexts)
                found |= {places[at]: why for at, why in rejected.items()}
            return found
        return rejected


def _rejected(value: object, refused: Mapping[int, RejectedError]) -> RejectedError | None:
    return RejectedError(value.reason, value.column) if isinstance(value, Invalid) else refused.get(id(value))
