"""Event Files with an order of records that no Exporter of the kit writes, but another writer may."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from blake3 import blake3

from pipeline.domain.event_file import Encoding, FileEntry, Header
from pipeline.domain.ids import EventFileId, FlowName, ObjectKey, Phase
from pipeline.engine.storage.binaries import BinaryFiles
from pipeline.kit.declared import DeclaredStream
from pipeline.kit.reading.contents.stream_contents import StreamContents, encoded
from pipeline.kit.reading.encoding import RowEncoder
from pipeline.ports.destination import FileToLoad


class Action(Enum):
    """What a record does with the row of its key."""

    UPSERT = "upsert"
    DELETE = "delete"


Records = Sequence[tuple[Action, Any]]
"""Actions, each with the values of a row by column."""
_WRITTEN = datetime(2026, 1, 1, tzinfo=UTC)


async def event_file(
    flow: FlowName, stream: DeclaredStream, movement: int, records: Records, contents: BinaryFiles
) -> FileToLoad:
    """Return an Event File with these records in this order. The contents of their fields are stored in `contents`."""
    encoder, fields, lines = RowEncoder(stream), StreamContents(stream, contents), list[bytes]()
    for action, values in records:
        if action is Action.UPSERT:
            found = await encoded([stream.row.make(values)], encoder, fields)
        else:
            found = encoder.deletes([tuple([values[name] for name in stream.key])])
        lines += [one.line + b"\n" for one in found]
    await contents.flush()
    id_, block = EventFileId(movement, stream.name, Phase.INCREMENTAL, 0), b"".join(lines)
    deletes = sum(action is Action.DELETE for action, _ in records)
    upserts, key = len(records) - deletes, ObjectKey(str(id_))
    entry = FileEntry(id_, stream.label, key, Encoding.PLAIN, len(block), blake3(block).hexdigest(), upserts, deletes)

    async def blocks() -> AsyncGenerator[bytes, None]:
        yield block

    header = Header(flow, id_, stream.schema, len(records), _WRITTEN)
    return FileToLoad(entry, header, blocks(), contents.open, movement)
