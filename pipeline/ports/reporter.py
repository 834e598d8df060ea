"""The port to an observer: the engine reports events as values and never waits for an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pipeline.domain.ids import BinaryId, EventFileId, FlowName, Label, StreamName
from pipeline.domain.progress.shown import ShownProgress
from pipeline.domain.rejections import SourceRejection
from pipeline.ports.destination import Mark, Rejection, Violation


@dataclass(frozen=True, slots=True)
class MovementBegun:
    """A Movement was created, or (`resumed`) one that had not settled is continued, from this `percent` on."""

    flow: FlowName
    movement: int
    resumed: bool
    labels: tuple[Label, ...]
    percent: int = 0


@dataclass(frozen=True, slots=True)
class ExportPlanned:
    """The exporter is going to read these streams of a group. It is reported of all groups, in the order of their export."""

    label: Label
    streams: tuple[StreamName, ...]


@dataclass(frozen=True, slots=True)
class RowsRead:
    """The exporter has read `rows` more rows of a group and encoded some of them, in `encoded_bytes` of JSON lines.

    Of the contents that the rows name, it has stored `content_bytes`; `unchanged_bytes` were stored before.
    """

    label: Label
    rows: int
    encoded_bytes: int
    content_bytes: int = 0
    unchanged_bytes: int = 0


@dataclass(frozen=True, slots=True)
class RowsExpected:
    """The source will read about `rows` of a stream in this Movement; a later number replaces an earlier one.

    They name contents of `content_bytes`, None if that is not known.
    """

    label: Label
    stream: StreamName
    rows: int
    content_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class RowsFetched:
    """The source has read `rows` more rows of a group, which the exporter reads when it has all of them."""

    label: Label
    rows: int


@dataclass(frozen=True, slots=True)
class EventFileStored:
    """An Event File of `size` stored bytes is durable; `adopted` when an earlier attempt had stored it.

    Its records name contents of `content_bytes`, as far as this process knows.
    """

    label: Label
    id: EventFileId
    size: int
    upserts: int
    deletes: int
    adopted: bool = False
    content_bytes: int = 0


@dataclass(frozen=True, slots=True)
class BinaryFileStored:
    """`count` Binary Files, of `size` bytes together, are durable; `reused` when their contents were already stored."""

    size: int
    reused: bool
    count: int = 1


@dataclass(frozen=True, slots=True)
class BytesMoved:
    """`count` more bytes of Binary Files were read, stored or loaded: a sign of progress.

    0 when an Event File of an earlier attempt was read.
    """

    count: int


@dataclass(frozen=True, slots=True)
class Busy:
    """Something takes long, in which nothing else is reported, until it `is_over`."""

    text: str
    is_over: bool = False


FINISHING = "finish the destination"
"""The text of Busy while a destination makes indexes and constraints, which may take hours."""


@dataclass(frozen=True, slots=True)
class FinishPlanned:
    """How often the destination goes over all rows of each stream at the end: once an index, and once a foreign key."""

    passes: Mapping[StreamName, int]


@dataclass(frozen=True, slots=True)
class BinaryFileFailed:
    """A Binary File could not be loaded: it is missing, or its content does not match its id."""

    id: BinaryId
    reason: str


@dataclass(frozen=True, slots=True)
class GroupComplete:
    """All Event Files of a group are stored and listed: `listed` in all, `new` of them since the last Movement."""

    label: Label
    listed: int
    new: int


@dataclass(frozen=True, slots=True)
class ImportPlanned:
    """An importer has read a File List: `pending` files will be loaded, `skipped` are already marked."""

    label: Label
    pending: int
    skipped: int


@dataclass(frozen=True, slots=True)
class EventFileImported:
    """The records of an Event File and its mark are committed; that took `seconds`.

    For `fetch_seconds` of them the destination waited for the bytes, and for `commit_seconds` for its commit.
    `lag_seconds` is how long before the end the file had been exported, by the clocks of both workers.
    """

    label: Label
    id: EventFileId
    size: int
    mark: Mark
    seconds: float
    fetch_seconds: float = 0.0
    commit_seconds: float = 0.0
    lag_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class EventFileFailed:
    """An Event File could not be loaded, and none of its records was. Its lane stops here."""

    label: Label
    id: EventFileId
    reason: str


@dataclass(frozen=True, slots=True)
class RecordRejected:
    """The destination rejected a record."""

    label: Label
    rejection: Rejection


@dataclass(frozen=True, slots=True)
class RejectedRetried:
    """At the end of a Movement, rejected records of a group were tried again.

    `accepted` and `rejected` are the numbers of those that are accepted now, and of all that are still rejected; `waiting`
    of these wait for the id of another record.
    """

    label: Label
    accepted: int
    rejected: int
    waiting: int


@dataclass(frozen=True, slots=True)
class SourceRecordRejected:
    """The source cannot give a record."""

    label: Label
    rejection: SourceRejection


@dataclass(frozen=True, slots=True)
class StreamUnreadable:
    """The source cannot read a stream, for a reason of its own. The others are moved."""

    stream: StreamName
    reason: str


@dataclass(frozen=True, slots=True)
class StreamGone:
    """The source no longer has a stream, and this number of its records is to be deleted at the destination."""

    stream: StreamName
    deletes: int


@dataclass(frozen=True, slots=True)
class ViolationFound:
    """The loaded data violates a constraint."""

    violation: Violation


@dataclass(frozen=True, slots=True)
class ProgressStored:
    """How far a Movement is that one process does alone, every `progress_seconds`.

    Its percent is stored before it is reported, so another process that carries on begins there or above.
    """

    shown: ShownProgress


@dataclass(frozen=True, slots=True)
class MovementPaused:
    """Nothing more of the Movement is begun until it is resumed."""

    flow: FlowName
    movement: int


@dataclass(frozen=True, slots=True)
class MovementSettled:
    """The Movement has its final status.

    `skipped` Event Files of it had been imported by earlier Movements. Only the process that settles it says so; others say 0.
    """

    flow: FlowName
    movement: int
    status: str
    skipped: int = 0


Event = (
    MovementBegun
    | ExportPlanned
    | RowsRead
    | RowsExpected
    | RowsFetched
    | EventFileStored
    | BinaryFileStored
    | BinaryFileFailed
    | BytesMoved
    | Busy
    | FinishPlanned
    | GroupComplete
    | ImportPlanned
    | EventFileImported
    | EventFileFailed
    | RecordRejected
    | RejectedRetried
    | SourceRecordRejected
    | StreamGone
    | StreamUnreadable
    | ViolationFound
    | ProgressStored
    | MovementPaused
    | MovementSettled
)


class Reporter(Protocol):
    """Observes Movements. `report` MUST return at once and MUST NOT raise. It is called in the event loop's thread."""

    def report(self, event: Event) -> None:
        """Handle `event`."""
        ...


class SilentReporter:
    """A Reporter that does nothing: the default."""

    def report(self, event: Event) -> None:
        """Ignore `event`."""
