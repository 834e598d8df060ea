"""Creating objects one at a time, without a second one after a crash.

Before an object is created, its id map entry is stored as an intent; afterwards the entry gets the new id. After a crash in
between it is in doubt whether the object exists: `find` is asked, or the target is given the same once_key again.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from pipeline.domain.errors import ConfigurationError, ConflictError, TransientError
from pipeline.kit.authors_line import line_of
from pipeline.kit.declared import Handler
from pipeline.kit.errors import Gone, Refused
from pipeline.kit.ledger.kept import IdEntry, Kept, source_text
from pipeline.kit.loading.context import ImportContext, WaitsForIdError
from pipeline.kit.loading.outcomes import Lane, RejectedError, attempt
from pipeline.kit.values import Delete, Upsert
from pipeline.ports.object_store import PutCondition, Version


@dataclass(frozen=True, slots=True)
class Creator:
    """Applies single records of one stream through `creates` handlers. `kind` is the kind of its ids: the stream."""

    handler: Handler
    target: Any
    kept: Kept
    kind: str
    lane: Lane

    async def apply(self, record: Upsert[Any] | Delete, context: ImportContext, *, is_new: bool = False) -> None:
        """Apply one record; RejectedError when the app does not accept it. Applying it again changes nothing.

        `is_new`: the id map has probably no entry, so it is not asked first.
        """
        source = source_text(record.key)
        is_guess = is_new and isinstance(record, Upsert)
        found = None if is_guess else await self.kept.id_entry(self.kind, source)
        if isinstance(record, Delete):
            await self._delete(source, found, context)
        elif found is None:
            intent = IdEntry(source, context.once_key, context.movement)
            try:
                version = await self.kept.put_id(self.kind, intent, PutCondition.ABSENT)
            except ConflictError as error:
                if not is_guess:
                    raise self._lost_race(source) from error
                await self.apply(record, context)
                return
            await self._create(record.row, intent, version, context, in_doubt=False)
        elif found[0].target is None:
            await self._create(record.row, *found, context, in_doubt=True)
        elif found[0].once_key != context.once_key:
            await self._update(record.row, found[0].target, *found, context)

    async def _create(
        self, row: Any, intent: IdEntry, version: Version, context: ImportContext, *, in_doubt: bool
    ) -> None:
        handler, doubts = self.handler, in_doubt

        async def work() -> tuple[str, str]:
            nonlocal doubts
            if doubts and handler.find is not None:
                existing = await handler.find(self.target, row, context)
                if existing is not None:
                    return _id(existing, handler.find), "found"
            before, doubts = doubts, True
            try:
                made = await handler.function(self.target, row, _as_intended(context, intent))
            except (Refused, WaitsForIdError, Gone):  # this call has created nothing
                doubts = before
                raise
            return _id(made, handler.function), "created"

        try:
            target, how = await attempt(work, handler.function, f"creating in {self.kind!r}", self.lane)
        except RejectedError:
            if not doubts:
                await self.kept.drop_id(self.kind, intent.source)
            raise
        entry = IdEntry(intent.source, intent.once_key, context.movement, target, how)
        version = await self._put(entry, version)
        if intent.once_key != context.once_key:  # the object may be what an earlier version of the record says
            await self._update(row, target, entry, version, context)

    async def _update(self, row: Any, target: str, entry: IdEntry, version: Version, context: ImportContext) -> None:
        update = self.handler.update
        if update is None:
            raise RejectedError(f"it has changed, and the handler of {self.kind!r} has no `update`")
        try:
            await attempt(
                lambda: update(self.target, target, row, context),
                update,
                f"updating in {self.kind!r}",
                self.lane,
                may_be_gone=True,
            )
        except Gone:
            intent = IdEntry(entry.source, context.once_key, context.movement)
            version = await self._put(intent, version)
            await self._create(row, intent, version, context, in_doubt=False)
            return
        await self._put(IdEntry(entry.source, context.once_key, context.movement, target, entry.how), version)

    async def _delete(self, source: str, found: tuple[IdEntry, Version] | None, context: ImportContext) -> None:
        if found is None:
            return
        delete, target = self.handler.delete, found[0].target
        if target is None:
            raise RejectedError("it is to be deleted, and it is not known whether it was created; look for it by hand")
        if delete is None:
            raise RejectedError(f"it is to be deleted, and the handler of {self.kind!r} has no `delete`")
        with suppress(Gone):  # then it is as it should be
            await attempt(
                lambda: delete(self.target, target, context),
                delete,
                f"deleting in {self.kind!r}",
                self.lane,
                may_be_gone=True,
            )
        await self.kept.drop_id(self.kind, source)

    async def _put(self, entry: IdEntry, condition: PutCondition | Version) -> Version:
        try:
            return await self.kept.put_id(self.kind, entry, condition)
        except ConflictError as error:
            raise self._lost_race(entry.source) from error

    def _lost_race(self, source: str) -> TransientError:
        return TransientError(
            f"Another process imports the record {source!r} of {self.kind!r} at the same time. Run the command again."
        )


def _as_intended(context: ImportContext, intent: IdEntry) -> ImportContext:
    """Return the context with the once_key under which the object may have been created."""
    return context if intent.once_key == context.once_key else replace(context, once_key=intent.once_key)


def _id(value: Any, function: Any) -> str:
    if isinstance(value, str) and value:
        return value
    raise ConfigurationError(
        f"{line_of(function)}: the function returned {value!r} in place of the new id. Return the id as text."
    )
