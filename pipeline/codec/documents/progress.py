"""The progress of one worker in one Movement, as `pipeline status` and other workers read it."""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson

from pipeline.codec.wire import Count, Time, decode_document, to_document
from pipeline.domain.ids import Label, StreamName
from pipeline.domain.progress.model import TimeLeft


@dataclass(slots=True)
class GroupProgress:
    """What a worker has done for one group. Bytes are of JSON lines, before compression.

    `rows_expected` is how many rows the source said that it would read of a stream, `rows_fetched` how many it has read.
    `deletes_imported` are among the `records_imported`; `import_seconds` is how long its Event Files took, one by one.
    """

    rows_read: Count = 0
    encoded_bytes: Count = 0
    files_stored: Count = 0
    files_listed: Count = 0
    files_imported: Count = 0
    files_skipped: Count = 0
    files_failed: Count = 0
    records_imported: Count = 0
    complete: bool = False
    rows_expected: dict[StreamName, Count] = field(default_factory=dict)
    rows_fetched: Count = 0
    deletes_imported: Count = 0
    import_seconds: float = 0.0

    @property
    def done(self) -> bool:
        """Whether the group is exported, and every Event File was imported, was imported before, or has failed."""
        return self.complete and self.files_imported + self.files_skipped + self.files_failed >= self.files_listed


@dataclass(slots=True)
class Progress:
    """What a worker has done in one Movement since it started on it.

    `writes` counts how often the document was written: while it grows, the worker is alive, whatever its clock says.
    `holding` names the groups that it is working on. `working` is stored before it begins with anything, and taken back
    when nothing is left in hand; `in_hand` counts the Event Files that it is importing. `idle_seconds` is how long before
    `updated` something last moved, by the worker's own clock. A process that does a whole Movement `alone` also estimates
    how far it is in `percent` and the seconds `left`; `stalled_seconds` is above 0 when nothing moves, which is unusual.
    `passes` is how often a destination goes over the rows of each stream at the end, and `finishes` says that the one that
    this worker imports into does so.
    """

    worker: str
    started: Time
    updated: Time
    groups: dict[Label, GroupProgress] = field(default_factory=dict)
    binaries_stored: Count = 0
    binaries_reused: Count = 0
    binary_bytes: Count = 0
    bytes_stored: Count = 0
    writes: Count = 0
    binaries_failed: Count = 0
    holding: list[Label] = field(default_factory=list)
    working: bool = False
    in_hand: Count = 0
    idle_seconds: float = 0.0
    percent: int = 0
    left: TimeLeft | None = None
    stalled_seconds: float = 0.0
    alone: bool = False
    passes: dict[StreamName, Count] = field(default_factory=dict)
    finishes: bool = False


def encode_progress(progress: Progress) -> bytes:
    """Return the document."""
    return orjson.dumps(to_document(progress), option=orjson.OPT_INDENT_2)


def decode_progress(data: bytes, what: str) -> Progress:
    """Read the document. DamagedError names `what`."""
    return decode_document(data, Progress, what)
