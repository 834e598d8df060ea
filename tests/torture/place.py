"""An app's data at one place, to be built, changed and compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Protocol

State = Mapping[str, Sequence[tuple[object, ...]]]
"""All rows by table, or all entries of a tree, in an order of their own."""

MAX_SHOWN = 3


class Place(Protocol):
    """A database or a tree of files."""

    @property
    def location(self) -> str:
        """What `pipeline` is told."""
        ...

    def build(self, dice: Random, size: int) -> None:
        """Make an app of about so many rows in each of its tables."""
        ...

    def change(self, dice: Random, size: int) -> None:
        """Change, add and delete, about so many in each table; databases do it in one transaction."""
        ...

    def state(self) -> State:
        """All there is, but for what the pipeline keeps for itself."""
        ...

    def leftovers(self) -> Sequence[str]:
        """What lies about that a destination should not have once nobody is at work on it."""
        ...


def difference(expected: State, found: State) -> str:
    """The first table that differs, and some of its rows; empty when there is none."""
    if expected.keys() != found.keys():
        return f"tables {sorted(found)} and not {sorted(expected)}"
    for table, rows in expected.items():
        if list(rows) != list(found[table]):
            wanted, there = Counter(map(repr, rows)), Counter(map(repr, found[table]))
            missing, extra = wanted - there, there - wanted
            return (
                f"{table}: {missing.total()} of {len(rows)} rows missing or other, as {_some(missing)}; "
                f"{extra.total()} too many, as {_some(extra)}"
            )
    return ""


def _some(rows: Counter[str]) -> str:
    return " ".join(row[:120] for row in list(rows)[:MAX_SHOWN]) or "none"
