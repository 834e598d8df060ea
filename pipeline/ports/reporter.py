"""The port to whoever watches: the engine tells what happens as values, in one direction, and never waits for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pipeline.domain.ids import BinaryId, EventFileId, FlowName, Label
from pipeline.ports.destination import Mark, Rejection, Violation


@dataclass(frozen=True, slots=True)
class MovementBegun:
    """A Movement was created, or (`resumed`) one that had not settled is carried on."""

    flow: FlowName
    movement: int
    resumed: bool
    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class RowsRead:
    """The exporter has read `rows` more rows of a group and turned some of them into `encoded_bytes` of JSON lines."""

    label: Label
    rows: int
    encoded_bytes: int


@dataclass(frozen=True, slots=True)
class EventFileStored:
    """An Event File is durable. `size` is what was stored, in bytes; `adopted` when an earlier attempt had stored it."""

    label: Label
    id: EventFileId
    size: int
    upserts: int
    deletes: int
    adopted: bool = False


@dataclass(frozen=True, slots=True)
class BinaryFileStored:
    """A Binary File of `size` bytes is durable; `reused` when its content was stored before."""

    size: int
    reused: bool


@dataclass(frozen=True, slots=True)
class BytesMoved:
    """So many more bytes of a Binary File have been read, stored or given to the destination: work goes on."""

    count: int


@dataclass(frozen=True, slots=True)
class BinaryFileFailed:
    """A Binary File could not be given to the destination: it is missing, or its content is not what its id says."""

    id: BinaryId
    reason: str


@dataclass(frozen=True, slots=True)
class GroupComplete:
    """All Event Files of a group are stored and listed: `listed` in all, of them `new` since the last Movement."""

    label: Label
    listed: int
    new: int


@dataclass(frozen=True, slots=True)
class ImportPlanned:
    """An importer has read a File List: `pending` files are to be loaded, `skipped` are marked already."""

    label: Label
    pending: int
    skipped: int


@dataclass(frozen=True, slots=True)
class EventFileImported:
    """An Event File's records and its mark are committed."""

    label: Label
    id: EventFileId
    size: int
    mark: Mark
    seconds: float


@dataclass(frozen=True, slots=True)
class EventFileFailed:
    """An Event File could not be applied; nothing of it was. Its lane stops here."""

    label: Label
    id: EventFileId
    reason: str


@dataclass(frozen=True, slots=True)
class RecordRejected:
    """A record was set aside."""

    label: Label
    rejection: Rejection


@dataclass(frozen=True, slots=True)
class ViolationFound:
    """A promise of the data does not hold at the destination."""

    violation: Violation


@dataclass(frozen=True, slots=True)
class MovementSettled:
    """The Movement has its final status."""

    flow: FlowName
    movement: int
    status: str


Event = (
    MovementBegun
    | RowsRead
    | EventFileStored
    | BinaryFileStored
    | BinaryFileFailed
    | BytesMoved
    | GroupComplete
    | ImportPlanned
    | EventFileImported
    | EventFileFailed
    | RecordRejected
    | ViolationFound
    | MovementSettled
)


class Reporter(Protocol):
    """Watches a Movement. `report` returns at once, never raises, and is called from the event loop's thread only."""

    def report(self, event: Event) -> None:
        """Take note of `event`."""
        ...
