"""The rows of a stream with a change feed: a snapshot, and all changes since, which the object store keeps.

Each part that was read is durable with its cursor before the next one is asked for, and stays: the rows are all parts
together, of each key the latest. So a Movement asks the app for what is new alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import aclosing
from datetime import datetime, timedelta
from typing import Any

from pipeline.domain.errors import UnreadableError
from pipeline.kit.authors_line import line_of
from pipeline.kit.calls import call, iterated
from pipeline.kit.declared import DeclaredStream, Feed, Function, Reading
from pipeline.kit.reading.contents import StreamContents
from pipeline.kit.reading.encoding import EncodedRow, rejection_in
from pipeline.kit.reading.spool import Spool, SpooledPage
from pipeline.kit.reading.unordered import BATCH_ROWS, UnorderedRows
from pipeline.kit.values import Changes

DELETE = b'{"delete":'


class ChangedRows(UnorderedRows):
    """The rows of one stream with a change feed."""

    def __init__(
        self,
        declared: DeclaredStream,
        feed: Feed,
        client: Any,
        fetch: Function | None,
        contents: StreamContents | None,
        spool: Spool | None,
        movement: int,
    ) -> None:
        super().__init__(declared, client, fetch, contents, spool, movement)
        self._feed = feed
        self._number = 0
        self._cursor: str | None = None

    async def read(self) -> None:
        """Read what is stored, the snapshot if there is none, then the changes."""
        cursor, whole = await self._read_stored()
        if not whole and self._declared.reading is not Reading.CHANGES:
            await self._read_snapshot()
        more, since = True, _before(cursor, self._feed)
        while more:
            changes = await self._ask_changes(since)
            rows = [*await self._encoded(changes.upserts), *self._encoder.deletes(changes.deletes)]
            after = cursor if changes.cursor is None else changes.cursor
            more = changes.more
            if more and after == since:
                raise self._fault(f"gave more changes after {since!r} without a new cursor. It would never end")
            if after == cursor:
                await self._add(self._now, rows)  # it will come again
            else:
                after = (await self._keep(SpooledPage(rows, None, after))).cursor
            cursor = since = after
        self._cursor = cursor

    async def _read_stored(self) -> tuple[str | None, bool]:
        """Read the stored parts; return the latest cursor, and whether the snapshot is complete."""
        cursor, whole = None, False
        for movement, keys in sorted((await self._spool.movements()).items()) if self._spool else ():
            assert self._spool is not None
            if not whole and self._declared.reading is not Reading.CHANGES and not await self._has_snapshot(keys):
                for key in reversed(keys):  # rows may have moved since: the snapshot is begun again
                    await self._spool.delete(key)
                continue
            async for page in self._spool.pages(keys):
                await self._add(self._now, page.rows)
                cursor = page.cursor or cursor
            whole = True
            self._number = len(keys) if movement == self._movement else 0
        return cursor, whole

    async def _has_snapshot(self, keys: list[Any]) -> bool:
        """Return whether the pages of the first Movement have the last page of the snapshot."""
        assert self._spool is not None
        async for page in self._spool.pages(keys):
            if page.next is None:
                return True
        return False

    async def _read_snapshot(self) -> None:
        """Read the snapshot in pages, the last one without `next`."""
        if self._declared.reading is Reading.PAGES:
            self._number = await self._read_pages(())
            return
        batch: list[Any] = []
        async with aclosing(iterated(self._declared.function, self._client, what=self._what)) as rows:
            async for row in rows:
                batch.append(row)
                if len(batch) == BATCH_ROWS:
                    await self._keep(SpooledPage(await self._encoded(batch), "rows"))
                    batch = []
        await self._keep(SpooledPage(await self._encoded(batch), None))

    async def _keep(self, page: SpooledPage) -> SpooledPage:
        """Store a page, and add its rows; return it as it is stored, which another attempt may have done."""
        await self._commit_contents()
        if self._spool is not None:
            page = await self._spool.store(self._movement, self._number, page)
            self._number += 1
        await self._add(self._now, page.rows)
        return page

    async def _ask_changes(self, since: str | None) -> Changes[Any]:
        changes = await call(self._feed.function, self._client, since, what=self._what)
        if not isinstance(changes, Changes):
            raise self._fault(f"returned a {type(changes).__name__}. Return Changes")
        if changes.cursor is None and (changes.upserts or changes.deletes):
            raise self._fault("returned rows without a cursor. Return the cursor after them")
        if changes.cursor is not None and type(changes.cursor) is not str:
            raise self._fault(f"returned the cursor {changes.cursor!r}. Return text")
        return changes

    def _fault(self, fault: str) -> UnreadableError:
        return UnreadableError(f"{line_of(self._feed.function)}: the change feed of {self._declared.name!r} {fault}")

    def _merged(self) -> Iterator[EncodedRow]:
        return (row for row in self._now.sorted_rows() if not row.line.startswith(DELETE))

    async def _looked_up(self, batch: list[EncodedRow]) -> list[EncodedRow]:
        """Return a batch with those rows as they are now whose contents could not be read, as far as `fetch` gives them."""
        rejected = [row for row in batch if rejection_in(row.line)]
        found = await self._fetched(rejected)
        if accepted := [row for row in found.values() if not rejection_in(row.line)]:
            await self._commit_contents()
            if self._spool is not None:
                page = SpooledPage(accepted, None, self._cursor)
                await self._spool.store(self._movement, self._number, page)
                self._number += 1
        return [found.get(row.key, row) for row in batch]


def _before(cursor: str | None, feed: Feed) -> str | None:
    """Return the cursor to ask with: `lag` seconds before the one that is stored."""
    if cursor is None or not feed.lag:
        return cursor
    try:
        return f"{float(cursor) - feed.lag:.6f}".rstrip("0").rstrip(".")
    except ValueError:
        pass
    try:
        return (datetime.fromisoformat(cursor) - timedelta(seconds=feed.lag)).isoformat()
    except ValueError:
        raise UnreadableError(
            f"{feed.line}: the cursor {cursor!r} is neither a number nor an ISO 8601 time, which `lag` needs. Leave `lag` out"
        ) from None
