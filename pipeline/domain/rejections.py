"""The records that a source could not give in a Movement."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.domain.ids import StreamName

NAMED_REJECTIONS = 1000
"""How many rejected records are kept by name; the others are counted."""


@dataclass(frozen=True, slots=True)
class SourceRejection:
    """A record that the source could not give: its key as JSON text, why, what to do, and the column at fault, if any."""

    stream: StreamName
    key: str
    reason: str
    column: str | None = None

    def __str__(self) -> str:
        column = f", column {self.column}" if self.column else ""
        return f"{self.stream}, key {self.key}{column} was rejected at the source: {self.reason}"


@dataclass(frozen=True, slots=True)
class SourceRejections:
    """The rejected records of a Movement: at most `NAMED_REJECTIONS` by name, and the number of all."""

    named: tuple[SourceRejection, ...] = ()
    count: int = 0

    def with_one(self, rejection: SourceRejection) -> SourceRejections:
        """Return these and one more."""
        named = (*self.named, rejection) if len(self.named) < NAMED_REJECTIONS else self.named
        return SourceRejections(named, self.count + 1)
