"""What is done and left of a File Group, in units of work.

A row is a unit, and so is a part of a content that takes about as long as a row: a tree has small files and large ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.domain.ids import Label, StreamName
from pipeline.domain.progress.rates import Rate

BYTES_A_UNIT = 32 * 1024
"""The bytes of contents that take about as long as a small file does besides its bytes."""
USUAL_POWER = 0.3
"""In the rate of groups that are still to come, a large one counts more than a small one, by this power of its units: it is
known better, but may differ."""


def units_of(rows: int, content_bytes: int) -> float:
    """Return the units of work of some rows, and of the contents that they name."""
    return rows + content_bytes / BYTES_A_UNIT


@dataclass(frozen=True, slots=True)
class Expected:
    """How many rows a stream has, and the bytes of the contents that they name, if that is known."""

    rows: int
    content_bytes: int | None = None

    @property
    def units(self) -> float:
        """The units of all."""
        return units_of(self.rows, self.content_bytes or 0)


@dataclass(slots=True)
class Group:
    """What is known of a group: its streams, and what is `expected` of each, as far as that is known.

    `units` were read, and `unchanged` ones were not, because they are stored already. `gathered` ones are for the next Event
    File; `stored` units wait, or are loaded.
    `reading` is in seconds a unit, `reading_new` that of rows which were not stored yet alone, `loading` in seconds a unit on
    one importer. `in_order`: its files load one by one.
    """

    streams: frozenset[StreamName] | None = None
    expected: dict[StreamName, Expected] = field(default_factory=dict)
    rows: int = 0
    units: float = 0
    unchanged: float = 0
    gathered: float = 0
    stored: float = 0
    complete: bool = False
    in_order: bool = False
    reading: Rate = field(default_factory=Rate)
    reading_new: Rate = field(default_factory=Rate)
    loading: Rate = field(default_factory=Rate)

    @property
    def knows_contents(self) -> bool:
        """Whether it is known what contents the rows name: they were counted, since the stream is moved for the first time."""
        return bool(self.expected) and all(one.content_bytes is not None for one in self.expected.values())

    @property
    def reading_to_come(self) -> Rate:
        """The rate of the rows to come: in the first Movement of a stream, none of them is stored yet."""
        return self.reading_new if self.knows_contents else self.reading

    @property
    def left(self) -> float | None:
        """The units that are to be read; None if that is not known.

        Where nobody knows the contents of the rows to come, they have as many as those that were read.
        """
        if self.complete:
            return 0
        if self.streams is None or not self.streams <= self.expected.keys():
            return None
        if self.knows_contents:
            return max(0, sum(one.units for one in self.expected.values()) - self.units - self.unchanged)
        rows = max(0, sum(one.rows for one in self.expected.values()) - self.rows)
        return rows * self.units / self.rows if self.rows else rows

    def coming(self, left: float, share: float) -> float:
        """Return the units that are still to be stored if `left` units are still to be read; `share` of all become records.

        In the first Movement of a stream that was counted, all of them do.
        """
        if self.knows_contents:
            return left + self.gathered
        return left * (self.stored / self.units if self.stored and self.units else share)

    def last(self, coming: float, waiting: float, largest: float) -> float:
        """Return the units of the Event File that is stored last, if files are up to as large as the largest so far."""
        if self.knows_contents and coming > largest > 0:
            return coming % largest
        return min(largest, coming + waiting)

    @property
    def all_rows(self) -> int:
        """The rows that were read or are to be read."""
        return max(self.rows, sum(one.rows for one in self.expected.values()))


@dataclass(frozen=True, slots=True)
class Waiting:
    """An Event File that waits for an importer."""

    group: Label
    units: float


@dataclass(frozen=True, slots=True)
class Work:
    """What is left of a group, in seconds of one exporter or importer, with how far that may be off; `units` to load.

    `waiting` are files that are stored, `coming` those that the export will store, `file` is one of them.
    """

    reading: float
    reading_doubt: float
    waiting: float
    coming: float
    file: float
    loading_doubt: float
    in_order: bool
    units: float

    @property
    def loading(self) -> float:
        """What is left to load."""
        return self.waiting + self.coming

    @property
    def doubt_of_all(self) -> float:
        """By how many seconds all may be off together."""
        return self.reading * self.reading_doubt + self.loading * self.loading_doubt


def usual(rates: Sequence[Rate]) -> float | None:
    """Return the mean of the rates that are known; None if none is.

    Large tables count more, since a small one takes long for its rows; but not by all of their rows, which differ.
    """
    weights = [rate.units**USUAL_POWER for rate in rates]
    weighted = sum(weight * rate.mean for weight, rate in zip(weights, rates, strict=True))
    return weighted / sum(weights) if any(weights) else None
