"""Schema objects: all that an app's database consists of beside tables and rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

ObjectId = tuple[str, str]
"""Kind and name."""

_STATE = frozenset({"last_value", "is_called", "set_to", "read_as"})


@dataclass(frozen=True, slots=True)
class SchemaObject:
    """An object of a database's schema, such as a view or a sequence.

    `create` holds the statements that create or replace it, in order; `remove` drops it, None where that is not possible
    by itself. `facts` is JSON that the statements do not tell, such as the position of a sequence. `rank` is the place of
    its kind in the order of creation. `reason` says why it cannot be created elsewhere; empty if it can.
    """

    kind: str
    name: str
    rank: int
    create: tuple[str, ...]
    remove: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""

    @property
    def id(self) -> ObjectId:
        """Kind and name, unique in a database."""
        return self.kind, self.name

    def is_same(self, other: SchemaObject) -> bool:
        """Whether the definitions are equal.

        The state of the copy does not count: the position of a sequence, and `read_as`, how the destination writes the
        statements that created the object.
        """
        return self.create == other.create and self._definition() == other._definition()

    def _definition(self) -> Mapping[str, Any]:
        return {name: value for name, value in self.facts.items() if name not in _STATE}

    def with_facts(self, **facts: object) -> SchemaObject:
        """Return the object with further facts."""
        return replace(self, facts={**self.facts, **facts})
