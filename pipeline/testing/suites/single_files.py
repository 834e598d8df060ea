"""Event Files whose records follow each other as no Exporter of the kit writes them, though another writer may."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from blake3 import blake3

from pipeline.domain.event_file import Encoding, FileEntry, Header
from pipeline.domain.ids import BinaryId, EventFileId, FlowName, ObjectKey, Phase
from pipeline.kit.declared import DeclaredStream
from pipeline.kit.reading.contents.stream_contents import StreamContents, encoded
from pipeline.kit.reading.encoding import RowEncoder
from pipeline.kit.values import Binary
from pipeline.ports.destination import FileToLoad


class Action(Enum):
    """What a record does with the row of its key."""

    UPSERT = "upsert"
    DELETE = "delete"


Records = Sequence[tuple[Action, Any]]
"""Actions, each with the values of a row by column."""
_WRITTEN = datetime(2026, 1, 1, tzinfo=UTC)


async def event_file(flow: FlowName, stream: DeclaredStream, movement: int, records: Records) -> FileToLoad:
    """Return an Event File with these records in this order. Its contents, if it has some, are bytes."""
    encoder, contents, lines = RowEncoder(stream), StreamContents(stream), list[bytes]()
    for action, values in records:
        if action is Action.UPSERT:
            found = await encoded([stream.row.make(values)], encoder, contents)
        else:
            found = encoder.deletes([tuple([values[name] for name in stream.key])])
        lines += [one.line + b"\n" for one in found]
    id_, block = EventFileId(movement, stream.name, Phase.INCREMENTAL, 0), b"".join(lines)
    deletes = sum(action is Action.DELETE for action, _ in records)
    upserts, key = len(records) - deletes, ObjectKey(str(id_))
    entry = FileEntry(id_, stream.label, key, Encoding.PLAIN, len(block), blake3(block).hexdigest(), upserts, deletes)

    async def blocks() -> AsyncGenerator[bytes, None]:
        yield block

    @asynccontextmanager
    async def open_binary(binary: BinaryId) -> AsyncIterator[AsyncIterable[bytes]]:
        given = [value.open for _, values in records for value in values.values() if isinstance(value, Binary)]
        content = next(one for one in given if isinstance(one, bytes) and blake3(one).hexdigest() == binary)

        async def pieces() -> AsyncGenerator[bytes, None]:
            yield content

        async with aclosing(pieces()) as opened:
            yield opened

    header = Header(flow, id_, stream.schema, len(records), _WRITTEN)
    return FileToLoad(entry, header, blocks(), open_binary, movement)
