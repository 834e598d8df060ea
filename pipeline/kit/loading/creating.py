"""Creating objects one at a time, without a second one after a crash.

Before objects are created, their id map entries are stored as intents, many at a time; afterwards each entry gets the new id.
After a crash in between it is in doubt whether the object exists: `find` is asked, or the target is given the same once_key again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from pipeline.kit.declared import Function, Handler
from pipeline.kit.errors import Gone, Refused
from pipeline.kit.ledger.id_map import StoredIds, source_text
from pipeline.kit.ledger.kept import IdEntry
from pipeline.kit.loading.context import ImportContext, WaitsForIdError
from pipeline.kit.loading.outcomes import Lane, RejectedError, attempt, returned_text
from pipeline.kit.values import Delete, Upsert

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RecordVersion:
    """A record with its context. `content` is the digest of its line where the handler has no `update`, else empty."""

    record: Upsert[Any] | Delete
    context: ImportContext
    content: str = ""

    @property
    def intent(self) -> IdEntry:
        """The id map entry of an object that is about to be created from it."""
        return IdEntry(self.context.once_key, self.context.movement, content=self.content)


@dataclass(frozen=True, slots=True)
class Creator:
    """Applies single records of one stream through `creates` handlers. `kind` is the kind of its ids: the stream."""

    handler: Handler
    target: Any
    ids: StoredIds
    kind: str
    lane: Lane

    @asynccontextmanager
    async def intending(self, upserts: Iterable[RecordVersion]) -> AsyncIterator[set[str]]:
        """Store the intents of those records that may have to be created.

        Gives their ids at the source: none of them has been tried yet.
        """
        intents: dict[str, IdEntry] = {}
        for version in upserts:
            source = source_text(version.record.key)
            if source not in intents and self.ids.entry(self.kind, source) is None:
                intents[source] = version.intent
        async with self.ids.intended(self.kind, intents):
            yield set(intents)

    async def apply(self, version: RecordVersion, intended: set[str], *, at_once: bool) -> None:
        """Apply one record; RejectedError when the app does not accept it. Applying it again changes nothing.

        `intended` is what `intending` gives. `at_once`: the new id is not to wait to be stored together with others.
        """
        source = source_text(version.record.key)
        found = self.ids.entry(self.kind, source)
        if isinstance(version.record, Delete):
            await self._delete(source, found, version.context)
        elif found is None:
            intent = version.intent
            await self.ids.put(self.kind, source, intent)
            await self._create(version, source, intent, in_doubt=False, at_once=True)
        elif found.target is None:
            in_doubt = source not in intended
            intended.discard(source)
            await self._create(version, source, found, in_doubt=in_doubt, at_once=at_once)
        elif found.once_key != version.context.once_key:
            await self._update(version, source, found)

    async def _create(
        self, version: RecordVersion, source: str, intent: IdEntry, *, in_doubt: bool, at_once: bool
    ) -> None:
        handler, doubts = self.handler, in_doubt
        row = _row(version)

        async def work(failures: int) -> tuple[str, str]:
            nonlocal doubts
            context = version.context.after(failures)
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
            target, how = await self._attempt(work, handler.function, "creating in")
        except RejectedError:
            # What is in doubt keeps its intent, stored once more: `intending` drops those that it has stored.
            await self.ids.put(self.kind, source, intent if doubts else None, at_once=at_once)
            raise
        entry = IdEntry(intent.once_key, version.context.movement, target, how, intent.content)
        await self.ids.put(self.kind, source, entry, at_once=at_once)
        if intent.once_key != version.context.once_key:  # the object may be what an earlier version of the record says
            await self._update(version, source, entry)

    async def _update(self, version: RecordVersion, source: str, entry: IdEntry) -> None:
        update, target = self.handler.update, entry.target
        row, context = _row(version), version.context
        assert target is not None
        if update is None:
            if version.content and version.content == entry.content:
                return  # it was exported again, as in a reload, and has not changed
            raise RejectedError(f"it has changed, and the handler of {self.kind!r} has no `update`")
        try:
            await self._attempt(
                lambda failures: update(self.target, target, row, context.after(failures)),
                update,
                "updating in",
                may_be_gone=True,
            )
        except Gone:
            intent = version.intent
            await self.ids.put(self.kind, source, intent)
            await self._create(version, source, intent, in_doubt=False, at_once=True)
            return
        updated = IdEntry(context.once_key, entry.movement, target, entry.how)
        await self.ids.put(self.kind, source, updated, at_once=False)

    async def _delete(self, source: str, found: IdEntry | None, context: ImportContext) -> None:
        if found is None:
            return
        delete, target = self.handler.delete, found.target
        if target is None:
            raise RejectedError("it is to be deleted, and it is not known whether it was created; look for it by hand")
        if delete is None:
            raise RejectedError(f"it is to be deleted, and the handler of {self.kind!r} has no `delete`")
        with suppress(Gone):  # then it is as it should be
            await self._attempt(
                lambda failures: delete(self.target, target, context.after(failures)),
                delete,
                "deleting in",
                may_be_gone=True,
            )
        await self.ids.put(self.kind, source, None, at_once=False)

    async def _attempt(
        self, work: Callable[[int], Awaitable[T]], function: Function, what: str, *, may_be_gone: bool = False
    ) -> T:
        async with self.lane.room:
            return await attempt(work, function, f"{what} {self.kind!r}", self.lane, may_be_gone=may_be_gone)


def _row(version: RecordVersion) -> Any:
    assert isinstance(version.record, Upsert)
    return version.record.row


def _as_intended(context: ImportContext, intent: IdEntry) -> ImportContext:
    """Return the context with the once_key under which the object may have been created."""
    return context if intent.once_key == context.once_key else replace(context, once_key=intent.once_key)


def _id(value: Any, function: Any) -> str:
    return returned_text(value, function, "the new id")
