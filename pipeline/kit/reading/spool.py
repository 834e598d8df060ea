"""Pages of a stream, durable in the object store with their cursors, until their Movement is exported.

Each page is an object, created once before its cursor is used. So an attempt that is killed is continued by another one
at the page where it stopped, and of two attempts at once the first to store a page decides what is in it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice

import msgspec

from pipeline.codec.event_files.compression import Decoder, compress_frame
from pipeline.domain.errors import ConflictError, DamagedError
from pipeline.domain.event_file import Encoding
from pipeline.domain.ids import FlowName, ObjectKey, encode_name
from pipeline.domain.object_keys import flow_prefix
from pipeline.domain.schema import StreamSchema
from pipeline.kit.reading.encoding import EncodedRow
from pipeline.kit.reading.stored_form import StoredForm, stored_columns
from pipeline.ports.object_store import ObjectStore, PutCondition, list_pages

_LEVEL = 1
MAX_PAGE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class SpooledPage:
    """A page: its rows as lines, and the cursor of the next one, None for the last.

    A page of a change feed has the `cursor` after it, and in its rows also deletes. `made` is the time when a base was whole.
    """

    rows: Sequence[EncodedRow]
    next: str | None
    cursor: str | None = None
    made: datetime | None = None
    total: int | None = None
    is_whole: bool = True
    """False for the last page of a list that has fewer rows than its app says."""
    fits: bool = True
    """Whether it was stored with the present columns. If not, its rows have been converted."""


class Part(StrEnum):
    """What a page is. A base of a change feed is all rows at one time; it ends with a page that is `WHOLE`.

    Pages of the rows that a list lacks and `fetch` gave are `FETCHED`. They come after those of the list.
    """

    CHANGES = ""
    FETCHED = ".fetched"
    BASE = ".base"
    WHOLE = ".whole"


class _Head(msgspec.Struct, omit_defaults=True):
    next: str | None
    rows: int
    cursor: str | None = None
    made: datetime | None = None
    total: int | None = None
    is_whole: bool = True
    columns: list[tuple[str, str]] | None = None
    """Those of its rows, as `stored_columns` gives them; None in a page of an earlier release."""


class Spool:
    """The pages of one stream, Movement by Movement."""

    def __init__(self, store: ObjectStore, flow: FlowName, schema: StreamSchema) -> None:
        self._store, self._schema = store, schema
        self._columns = stored_columns(schema)
        self._prefix = f"{flow_prefix(flow)}spool/{encode_name(schema.stream)}/"

    async def movements(self) -> dict[int, list[ObjectKey]]:
        """Return the pages of each Movement that has some, in their order."""
        found: dict[int, list[ObjectKey]] = {}
        async for page in list_pages(self._store, self._prefix):
            for info in page:
                movement = info.key.removeprefix(self._prefix).partition("/")[0]
                found.setdefault(int(movement), []).append(info.key)
        return found

    async def store(self, movement: int, number: int, page: SpooledPage, part: Part = Part.CHANGES) -> SpooledPage:
        """Store page `number` of a Movement; return the page that is stored now, which another attempt may have stored."""
        key = ObjectKey(f"{self._prefix}{movement}/{number:010d}{part}")
        head = msgspec.json.encode(
            _Head(page.next, len(page.rows), page.cursor, page.made, page.total, page.is_whole, self._columns)
        )
        data = compress_frame(b"\n".join([head, *[row.line for row in page.rows]]), _LEVEL)
        try:
            await self._store.put(key, data, PutCondition.ABSENT)
        except ConflictError:
            return await self.read(key)
        return page

    async def read(self, key: ObjectKey) -> SpooledPage:
        """Return a stored page. DamagedError names it."""
        stored = await self._store.get(key, max_bytes=MAX_PAGE_BYTES)
        try:
            decoder = Decoder(Encoding.ZSTD)
            head_line, *lines = b"".join(decoder.feed(stored.data)).split(b"\n")
            decoder.close()
            head = msgspec.json.decode(head_line, type=_Head)
            if head.rows != len(lines):
                raise DamagedError("it has another number of rows")  # noqa: TRY301  # the handler names the page
            form = StoredForm(self._schema, head.columns, lines)
            rows = [row for line in lines if (row := form.row(line)) is not None]
            return SpooledPage(rows, head.next, head.cursor, head.made, head.total, head.is_whole, form.is_present)
        except (DamagedError, ValueError, KeyError, TypeError) as error:
            raise DamagedError(f"The page {key} is damaged: {error}. Delete it, and run the command again.") from error

    async def complete(self, keys: Sequence[ObjectKey]) -> bool:
        """Return whether these pages of a Movement are a whole list."""
        if not keys:
            return False
        last = await self.read(keys[-1])
        return last.next is None and last.is_whole

    async def delete(self, keys: Sequence[ObjectKey]) -> None:
        """Delete pages, the last one first: what is left after a crash is a beginning, which is not a whole list."""
        for key in reversed(keys):
            await self._store.delete(key)

    async def forget(self) -> None:
        """Delete all pages."""
        for keys in (await self.movements()).values():
            await self.delete(keys)

    async def forget_before(self, movement: int) -> None:
        """Delete the pages of other Movements, if those of this one are a whole list."""
        movements = await self.movements()
        if await self.complete(movements.pop(movement, ())):
            for keys in movements.values():
                await self.delete(keys)

    async def pages(self, keys: Sequence[ObjectKey]) -> AsyncIterator[SpooledPage]:
        """Yield stored pages."""
        for key in keys:
            yield await self.read(key)


def batches(rows: Iterator[EncodedRow], size: int) -> Iterator[list[EncodedRow]]:
    """Yield rows in lists of `size`, the last one shorter."""
    while batch := list(islice(rows, size)):
        yield batch
