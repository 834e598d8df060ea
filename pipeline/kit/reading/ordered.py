"""Rows that come in key order, in blocks as they come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from pipeline.kit.calls import iterated
from pipeline.kit.declared import DeclaredStream
from pipeline.kit.reading.blocks import LineBlock
from pipeline.kit.reading.contents import StreamContents, encoded
from pipeline.kit.reading.encoding import RowEncoder

BLOCK_ROWS = 1000


@asynccontextmanager
async def ordered_blocks(
    declared: DeclaredStream, client: Any, contents: StreamContents | None
) -> AsyncIterator[AsyncIterator[LineBlock]]:
    """Open the rows of a stream as blocks. The exporter checks that the keys ascend."""
    what = f"reading the stream {declared.name!r}"
    async with (
        aclosing(iterated(declared.function, client, what=what)) as rows,
        aclosing(_blocks(rows, RowEncoder(declared), contents)) as blocks,
    ):
        yield blocks


async def _blocks(
    rows: AsyncIterator[Any], encoder: RowEncoder, contents: StreamContents | None
) -> AsyncGenerator[LineBlock, None]:
    gathered: list[Any] = []
    async for row in rows:
        gathered.append(row)
        if len(gathered) == BLOCK_ROWS:
            yield LineBlock(await encoded(gathered, encoder, contents))
            gathered = []
    if gathered:
        yield LineBlock(await encoded(gathered, encoder, contents))
    if contents is not None:
        await contents.commit()
        contents.read_all = True
