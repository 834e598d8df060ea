"""The comparison of two sequences of rows in key order, as a merge walk.

Where the digests of whole blocks agree, no row is compared (`walk_equal`). While the row hashes agree, no key is
decoded. Where they differ, the keys show which side lacks a row; a key that both sides have with different hashes is a
*pair*, and the caller compares its values.

A difference goes unnoticed if two different rows have equal hashes, one chance in 2**64 a row, or if two different
blocks have equal digests, which is no more likely.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline.domain.comparison.diff import count_agreeing
from pipeline.domain.keys import Key, OrderedKey, order


class Rows:
    """Consecutive rows of one side in key order, and the position of the walk in them.

    `load_hashes` and `load_keys` are each called at most once: hashes only if digests differ, keys only if hashes
    differ. `ordered` gives the order of a key among those of the other side.
    """

    def __init__(
        self,
        count: int,
        load_hashes: Callable[[], bytes],
        load_keys: Callable[[], Sequence[Key]],
        ordered: Callable[[Key], OrderedKey] = order,
    ) -> None:
        self.at = 0
        self.ordered = ordered
        self._count = count
        self._load_hashes = load_hashes
        self._hashes: bytes | None = None
        self._load_keys = load_keys
        self._keys: Sequence[Key] | None = None

    def __len__(self) -> int:
        return self._count

    @property
    def left(self) -> int:
        """The number of rows after the position."""
        return len(self) - self.at

    def key(self, position: int) -> Key:
        """Return the key of one row."""
        if self._keys is None:
            self._keys = self._load_keys()
        return self._keys[position]

    @property
    def hashes(self) -> bytes:
        """The hashes of all rows."""
        if self._hashes is None:
            self._hashes = self._load_hashes()
        return self._hashes


@dataclass(frozen=True, slots=True)
class Suspect:
    """A difference in hashes: the position of a row at the source and of one at the destination.

    With both it is a pair. Without the destination's the row is missing there, without the source's it is extra.
    """

    source: int | None
    destination: int | None


@dataclass(slots=True)
class Step:
    """The result of a walk: the number of rows of each side, and the suspects among them in key order."""

    source_rows: int = 0
    destination_rows: int = 0
    suspects: list[Suspect] = field(default_factory=list)


def walk_equal(source: Rows, destination: Rows) -> Step:
    """Walk to the end of both sides, which are known to agree."""
    step = Step(source.left, destination.left)
    source.at, destination.at = len(source), len(destination)
    return step


def walk(source: Rows, destination: Rows) -> Step:
    """Walk both sides until one ends; return the differences up to there."""
    source_from, destination_from = source.at, destination.at
    step = Step()
    while left := min(source.left, destination.left):
        agreeing = count_agreeing(source.hashes, source.at, destination.hashes, destination.at)
        source.at += agreeing
        destination.at += agreeing
        if agreeing < left:
            _take_difference(source, destination, step)
    step.source_rows = source.at - source_from
    step.destination_rows = destination.at - destination_from
    return step


def walk_rest(source: Rows | None, destination: Rows | None) -> Step:
    """Walk to the end of the one side that is given, after the other has ended."""
    step = Step()
    if source is not None:
        step.suspects += [Suspect(position, None) for position in range(source.at, len(source))]
        step.source_rows, source.at = len(source) - source.at, len(source)
    if destination is not None:
        step.suspects += [Suspect(None, position) for position in range(destination.at, len(destination))]
        step.destination_rows, destination.at = len(destination) - destination.at, len(destination)
    return step


def _take_difference(source: Rows, destination: Rows, step: Step) -> None:
    one = source.ordered(source.key(source.at))
    other = destination.ordered(destination.key(destination.at))
    at_source = source.at if one <= other else None
    at_destination = destination.at if one >= other else None
    step.suspects.append(Suspect(at_source, at_destination))
    source.at += at_source is not None
    destination.at += at_destination is not None
