"""What a comparison of destination and source found: for a person and for a program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pipeline.domain.ids import FlowName, StreamName
from pipeline.domain.keys import Key


class Against(StrEnum):
    """What the destination is compared with."""

    SOURCE = "source"
    """What the source holds now."""
    STORED = "stored"
    """What the Flow has stored last; the source is not read."""


class Finding(StrEnum):
    """What is wrong with a key."""

    MISSING = "missing"
    """The destination does not have it."""
    EXTRA = "extra"
    """Only the destination has it."""
    DIFFERENT = "different"
    """Both have it, with other values."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A key that differs. `columns` are the source's columns whose values differ, where both have the row.

    `rejected` is why a record with this key was refused by the destination, if one was: a difference already known.
    """

    key: Key
    finding: Finding
    columns: tuple[str, ...] = ()
    rejected: str | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """How many rows one place has in a range, and a digest of them: equal digests mean equal rows, in one report."""

    rows: int
    digest: str


NO_ROWS = Side(0, "")


@dataclass(frozen=True, slots=True)
class RangeReport:
    """A range of keys that differs: the keys after `after` up to `until`; None is an open end."""

    after: Key | None
    until: Key | None
    source: Side
    destination: Side


@dataclass(frozen=True, slots=True)
class StreamReport:
    """What was found of one stream. `ranges` counts those compared, `differing` holds the first of those that differ.

    `examples` are the first keys that differ; `missing`, `extra`, `different` and `rejected` count all of them, the
    last being among the others. `absent`: the destination has no such stream; `gone`: the source has it no more;
    `incomparable`: why its rows could not be compared at all. Columns that only one place has are named; one that the
    destination lacks counts as NULL there, and one that only the destination has is not compared.
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
    rejected: int = 0
    examples: tuple[Difference, ...] = ()
    absent: bool = False
    gone: bool = False
    incomparable: str = ""
    missing_columns: tuple[str, ...] = ()
    extra_columns: tuple[str, ...] = ()

    @property
    def differences(self) -> int:
        """How many keys differ."""
        return self.missing + self.extra + self.different

    @property
    def equal(self) -> bool:
        """Whether the destination's stream equals the source's."""
        return not (self.differences or self.absent or self.incomparable)


@dataclass(frozen=True, slots=True)
class LatestMovement:
    """The Flow's latest Movement, when the comparison began."""

    number: int
    status: str
    updated: datetime


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether a Flow's destination equals its source.

    `not_selected` are streams of the source that the Flow does not move; `only_there` are streams at the destination that
    are none of this Flow's. Neither is compared.
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
    only_there: tuple[StreamName, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether every stream is equal."""
        return all(stream.equal for stream in self.streams)

    @property
    def differing(self) -> Sequence[StreamReport]:
        """The streams that differ."""
        return [stream for stream in self.streams if not stream.equal]
