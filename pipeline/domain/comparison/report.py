"""The result of a comparison of a destination with its source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pipeline.domain.ids import FlowName, StreamName
from pipeline.domain.inventory import InventoryItem
from pipeline.domain.keys import Key


class Against(StrEnum):
    """What the destination is compared with."""

    SOURCE = "source"
    """The current rows of the source."""
    STORED = "stored"
    """The latest stored state; the source is not read."""


class Finding(StrEnum):
    """How a key differs."""

    MISSING = "missing"
    """Only the source has it."""
    EXTRA = "extra"
    """Only the destination has it."""
    DIFFERENT = "different"
    """Both have it, with different values."""
    WAITING = "waiting"
    """The destination lacks its latest record, which waits for the id of another one."""
    TWICE = "twice"
    """The destination has more than one object with it."""


@dataclass(frozen=True, slots=True)
class KnownRejection:
    """Why the destination rejected the latest record with a key. `waits`: it is applied once another record has an id."""

    reason: str
    waits: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """A key that differs. `columns` names the source's columns whose values differ, where both have the row.

    `rejected` is the reason why the destination rejected a record with this key, if it did: a known difference.
    """

    key: Key
    finding: Finding
    columns: tuple[str, ...] = ()
    rejected: str | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """The rows of one side of a range, and their digest. Within one report equal digests mean equal rows."""

    rows: int
    digest: str


NO_ROWS = Side(0, "")


@dataclass(frozen=True, slots=True)
class RangeReport:
    """A range with differences: the keys after `after` up to `until`; None is an open end."""

    after: Key | None
    until: Key | None
    source: Side
    destination: Side


@dataclass(frozen=True, slots=True)
class StreamReport:
    """The result for one stream. `ranges` counts the compared ranges, `differing` holds the first that differ.

    `examples` are the first keys that differ. `missing`, `extra`, `different`, `waiting` and `twice` count all keys that
    differ; `rejected` counts those among them whose record the destination rejected, or which waits. `absent`: the
    destination does not have the stream; `gone`: the source no longer has it; `incomparable`: why its rows could not be
    compared. A column that the destination lacks counts as NULL there, and the stream is not equal; one that only the
    destination has is not compared.
    `ignored_columns` are those of the source that the destination is never given; they are not compared.
    `definitions` are the indexes, constraints, defaults and generated columns that the destination's table lacks.
    `case_twins` are names of the destination that differ from a compared one in case only: the app may read the wrong one.
    """

    stream: StreamName
    source: Side = NO_ROWS
    destination: Side = NO_ROWS
    ranges: int = 0
    ranges_differing: int = 0
    differing: tuple[RangeReport, ...] = ()
    missing: int = 0
    extra: int = 0
    different: int = 0
    waiting: int = 0
    twice: int = 0
    rejected: int = 0
    examples: tuple[Difference, ...] = ()
    absent: bool = False
    gone: bool = False
    incomparable: str = ""
    missing_columns: tuple[str, ...] = ()
    extra_columns: tuple[str, ...] = ()
    definitions: tuple[str, ...] = ()
    case_twins: tuple[str, ...] = ()
    ignored_columns: tuple[str, ...] = ()

    @property
    def differences(self) -> int:
        """The number of keys that differ."""
        return self.missing + self.extra + self.different + self.waiting + self.twice

    @property
    def repairable(self) -> bool:
        """Whether moving again what differs may help: not if all of it waits, or is there twice."""
        return not self.incomparable and (not self.differences or self.differences > self.waiting + self.twice)

    @property
    def equal(self) -> bool:
        """Whether the destination's stream equals the source's."""
        lacks = self.missing_columns or self.definitions
        return not (self.differences or self.absent or self.incomparable or lacks or self.case_twins)


@dataclass(frozen=True, slots=True)
class LatestMovement:
    """The latest Movement of the Flow when the comparison started."""

    number: int
    status: str
    updated: datetime


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether a Flow's destination equals its source.

    `not_selected` are streams of the source that the Flow does not move, `unhandled` those that the Importer has no handler
    for; `only_at_destination` are streams there that are not part of the Flow. None of them is compared. `gaps` are things
    of the source that the destination lacks, that no stream holds, and whose absence is not accepted; `accepted` those that
    are accepted. `covers` names what was compared, `left_out` the streams that exist in one technology only.
    """

    flow: FlowName
    source: str
    destination: str
    against: Against
    movement: LatestMovement
    begun: datetime
    ended: datetime
    streams: tuple[StreamReport, ...] = ()
    not_selected: tuple[StreamName, ...] = ()
    only_at_destination: tuple[str, ...] = ()
    gaps: tuple[InventoryItem, ...] = ()
    accepted: tuple[InventoryItem, ...] = ()
    covers: tuple[str, ...] = ()
    left_out: tuple[StreamName, ...] = ()
    unhandled: tuple[StreamName, ...] = ()

    @property
    def differences(self) -> int:
        """The number of keys that differ in all streams."""
        return sum(stream.differences for stream in self.streams)

    @property
    def waiting(self) -> int:
        """The number of keys in all streams whose latest record waits for the id of another one."""
        return sum(stream.waiting for stream in self.streams)

    @property
    def equal(self) -> bool:
        """Whether every stream is equal and nothing else is missing."""
        return not self.gaps and all(stream.equal for stream in self.streams)

    @property
    def differing(self) -> Sequence[StreamReport]:
        """The streams that differ."""
        return [stream for stream in self.streams if not stream.equal]
