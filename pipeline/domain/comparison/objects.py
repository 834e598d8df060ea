"""The comparison of schema objects: of their definitions, and of the next numbers of sequences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.domain.comparison.report import Difference, Finding

_INCREMENT = re.compile(r"INCREMENT BY (-?\d+)")
_POSITION = frozenset({"last_value", "is_called"})


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """A record of `SCHEMA_STREAM`: kind and name, and the definition, a JSON object with the members `create` and `facts`."""

    kind: str
    name: str
    definition: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        """Kind and name."""
        return self.kind, self.name

    @property
    def feeds(self) -> object:
        """The column that takes its numbers from this sequence; None for any other object."""
        facts = self.definition["facts"]
        return (facts["table"], facts["column"]) if self.kind == "sequence" and facts.get("table") else None

    @property
    def next_number(self) -> int:
        """The number that a sequence gives next."""
        facts = self.definition["facts"]
        step = _INCREMENT.search(facts["options"])
        return int(facts["last_value"]) + (int(step[1]) if step and facts["is_called"] else 0)

    @property
    def shape(self) -> object:
        """All that the definition says, but for the position of a sequence."""
        facts = {name: value for name, value in self.definition["facts"].items() if name not in _POSITION}
        return self.definition["create"], facts


@dataclass(frozen=True, slots=True)
class ObjectComparison:
    """The differences, in key order, and the objects that only the destination has."""

    differences: tuple[Difference, ...]
    extra: tuple[ObjectRow, ...]


def compare_objects(source: Sequence[ObjectRow], destination: Sequence[ObjectRow]) -> ObjectComparison:
    """Compare. A sequence that feeds a column is compared with the one that feeds it there, whatever its name."""
    left = {row.key: row for row in destination}
    feeding = {repr(row.feeds): row for row in destination if row.feeds}
    found: list[Difference] = []
    for row in sorted(source, key=lambda row: row.key):
        other = left.get(row.key) or feeding.get(repr(row.feeds))
        if other is None:
            found.append(Difference(row.key, Finding.MISSING))
            continue
        left.pop(other.key, None)
        if columns := tuple(_differing(row, other)):
            found.append(Difference(row.key, Finding.DIFFERENT, columns))
    return ObjectComparison(tuple(found), tuple(left.values()))


def _differing(row: ObjectRow, other: ObjectRow) -> Iterator[str]:
    if row.name == other.name and row.shape != other.shape:
        yield "definition"
    if row.kind == "sequence" and row.next_number != other.next_number:
        yield f"next number ({row.next_number} at the source, {other.next_number} at the destination)"
