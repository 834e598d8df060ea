"""Rows that come in any order, or in pages: read whole, sorted on disk, and given as blocks in key order.

A stream whose pages may shift while one reads them can miss a row. So a row that is absent for the first time is given
as it was; absent from two whole lists in a row, it is gone. With `fetch`, that alone says what is gone: it is asked for
each absent row, in each Movement, and the rows that it gives count as rows of the list.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import replace
from types import TracebackType
from typing import Any

from anyio import to_thread

from pipeline.domain.errors import UnreadableError
from pipeline.domain.ids import ObjectKey
from pipeline.domain.keys import Key
from pipeline.kit.authors_line import line_of
from pipeline.kit.calls import RESTARTED, call, repeated
from pipeline.kit.configuration.secret import described
from pipeline.kit.declared import DeclaredStream, Function, Reading
from pipeline.kit.reading.blocks import LineBlock
from pipeline.kit.reading.contents.stream_contents import StreamContents, encoded
from pipeline.kit.reading.encoding import EncodedRow, RowEncoder
from pipeline.kit.reading.feeds.missing_rows import missing_rows
from pipeline.kit.reading.list_count import ListCount, as_cursor, as_list
from pipeline.kit.reading.sorting import RowSorter
from pipeline.kit.reading.spool import Part, Spool, SpooledPage, batches
from pipeline.kit.values import Page
from pipeline.ports.source import ReadProgress
from pipeline.temporary_database import no_room

BATCH_ROWS = 1000
FETCHED_KEYS = 100
"""Keys that `fetch` is asked for at a time."""


class UnorderedRows:
    """The rows of one stream in one Movement. Close it to remove what it has on disk."""

    def __init__(
        self,
        declared: DeclaredStream,
        client: Any,
        fetch: Function | None,
        contents: StreamContents | None,
        spool: Spool | None,
        movement: int,
        progress: ReadProgress | None = None,
    ) -> None:
        self._declared, self._client, self._fetch = declared, client, fetch
        self._spool, self._movement = spool, movement
        self._encoder, self._contents = RowEncoder(declared), contents
        self._what = f"reading the stream {declared.name!r}"
        self._now, self._before = RowSorter(), RowSorter()
        self.list = ListCount(declared.name, progress)
        self.replaced: Sequence[ObjectKey] = ()

    def __enter__(self) -> UnorderedRows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._now.close()
        self._before.close()

    async def read(self) -> None:
        """Read the whole stream. After an error nothing is known to be absent."""
        if self._declared.reading is Reading.ROWS:
            rows = repeated(self._declared.function, self._client, what=self._what, size=BATCH_ROWS)
            async with aclosing(rows) as lists:
                async for batch in lists:
                    if batch is RESTARTED:
                        self._now.close()
                        self._now = RowSorter()
                        continue
                    await self._add(self._now, await self._encoded(batch))
                    self.list.add(len(batch))
            await self._commit_contents()
            self._note_all_read()
            return
        stored = {} if self._spool is None else await self._spool.movements()
        begun = await self._begun(stored.pop(self._movement, []))
        asked = [key for key in begun if key.endswith(Part.FETCHED)]
        number = await self._read_pages(begun[: len(begun) - len(asked)])
        if not begun:
            self._note_all_read()
        if self._spool is not None and self._declared.shifting:
            await self._read_before(self._spool, [stored[one] for one in sorted(stored) if one < self._movement])
            if self._fetch is not None:
                await self._ask_for_missing(self._spool, number, asked)

    async def _read_before(self, spool: Spool, lists: Sequence[Sequence[ObjectKey]]) -> None:
        """Read the latest whole list of earlier Movements; with `fetch`, all lists, since it says what is gone."""
        for keys in reversed(lists) if self._fetch is None else lists:
            if self._fetch is not None or await spool.complete(keys):
                async for page in spool.pages(keys):
                    await self._add(self._before, page.rows)
                if self._fetch is None:
                    return

    async def _ask_for_missing(self, spool: Spool, number: int, asked: Sequence[ObjectKey]) -> None:
        """Add the missing rows that `fetch` gives, and store them from page `number` on, for the next Movement to ask again.

        The first page is stored before anything is asked. Until the last one is, this list is not whole, so the earlier
        ones stay, and no row counts as absent. `asked` are the pages that an earlier attempt has stored.
        """
        missing = batches(missing_rows(self._before, self._now, gone_twice=False), BATCH_ROWS)
        batch, page = await to_thread.run_sync(next, missing, None), SpooledPage([], "", is_whole=self.list.is_whole)
        if batch is not None and not asked:
            await spool.store(self._movement, number, page, Part.FETCHED)
        answered = iter(asked[1:])
        with closing(RowSorter()) as found:
            while batch is not None:
                following = await to_thread.run_sync(next, missing, None)
                number, key = number + 1, next(answered, None)
                if key is None:
                    rows = list((await self._fetched(batch)).values())
                    await self._commit_contents()
                    page = replace(page, rows=rows, next=None if following is None else "")
                    kept = await spool.store(self._movement, number, page, Part.FETCHED)
                else:
                    kept = await spool.read(key)
                await self._add(found, kept.rows)
                batch = following
            self._before.close()
            self._before = RowSorter()
            for rows in batches(found.sorted_rows(), BATCH_ROWS):
                await self._add(self._now, rows)

    async def _begun(self, keys: Sequence[ObjectKey]) -> Sequence[ObjectKey]:
        """Return the stored pages of this Movement; none, if they were stored with another row type."""
        if self._spool is not None and keys and not (await self._spool.read(keys[0])).fits:
            await self._spool.delete(keys)
            return []
        return keys

    async def _read_pages(self, stored: Sequence[Any]) -> int:
        """Read the stored pages of this Movement, then the others, each of which is stored before its cursor is used.

        Return how many there are.
        """
        number, after = len(stored), None
        if self._spool is not None:
            async for page in self._spool.pages(stored):
                await self._add(self._now, page.rows)
                self.list.add(len(page.rows), page.total)
                after = page.next
        while number == 0 or after is not None:
            page = await self._keep_page(number, await self._ask(after))
            if page.next is not None and page.next == after:
                raise UnreadableError(
                    f"{line_of(self._declared.function)}: the stream {self._declared.name!r} gave the page after "
                    f"{described(after)} with the same cursor as next. It would never end: return the cursor of the page after it"
                )
            if page.next is not None and self.list.repeats(page.next):
                raise UnreadableError(
                    f"{line_of(self._declared.function)}: the stream {self._declared.name!r} gave the cursor "
                    f"{described(page.next)} a second time. It would never end: return the cursor of the page after it"
                )
            number, after = number + 1, page.next
        self.list.end()
        return number

    async def _keep_page(self, number: int, page: SpooledPage) -> SpooledPage:
        """Store a page, and add its rows; return it as it is stored, which another attempt may have done."""
        await self._commit_contents()
        self.list.add(len(page.rows), page.total)
        if self._spool is not None:
            page = replace(page, is_whole=page.next is not None or self.list.is_whole)
            page = await self._spool.store(self._movement, number, page)
        await self._add(self._now, page.rows)
        return page

    async def _ask(self, after: str | None) -> SpooledPage:
        page = await call(self._declared.function, self._client, after, what=self._what, reads_stream=True)
        where = line_of(self._declared.function)
        if not isinstance(page, Page):
            raise UnreadableError(f"{where}: the function for pages returned a {type(page).__name__}. Return a Page")
        following = as_cursor(page.next, where, "the cursor `next` of a page is")
        rows = as_list(page.rows, f"the rows of a page of the stream {self._declared.name!r}", where)
        if page.total is not None and (type(page.total) is not int or not 0 <= page.total < 2**63):
            raise UnreadableError(f"{where}: the total of a page is {page.total!r}. Return a number of rows, or None")
        return SpooledPage(await self._encoded(rows), following or None, total=page.total)

    async def _encoded(self, rows: Sequence[Any]) -> list[EncodedRow]:
        return await encoded(rows, self._encoder, self._contents)

    def _note_all_read(self) -> None:
        if self._contents is not None:
            self._contents.read_all = True

    async def _commit_contents(self) -> None:
        if self._contents is not None:
            await self._contents.commit()

    async def _add(self, sorter: RowSorter, rows: Sequence[EncodedRow]) -> None:
        try:
            await to_thread.run_sync(sorter.add, rows)
        except OSError as error:
            raise no_room(error.strerror or str(error)) from error

    @asynccontextmanager
    async def blocks(self) -> AsyncIterator[AsyncIterator[LineBlock]]:
        """Open what was read as blocks in key order."""
        async with aclosing(self._blocks()) as blocks:
            yield blocks

    async def _blocks(self) -> AsyncGenerator[LineBlock, None]:
        merged = batches(self._merged(), BATCH_ROWS)
        try:
            while batch := await to_thread.run_sync(next, merged, None):
                if rows := await self._looked_up(batch):
                    yield LineBlock(rows)
        except OSError as error:
            raise no_room(error.strerror or str(error)) from error

    def _merged(self) -> Iterator[EncodedRow]:
        """Yield the rows of both lists in key order, of a key in both the one of this list."""
        before = self._before.sorted_rows()
        old = next(before, None)
        if old is None:
            yield from self._now.sorted_rows()
            return
        for row in self._now.sorted_rows():
            while old is not None and old.key < row.key:
                yield old
                old = next(before, None)
            if old is not None and old.key == row.key:
                old = next(before, None)
            yield row
        while old is not None:
            yield old
            old = next(before, None)

    async def _looked_up(self, batch: list[EncodedRow]) -> list[EncodedRow]:
        """Return the rows of a batch as they are to be given."""
        return batch

    async def _fetched(self, wanted: Sequence[EncodedRow]) -> dict[object, EncodedRow]:
        """Return by their keys those of these rows that `fetch` gives, as they are now; none without `fetch`."""
        if self._fetch is None:
            return {}
        keys = {row.key for row in wanted}
        rows = await self._encoded(
            await fetched(self._declared, self._client, self._fetch, [row.key for row in wanted])
        )
        return {row.key: row for row in rows if row.key in keys}


async def fetched(declared: DeclaredStream, client: Any, fetch: Function, keys: Sequence[Key]) -> list[Any]:
    """Return the author's rows with these keys, of those that exist."""
    found: list[Any] = []
    for start in range(0, len(keys), FETCHED_KEYS):
        asked = [key if len(key) > 1 else key[0] for key in keys[start : start + FETCHED_KEYS]]
        rows = await call(fetch, client, asked, what=f"fetching rows of {declared.name!r}", reads_stream=True)
        found += as_list(rows, f"the rows that `fetch` returned of {declared.name!r}", line_of(fetch))
    return found
