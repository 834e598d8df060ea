"""The rows of a stream with a change feed: a base, and all changes since, which the object store keeps.

Each part that was read is durable with its cursor before the next one is asked for, and stays: the rows are all parts
together, of each key the latest. So a Movement asks the app for what is new alone. The base is made again after the
author's `reconcile`, and when the row type has changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation, localcontext
from typing import Any

from anyio import to_thread

from pipeline.domain.errors import UnreadableError
from pipeline.kit.authors_line import line_of
from pipeline.kit.calls import RESTARTED, call, repeated
from pipeline.kit.configuration.secret import described
from pipeline.kit.declared import DeclaredStream, Feed, Function, Reading
from pipeline.kit.reading.contents.stream_contents import StreamContents
from pipeline.kit.reading.encoding import EncodedRow, rejection_in
from pipeline.kit.reading.feeds.missing_rows import DELETE, as_absent, as_present, missing_rows
from pipeline.kit.reading.feeds.stored_parts import StoredParts, find_parts
from pipeline.kit.reading.list_count import ListCount, as_cursor, as_list
from pipeline.kit.reading.sorting import RowSorter
from pipeline.kit.reading.spool import Part, Spool, SpooledPage, batches
from pipeline.kit.reading.unordered import BATCH_ROWS, UnorderedRows
from pipeline.kit.values import Changes
from pipeline.log_events import log
from pipeline.ports.source import ReadProgress


class ChangedRows(UnorderedRows):
    """The rows of one stream with a change feed. `replaced` are stored pages that nothing needs once all is exported."""

    def __init__(
        self,
        declared: DeclaredStream,
        feed: Feed,
        client: Any,
        fetch: Function | None,
        contents: StreamContents | None,
        spool: Spool | None,
        movement: int,
        progress: ReadProgress | None = None,
    ) -> None:
        super().__init__(declared, client, fetch, contents, spool, movement, progress)
        self._feed = feed
        self._has_snapshot = declared.reading is not Reading.CHANGES
        self._number = 0
        self._cursor: str | None = None
        self._changes = ListCount(declared.name, progress)

    async def read(self) -> None:
        """Read what is stored, or make a new base, then the changes."""
        parts = StoredParts()
        if self._spool is not None:
            parts = await find_parts(self._spool, self._movement, has_snapshot=self._has_snapshot)
            await self._spool.delete(parts.stale)
        self._number, self._cursor, self.replaced = parts.number, parts.cursor, parts.replaced
        if self._needs_base(parts):
            await self._make_base(parts)
        else:
            async for page in self._stored(parts.used):
                await self._add(self._now, page.rows)
        await self._read_changes(before(self._cursor, self._feed), Part.CHANGES)

    def _needs_base(self, parts: StoredParts) -> bool:
        if not parts.used:
            return self._has_snapshot
        if not parts.fits:
            log.info("feed_read_again", stream=self._declared.name, reason="its row type has changed")
            return True
        every, made = self._feed.reconcile, parts.made
        if every is None or (made is not None and _now() - made < every):
            return False
        log.info("feed_read_again", stream=self._declared.name, reason="the last whole list is older than `reconcile`")
        return True

    async def _make_base(self, parts: StoredParts) -> None:
        """Read all rows again, by the snapshot or by the feed from its beginning, and store them as a whole."""
        if self._has_snapshot:
            await self._read_snapshot()
        else:
            self._cursor = None
            await self._read_changes(None, Part.BASE)
        if self._declared.shifting or not self._has_snapshot or not self.list.is_whole:
            async for page in self._stored(parts.used):
                await self._add(self._before, page.rows)
            await self._keep_missing()
        await self._keep(SpooledPage([], None, self._cursor, _now()), Part.WHOLE)
        self.replaced = [*parts.replaced, *parts.used]
        self._note_all_read()

    async def _stored(self, keys: Sequence[Any]) -> AsyncIterator[SpooledPage]:
        if self._spool is not None:
            async for page in self._spool.pages(keys):
                yield page

    async def _read_snapshot(self) -> None:
        """Read the snapshot, in pages or in batches of rows."""
        if self._declared.reading is Reading.PAGES:
            await self._read_pages(())
            return
        rows = repeated(self._declared.function, self._client, what=self._what, size=BATCH_ROWS)
        async with aclosing(rows) as lists:
            async for batch in lists:
                if batch is not RESTARTED:  # after it, what is stored comes again: the later one counts
                    await self._keep_batch(batch)

    async def _keep_page(self, number: int, page: SpooledPage) -> SpooledPage:
        """Store a page of the snapshot, which is not whole with the last one: rows that are missing come after it."""
        self.list.add(len(page.rows), page.total)
        kept = await self._keep(replace(page, next=page.next or "", cursor=self._cursor), Part.BASE)
        return replace(kept, next=kept.next or None)

    async def _keep_batch(self, rows: Sequence[Any]) -> None:
        await self._keep_own(await self._encoded(rows))
        self.list.add(len(rows))

    async def _keep_own(self, rows: Sequence[EncodedRow], into: RowSorter | None = None) -> None:
        """Store rows of the base. Another attempt that reads them at the same time has divided them in another way."""
        page = SpooledPage(rows, "", self._cursor)
        while await self._keep(page, Part.BASE, into) is not page:
            pass

    async def _keep_missing(self) -> None:
        """Store the rows that were there and are not in the new base, as far as they are not known to be gone."""
        gone_twice = self._has_snapshot and self.list.is_whole
        missing = batches(missing_rows(self._before, self._now, gone_twice=gone_twice), BATCH_ROWS)
        with closing(RowSorter()) as found:
            while batch := await to_thread.run_sync(next, missing, None):
                now = await self._fetched(batch)
                rows = [now[row.key] for row in batch if row.key in now]
                if self._fetch is None:
                    rows = [as_absent(row) for row in batch] if self._has_snapshot else batch
                await self._keep_own(rows, found)
            for batch in batches(found.sorted_rows(), BATCH_ROWS):
                await self._add(self._now, batch)

    async def _read_changes(self, since: str | None, part: Part) -> None:
        more, cursors = True, ListCount(self._declared.name, None)
        while more:
            changes = await self._ask_changes(since)
            rows = self._in_one(await self._encoded(changes.upserts), self._encoder.deletes(changes.deletes))
            after = self._cursor if changes.cursor is None else changes.cursor
            before(after, self._feed)  # a cursor that cannot be used next time is named before its rows are moved
            more = changes.more
            self._changes.add(len(rows))
            if more and after == since:
                raise self._fault(
                    f"gave more changes after {described(since)} without a new cursor. It would never end"
                )
            if more and after is not None and cursors.repeats(after):
                raise self._fault(
                    f"gave more changes with the cursor {described(after)} a second time. It would never end"
                )
            if after == self._cursor:
                await self._add(self._now, rows)  # it will come again
            else:
                after = (await self._keep(SpooledPage(rows, None, after), part)).cursor
            self._cursor = since = after

    def _in_one(self, upserts: list[EncodedRow], deletes: Sequence[EncodedRow]) -> list[EncodedRow]:
        """Return the rows and deletes of one answer. UnreadableError when a key is in both: which came last is not known."""
        both = {row.key for row in upserts}.intersection(row.key for row in deletes)
        if both:
            key = next(iter(both))
            shown = key if len(key) > 1 else key[0]
            raise self._fault(
                f"gave the key {shown!r} both as an upsert and as a delete. Give the one that came last alone"
            )
        return [*upserts, *deletes]

    async def _keep(self, page: SpooledPage, part: Part, into: RowSorter | None = None) -> SpooledPage:
        """Store a page, and add its rows; return it as it is stored, which another attempt may have done."""
        await self._commit_contents()
        if self._spool is not None:
            page = await self._spool.store(self._movement, self._number, page, part)
            self._number += 1
        await self._add(into or self._now, page.rows)
        return page

    async def _ask_changes(self, since: str | None) -> Changes[Any]:
        changes = await call(self._feed.function, self._client, since, what=self._what, reads_stream=True)
        if not isinstance(changes, Changes):
            raise self._fault(f"returned a {type(changes).__name__}. Return Changes")
        where = line_of(self._feed.function)
        for given, what in ((changes.upserts, "upserts"), (changes.deletes, "deletes")):
            as_list(given, f"the {what} of the change feed of {self._declared.name!r}", where)
        if changes.cursor is None and (changes.upserts or changes.deletes):
            raise self._fault("returned rows without a cursor. Return the cursor after them")
        what = f"the change feed of {self._declared.name!r} returned the cursor"
        return replace(changes, cursor=as_cursor(changes.cursor, where, what))

    def _fault(self, fault: str) -> UnreadableError:
        return UnreadableError(f"{line_of(self._feed.function)}: the change feed of {self._declared.name!r} {fault}")

    def _merged(self) -> Iterator[EncodedRow]:
        return (as_present(row) for row in self._now.sorted_rows() if not row.line.startswith(DELETE))

    async def _looked_up(self, batch: list[EncodedRow]) -> list[EncodedRow]:
        """Return a batch with those rejected rows as they are now that `fetch` gives."""
        rejected = [row for row in batch if rejection_in(row.line)]
        found = await self._fetched(rejected)
        if accepted := [row for row in found.values() if not rejection_in(row.line)]:
            await self._commit_contents()
            if self._spool is not None:
                await self._spool.store(self._movement, self._number, SpooledPage(accepted, None, self._cursor))
                self._number += 1
        return [found.get(row.key, row) for row in batch]


def _now() -> datetime:
    return datetime.now(UTC)


def before(cursor: str | None, feed: Feed) -> str | None:
    """Return the cursor to ask with: `lag` seconds before the one that is stored."""
    if cursor is None or not feed.lag:
        return cursor
    try:
        number = Decimal(cursor)
    except InvalidOperation:
        number = Decimal("NaN")
    if number.is_finite():
        with localcontext(prec=len(cursor) + 40):  # a number of nanoseconds has more digits than a float
            return f"{(number - Decimal(str(feed.lag))).normalize():f}"
    try:
        return (datetime.fromisoformat(cursor) - timedelta(seconds=feed.lag)).isoformat()
    except OverflowError:
        return None  # before the first day of the calendar is the beginning
    except ValueError:
        raise UnreadableError(
            f"{feed.line}: the cursor {described(cursor)} is neither a number nor an ISO 8601 time, which "
            "`lag` needs. Leave `lag` out"
        ) from None
