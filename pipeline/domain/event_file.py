"""An Event File as a value: the header that stands first in it, and the entry that names it in a File List."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pipeline.domain.ids import EventFileId, FlowName, Label, ObjectKey, Phase
from pipeline.domain.keys import Key
from pipeline.domain.schema import StreamSchema

FORMAT_VERSION = 1


class Encoding(StrEnum):
    """How the bytes of a stored Event File become JSON lines."""

    ZSTD = "zstd"
    GZIP = "gzip"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The keys `after < key <= until` of a stream, in the order of `keys.order`. None is an open end."""

    after: Key | None = None
    until: Key | None = None


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of an Event File.

    `covers` and `state` are for the exporter alone: the key range whose state this file completes, and the digest of
    the stored snapshot part that describes every row in that range. With them a later attempt carries on after a
    crash, whatever happened to the source meanwhile.
    """

    flow: FlowName
    id: EventFileId
    schema: StreamSchema
    row_count: int
    export_time: datetime
    covers: KeyRange = KeyRange()
    state: str | None = None


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A line of a File List: all an Importer needs to decide about one Event File, and to check its bytes.

    `size` and `checksum` (BLAKE3, hexadecimal) are of the stored bytes; `upserts` and `deletes` count its records.
    `replaces` is set when a compaction made the file: a destination that has these has no need of it (`compaction.py`).
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
        """Whether this file's keys are disjoint from those of the other `full` files of its Movement and stream."""
        return self.id.phase is Phase.FULL
