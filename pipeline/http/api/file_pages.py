"""Pages of the Event Files that a Movement lists, and of what failed in them: each reads few objects beside those it shows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from pipeline.assembly.commands.observation.listings import is_large
from pipeline.codec.documents.failures import Failure
from pipeline.domain.errors import AbsentError
from pipeline.domain.event_file import FileEntry
from pipeline.domain.ids import EventFileId, Label
from pipeline.domain.movement import Flow, Movement
from pipeline.engine.movements.file_lists import FileLists
from pipeline.engine.movements.flow_store import FlowStore
from pipeline.http.api.models import Page
from pipeline.http.api.paths import gone

MOST_READS, MOST_FAILED = 6, 15
"""A page that has read this many parts of File Lists, or failures of Event Files, ends, even if it is short. Its cursor says
where to go on.
"""
_CURSOR = re.compile(r"([0-9a-f]{16})\.([1-9][0-9]{0,18})\.([0-9a-f]{16})")

Shown = Callable[[FileEntry, FileEntry | None], Sequence[FileEntry]]
"""Returns what a page shows of an entry, and of the one before it, which is not known of the first that a page reads."""


@dataclass(frozen=True, slots=True)
class _Cursor:
    """An item of a page: digests of its group and its id, and the position, from 1 on, of the entry that it belongs to.

    As text it needs no encoding in a URL.
    """

    group: str
    position: int
    item: str

    @classmethod
    def of(cls, label: Label, position: int, item: FileEntry) -> _Cursor:
        return cls(_digest(label), position, _digest(str(item.id)))

    @classmethod
    def parse(cls, text: str) -> _Cursor:
        if (found := _CURSOR.fullmatch(text)) is None:
            raise gone()
        return cls(found[1], int(found[2]), found[3])

    def __str__(self) -> str:
        return f"{self.group}.{self.position}.{self.item}"

    def behind(self, entry: FileEntry, items: Sequence[FileEntry]) -> Sequence[FileEntry]:
        """Return what comes behind this item in its entry. ProblemError when it is not there: the list is another one."""
        if _digest(str(entry.id)) == self.item:
            return ()
        at = next((at for at, item in enumerate(items, 1) if _digest(str(item.id)) == self.item), None)
        if at is None:
            raise gone()
        return items[at:]


@dataclass(frozen=True, slots=True)
class ListedFiles:
    """The Event Files that a Movement of a Flow lists."""

    lists: FileLists
    flow: Flow
    movement: Movement

    async def page(self, labels: Collection[Label], shown: Shown, after: str | None, limit: int) -> Page[FileEntry]:
        """Return what is `shown` of these groups, by label, in the order in which it is imported.

        AbsentError when the File Lists have been pruned. ProblemError when they do not have the item of the cursor `after`.
        """
        try:
            return await self._page(labels, shown, None if after is None else _Cursor.parse(after), limit)
        except AbsentError as error:
            raise AbsentError(
                f"The File Lists of Movement {self.movement.number} of Flow {self.flow.name!r} have been pruned; the latest "
                f"Movement is {self.flow.movements}."
            ) from error

    async def _page(
        self, labels: Collection[Label], shown: Shown, start: _Cursor | None, limit: int
    ) -> Page[FileEntry]:
        found: list[FileEntry] = []
        begun, looked, last, before = self.lists.reads, 0, "", None
        async with aclosing(self._blocks(labels, start)) as blocks:
            async for label, first, entries in blocks:
                for position, entry in enumerate(entries, first):
                    items, before = shown(entry, before), entry
                    if start is not None:
                        items, start = start.behind(entry, items), None
                    for item in items:
                        if len(found) == limit:
                            return Page(items=found, next=last)
                        found.append(item)
                        last = str(_Cursor.of(label, position, item)) if len(found) == limit else ""
                looked += len(entries)
                if (
                    entries
                    and self.lists.reads - begun >= MOST_READS
                    and is_large(self.flow.movements, self.movement, looked)
                ):
                    return Page(items=found, next=str(_Cursor.of(label, first + len(entries) - 1, entries[-1])))
        if start is not None:
            raise gone()
        return Page(items=found, next=None)

    async def _blocks(
        self, labels: Collection[Label], start: _Cursor | None
    ) -> AsyncGenerator[tuple[Label, int, Sequence[FileEntry]], None]:
        """Yield the entries of these groups, from the one of the cursor on, with the label and the position of the first."""
        position = 1 if start is None else start.position
        for label in sorted(labels):
            if start is not None and start.group != _digest(label):
                continue
            start = None
            async with aclosing(self.lists.blocks(self.movement.file_lists[label], position - 1)) as blocks:
                async for entries in blocks:
                    yield label, position, entries
                    position += len(entries)
            position = 1


@dataclass(frozen=True, slots=True)
class Failures:
    """What failed, and was rejected, in a Movement of a Flow."""

    flows: FlowStore
    flow: Flow
    movement: Movement

    async def page(
        self, wanted: Callable[[Failure], bool], after: str | None, limit: int, most: int = MOST_FAILED
    ) -> Page[Failure]:
        """Return those that are `wanted`, by Event File. A page of a large Flow reads those of `most` files.

        ProblemError when there is none any more that the cursor `after` names.
        """
        found: list[Failure] = []
        file = None if after is None else _file_of(after)
        async with aclosing(self.flows.failures_from(self.flow.name, self.movement.number, file)) as each:
            read = 0
            async for failures in each:
                for one in failures if after is None else _behind(after, failures):
                    if wanted(one):
                        if len(found) == limit:
                            return Page(items=found, next=failure_cursor(found[-1]))
                        found.append(one)
                after, read = None, read + 1
                if failures and read >= most and is_large(self.flow.movements, self.movement):
                    return Page(items=found, next=failure_cursor(failures[-1]))
        return Page(items=found, next=None)


def failure_cursor(failure: Failure) -> str:
    """Return the cursor of a failure."""
    return f"{failure.file}:{failure.line}"


def _file_of(cursor: str) -> EventFileId:
    try:
        return EventFileId.parse(cursor.rpartition(":")[0])
    except ValueError:
        raise gone() from None


def _behind(cursor: str, failures: Sequence[Failure]) -> Sequence[Failure]:
    at = next((at for at, one in enumerate(failures, 1) if failure_cursor(one) == cursor), None)
    if at is None:
        raise gone()
    return failures[at:]


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
