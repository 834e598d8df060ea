"""Rows that come in key order, in blocks as they come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from itertools import dropwhile
from typing import Any

from pipeline.codec.values import key_text
from pipeline.domain.errors import UnreadableError
from pipeline.domain.keys import Key, first_out_of_order
from pipeline.kit.calls import RESTARTED, repeated
from pipeline.kit.declared import DeclaredStream
from pipeline.kit.reading.blocks import LineBlock
from pipeline.kit.reading.contents.stream_contents import StreamContents, encoded
from pipeline.kit.reading.encoding import EncodedRow, RowEncoder

BLOCK_ROWS = 1000


@asynccontextmanager
async def ordered_blocks(
    declared: DeclaredStream, client: Any, contents: StreamContents | None
) -> AsyncIterator[AsyncIterator[LineBlock]]:
    """Open the rows of a stream as blocks. UnreadableError with the author's line when their keys do not ascend."""
    what = f"reading the stream {declared.name!r}"
    async with (
        aclosing(repeated(declared.function, client, what=what, size=BLOCK_ROWS)) as rows,
        aclosing(_blocks(rows, declared, contents)) as blocks,
    ):
        yield blocks


async def _blocks(
    lists: AsyncIterator[list[Any]], declared: DeclaredStream, contents: StreamContents | None
) -> AsyncGenerator[LineBlock, None]:
    given, encoder = _Given(declared), RowEncoder(declared)
    async for rows in lists:
        if rows is RESTARTED:
            given.restart()
        elif block := given.without(await encoded(rows, encoder, contents)):
            yield LineBlock(block)
    if contents is not None:
        await contents.commit()
        contents.read_all = True


class _Given:
    """The rows that were given before the author's function was called again, by the key of the last one."""

    def __init__(self, declared: DeclaredStream) -> None:
        self._declared = declared
        self._last: Key = ()
        self._again = False

    def restart(self) -> None:
        """The rows come again from the first one."""
        self._again = bool(self._last)

    def without(self, rows: Sequence[EncodedRow]) -> Sequence[EncodedRow]:
        """Return the rows that were not given yet. After a restart, those up to the last given key are left out."""
        if self._again:
            rows = [*dropwhile(lambda row: row.key <= self._last, rows)]
            self._again = not rows
        if rows:
            self._check([row.key for row in rows])
            self._last = rows[-1].key
        return rows

    def _check(self, keys: Sequence[Key]) -> None:
        """UnreadableError unless these keys ascend, and follow the last one."""
        if self._last:
            keys = [self._last, *keys]
        at = first_out_of_order(keys)
        if at is not None:
            before, key = keys[at - 1], keys[at]
            came = "came twice" if before == key else f"came after key {key_text(before)}"
            raise UnreadableError(
                f"{self._declared.line}: the rows of the stream {self._declared.name!r} are out of order: key "
                f"{key_text(key)} {came}. Sort them by the key (numbers, then text by its UTF-8 bytes, then bytes) and give "
                "each once, or leave ordered=True out"
            )
