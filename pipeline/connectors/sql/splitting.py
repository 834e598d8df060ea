"""Finding the records to reject: a batch that the database rejects is split until each failing record is alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar


class Batch(Protocol):
    """Records in order."""

    def __len__(self) -> int: ...


_B = TypeVar("_B", bound=Batch)
_R = TypeVar("_R")


def apply_split(
    batch: _B, attempt: Callable[[_B], _R | None], split: Callable[[_B, _R], Sequence[_B]]
) -> Iterator[tuple[_B, _R | None]]:
    """Apply a batch in as large parts as the database accepts, in order.

    Yields each accepted part with None, and each part of one record that failed with the reason; at that point the part
    is applied, and no later one is. `attempt` applies a part as a whole and returns None, or changes nothing and returns
    the reason. `split` returns the parts of a failed part, each smaller than it, in order; it may leave records out.
    """
    if not len(batch):
        return
    reason = attempt(batch)
    if reason is None or len(batch) == 1:
        yield batch, reason
        return
    for part in split(batch, reason):
        yield from apply_split(part, attempt, split)
