"""An Event File as a value: its header, and its entry in a File List."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey, Phase
from pipeline.domain.keys import Key
from pipeline.domain.schema import StreamSchema

FORMAT_VERSION = 1
ARRAYS_VERSION = 2
"""The format version of an Event File with arrays of values."""


class Encoding(StrEnum):
    """The compression of a stored Event File."""

    ZSTD = "zstd"
    GZIP = "gzip"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The keys `after < key <= until` of a stream, in the order of `keys.order`; None is an open end."""

    after: Key | None = None
    until: Key | None = None


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of an Event File.

    `covers` and `state` serve the exporter: the key range whose state this file completes, and the digest of the stored
    snapshot part that describes every row in that range. With them a later attempt resumes after a crash, even if the
    source has changed meanwhile. `arrays`: the values of an upsert may stand in an array, in the order of the columns.
    """

    flow: FlowName
    id: EventFileId
    schema: StreamSchema
    row_count: int
    export_time: datetime
    covers: KeyRange = KeyRange()
    state: str | None = None
    arrays: bool = False


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A line of a File List: what an importer needs to plan the import of one Event File and to verify its bytes.

    `size` and `checksum` (BLAKE3, hexadecimal) are of the stored bytes; `upserts` and `deletes` count the records.
    `replaces` is set when a compaction made the file: a destination that has imported these files skips it.
    """

    id: EventFileId
    label: Label
    key: ObjectKey
    encoding: Encoding
    size: int
    checksum: str
    upserts: int
    deletes: int
    replaces: tuple[EventFileId, ...] = ()

    @property
    def is_snapshot(self) -> bool:
        """Whether its keys are disjoint from those of all other `full` files of its Movement and stream."""
        return self.id.phase is Phase.FULL
