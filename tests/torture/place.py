"""An app's data in one place: it can be built, changed and compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Protocol

State = Mapping[str, Sequence[tuple[object, ...]]]
"""All rows by table, or all entries of a tree, sorted."""

MAX_SHOWN = 3


class Place(Protocol):
    """A database or a tree of files."""

    @property
    def location(self) -> str:
        """The argument for `pipeline`."""
        ...

    def build(self, random: Random, size: int) -> None:
        """Build an app with about this many rows in each table."""
        ...

    def change(self, random: Random, size: int) -> None:
        """Change, add and delete about this many rows in each table; in a database, in one transaction."""
        ...

    def state(self) -> State:
        """Return all data except the pipeline's own."""
        ...

    def leftovers(self) -> Sequence[str]:
        """Return what a destination should not contain when no worker is running."""
        ...


def difference(expected: State, found: State) -> str:
    """Return the first table that differs and some of its rows; empty if there is none."""
    if expected.keys() != found.keys():
        return f"tables {sorted(found)} instead of {sorted(expected)}"
    for table, rows in expected.items():
        if list(rows) != list(found[table]):
            wanted, there = Counter(map(repr, rows)), Counter(map(repr, found[table]))
            missing, extra = wanted - there, there - wanted
            return (
                f"{table}: {missing.total()} of {len(rows)} rows missing or different, such as {_some(missing)}; "
                f"{extra.total()} too many, such as {_some(extra)}"
            )
    return ""


def _some(rows: Counter[str]) -> str:
    return " ".join(row[:120] for row in list(rows)[:MAX_SHOWN]) or "none"
