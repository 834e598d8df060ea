"""Which stored state applies to which keys, when later Event Files have replaced parts of an earlier state."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.domain.event_file import Header, KeyRange
from pipeline.domain.ids import Phase
from pipeline.domain.keys import Key, OrderedKey, order

_Bound = tuple[int, OrderedKey]


@dataclass(frozen=True, slots=True)
class Segment:
    """The state part with the digest `part` applies to the keys of `covers`; None is the state of the last Movement."""

    covers: KeyRange
    part: str | None


def _lower(after: Key | None) -> _Bound:
    return (-1, ()) if after is None else (0, order(after))


def _upper(until: Key | None) -> _Bound:
    return (1, ()) if until is None else (0, order(until))


def segments(chunks: Sequence[Header]) -> list[Segment]:
    """Return, in key order and without gaps, the segments that result from these chunks, given in any order.

    Later Movements replace earlier ones; within one Movement `full` chunks apply first, then by number.
    """
    found = [Segment(KeyRange(), None)]
    uppers = [_upper(None)]
    for chunk in sorted(chunks, key=_in_lane_order):
        if chunk.state is not None:
            _place(found, uppers, Segment(chunk.covers, chunk.state))
    return found


def _in_lane_order(chunk: Header) -> tuple[int, bool, int]:
    return chunk.id.movement, chunk.id.phase is not Phase.FULL, chunk.id.chunk


def _place(found: list[Segment], uppers: list[_Bound], new: Segment) -> None:
    """Insert `new` into the segments `found`, whose upper bounds are `uppers`, in place of what it covers."""
    after, until = new.covers.after, new.covers.until
    first = bisect_right(uppers, _lower(after))
    last = bisect_left(uppers, _upper(until))
    head, tail = found[first], found[last]
    pieces = [new]
    if _lower(head.covers.after) < _lower(after):
        pieces.insert(0, Segment(KeyRange(head.covers.after, after), head.part))
    if _upper(until) < _upper(tail.covers.until):
        pieces.append(Segment(KeyRange(until, tail.covers.until), tail.part))
    found[first : last + 1] = pieces
    uppers[first : last + 1] = [_upper(piece.covers.until) for piece in pieces]
