"""The records that a source could not give in a Movement."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.domain.ids import StreamName

NAMED_REJECTIONS = 1000
"""How many rejected records are kept by name; the others are counted."""
NAMED_PROBLEMS = 100
"""How many problems of a Movement are kept; the others are counted."""
_MORE = re.compile(r"… and ([\d,]+) more")


def rejection_problem(file: str, line: int, key: str, reason: str) -> str:
    """Return that the destination has rejected a record, in a sentence."""
    return f"Event File {file}, line {line}, key {key} was rejected: {reason}"


def shortened(problems: Sequence[str], more: int = 0) -> tuple[str, ...]:
    """Return at most `NAMED_PROBLEMS` of the problems, and how many there are beyond these; `more` are not among them."""
    more += max(0, len(problems) - NAMED_PROBLEMS)
    return (*problems[:NAMED_PROBLEMS], *([f"… and {more:,} more"] if more else []))


def without_accepted(problems: Sequence[str], accepted: Mapping[tuple[str, int], str]) -> tuple[str, ...]:
    """Return the problems without those of rejected records that are accepted now: their keys by Event File and line."""
    beyond = _MORE.fullmatch(problems[-1]) if problems else None
    named = problems[:-1] if beyond else problems
    gone = tuple(rejection_problem(file, line, key, "") for (file, line), key in accepted.items())
    left = [problem for problem in named if not problem.startswith(gone)]
    unnamed = int(beyond[1].replace(",", "")) if beyond else 0
    return shortened(left, max(0, unnamed - (len(gone) - (len(named) - len(left)))))


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
